//! The socket between the engine and the system.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use quinn::{AsyncUdpSocket, UdpPoller};
use quinn_udp::{RecvMeta, Transmit};

use super::{
    runtime::{Role, Scope},
    stats::{Counters, add, count},
};

/// Longest payload of a UDP datagram over IPv4.
pub(crate) const MAX_DATAGRAM: usize = 65_507;

/// Sends only for connections, and lets only possible members in.
#[derive(Debug)]
pub(crate) struct SilentSocket {
    udp: Arc<dyn AsyncUdpSocket>,
    counters: Arc<Counters>,
}

impl SilentSocket {
    pub(crate) fn new(udp: Arc<dyn AsyncUdpSocket>, counters: Arc<Counters>) -> Self {
        Self { udp, counters }
    }

    /// Whether an error says that one datagram went wrong and the next may be fine. Every other one
    /// ends the endpoint.
    fn is_passing(error: &io::Error) -> bool {
        use io::ErrorKind as Kind;
        matches!(
            error.kind(),
            Kind::ConnectionReset
                | Kind::ConnectionRefused
                | Kind::ConnectionAborted
                | Kind::HostUnreachable
                | Kind::NetworkUnreachable
                | Kind::NetworkDown
                | Kind::Interrupted
                | Kind::OutOfMemory
        )
    }
}

impl AsyncUdpSocket for SilentSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.udp).create_io_poller()
    }

    /// Sends what the connection of the calling task has ready.
    ///
    /// A call to the system takes at most 64 KiB, and the engine gathers ten datagrams whatever
    /// their size: so one transmission may take several calls. When one of them would block, what
    /// was taken is kept in mind until the engine comes back with the same transmission.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut scope = Scope::current();
        if scope.role != Role::Connection {
            count(&self.counters.answers_withheld);
            return Ok(());
        }
        let datagram = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        if datagram >= 1200 {
            scope.datagram = datagram;
        }
        let gathered = (MAX_DATAGRAM / datagram).clamp(1, self.udp.max_transmit_segments().max(1));
        let rest = transmit.contents.get(scope.taken..).unwrap_or_default();
        for call in rest.chunks(gathered.saturating_mul(datagram)) {
            let part = Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn,
                contents: call,
                segment_size: (call.len() > datagram).then_some(datagram),
                src_ip: transmit.src_ip,
            };
            match self.udp.try_send(&part) {
                Ok(()) => {
                    add(&self.counters.bytes_sent, call.len());
                    add(&self.counters.datagrams_sent, call.len().div_ceil(datagram));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    scope.store();
                    return Err(error);
                }
                // An error here would end the connection, where a lost packet is enough.
                Err(_) => count(&self.counters.send_errors),
            }
            scope.taken = scope.taken.saturating_add(call.len());
        }
        scope.taken = 0;
        scope.store();
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            match ready!(self.udp.poll_recv(cx, buffers, metas)) {
                Ok(received) => {
                    for meta in metas.iter().take(received) {
                        add(&self.counters.bytes_received, meta.len);
                        add(
                            &self.counters.datagrams_received,
                            meta.len.div_ceil(meta.stride.max(1)),
                        );
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(error) if Self::is_passing(&error) => count(&self.counters.receive_errors),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// The engine's buffer has to hold that many datagrams: one of 64 KiB, ten of 1,452 bytes.
    fn max_transmit_segments(&self) -> usize {
        let most = self.udp.max_transmit_segments().max(1);
        match Scope::current().datagram {
            0 => most,
            datagram => (MAX_DATAGRAM / datagram).clamp(1, most),
        }
    }

    /// The engine's receive buffers hold 64 KiB each, which is as much as the system gathers. More
    /// "segments" would only multiply them: 134 MB at the system's 64.
    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}
