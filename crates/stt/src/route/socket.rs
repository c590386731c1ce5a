//! One socket object over all routes.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use quinn::{AsyncUdpSocket, UdpPoller};
use quinn_udp::{RecvMeta, Transmit};
use tokio::sync::mpsc;

use super::table::{Table, is_stand_in};

/// Sends to stand-ins through the table, to all others over UDP; receives from both.
pub(crate) struct RouteSocket {
    udp: Arc<dyn AsyncUdpSocket>,
    table: Arc<Table>,
    received: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
    /// Who is asked first: they take turns, so that neither keeps the other waiting.
    udp_first: AtomicBool,
}

impl RouteSocket {
    pub(crate) fn new(
        udp: Arc<dyn AsyncUdpSocket>,
        table: Arc<Table>,
        received: mpsc::Receiver<(SocketAddr, Bytes)>,
    ) -> Self {
        let received = Mutex::new(received);
        Self { udp, table, received, udp_first: AtomicBool::new(true) }
    }

    /// Fills buffers with what WebSockets received.
    fn poll_table(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<usize> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let mut filled = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            // Datagrams that no buffer holds are lost; the loop ends with what is there.
            let datagram = loop {
                match received.poll_recv(cx) {
                    Poll::Ready(Some((from, datagram))) if datagram.len() <= buffer.len() => {
                        break Some((from, datagram));
                    }
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) | Poll::Pending => break None,
                }
            };
            let Some((from, datagram)) = datagram else { break };
            if let Some(room) = buffer.get_mut(..datagram.len()) {
                room.copy_from_slice(&datagram);
            }
            *meta = RecvMeta::default();
            meta.addr = from;
            meta.len = datagram.len();
            meta.stride = datagram.len();
            filled += 1;
        }
        if filled > 0 { Poll::Ready(filled) } else { Poll::Pending }
    }
}

impl fmt::Debug for RouteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteSocket").field("udp", &self.udp).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for RouteSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.udp).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !is_stand_in(transmit.destination.ip()) {
            return self.udp.try_send(transmit);
        }
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(size) {
            // What finds the queue full is lost, and congestion control learns of it.
            let _ = self.table.send(transmit.destination, datagram);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let udp_first = self.udp_first.fetch_xor(true, Relaxed);
        if udp_first && let Poll::Ready(received) = self.udp.poll_recv(cx, buffers, metas) {
            return Poll::Ready(received);
        }
        if let Poll::Ready(filled) = self.poll_table(cx, buffers, metas) {
            return Poll::Ready(Ok(filled));
        }
        if udp_first { Poll::Pending } else { self.udp.poll_recv(cx, buffers, metas) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}
