//! The socket between the engine and the system.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use quinn::{AsyncUdpSocket, UdpPoller};
use quinn_udp::{RecvMeta, Transmit};

use super::{
    opaque::{Inbound, Opaque},
    runtime::{Role, Scope},
    stats::{Counters, add, count},
};

/// A datagram of this size or more shows what a connection sends when it has much to send.
const MIN_FULL: usize = 1200;
/// Longest payload of a UDP datagram over IPv4.
pub(crate) const MAX_DATAGRAM: usize = 65_507;

/// Datagrams that wait because the engine's buffers cannot hold unequal ones together.
const MAX_ASIDE: usize = 256;

/// Sends only for connections, lets only members in, and shows the network nothing but noise.
pub(crate) struct SilentSocket {
    udp: Arc<dyn AsyncUdpSocket>,
    opaque: Opaque,
    counters: Arc<Counters>,
    aside: Mutex<VecDeque<(RecvMeta, Vec<u8>)>>,
}

impl fmt::Debug for SilentSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SilentSocket").field("udp", &self.udp).finish_non_exhaustive()
    }
}

impl SilentSocket {
    pub(crate) fn new(
        udp: Arc<dyn AsyncUdpSocket>,
        opaque: Opaque,
        counters: Arc<Counters>,
    ) -> Self {
        Self { udp, opaque, counters, aside: Mutex::default() }
    }

    /// Sends one call's worth of datagrams, and counts it. Only "would block" is an error: any
    /// other would end the connection, where a lost packet is enough.
    fn send(&self, call: &Transmit<'_>) -> io::Result<()> {
        let datagram = call.segment_size.unwrap_or(call.contents.len()).max(1);
        match self.udp.try_send(call) {
            Ok(()) => {
                add(&self.counters.bytes_sent, call.contents.len());
                add(&self.counters.datagrams_sent, call.contents.len().div_ceil(datagram));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => {
                count(&self.counters.send_errors);
                Ok(())
            }
        }
    }

    /// Sends datagrams of which some have long headers. They are few, so each is copied and masked
    /// as a whole.
    fn send_long(&self, scope: &mut Scope, transmit: &Transmit<'_>, size: usize) -> io::Result<()> {
        let rest = transmit.contents.get(scope.taken..).unwrap_or_default();
        let mut masked = Vec::new();
        for datagram in rest.chunks(size) {
            let contents = match Opaque::stamped(datagram) {
                None => Some(datagram),
                Some(slot) => self
                    .opaque
                    .outbound(slot, &mut datagram.to_vec(), &mut masked)
                    .then_some(masked.as_slice()),
            };
            if let Some(contents) = contents {
                self.send(&Transmit {
                    destination: transmit.destination,
                    ecn: transmit.ecn,
                    contents,
                    segment_size: None,
                    src_ip: transmit.src_ip,
                })?;
            }
            scope.taken = scope.taken.saturating_add(datagram.len());
        }
        Ok(())
    }

    /// Sends datagrams that are masked already, as many in one call as the system takes: 64 KiB.
    fn send_short(
        &self,
        scope: &mut Scope,
        transmit: &Transmit<'_>,
        size: usize,
    ) -> io::Result<()> {
        let gathered = (MAX_DATAGRAM / size).clamp(1, self.udp.max_transmit_segments().max(1));
        let rest = transmit.contents.get(scope.taken..).unwrap_or_default();
        for contents in rest.chunks(gathered.saturating_mul(size)) {
            self.send(&Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn,
                contents,
                segment_size: (contents.len() > size).then_some(size),
                src_ip: transmit.src_ip,
            })?;
            scope.taken = scope.taken.saturating_add(contents.len());
        }
        Ok(())
    }

    /// Unmasks what was received into one buffer, and drops what is from strangers.
    ///
    /// The system may have gathered several datagrams of equal size. Those with long headers shrink,
    /// and go aside unless they are alone.
    fn unmask(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let received = buffer.get_mut(..meta.len).unwrap_or_default();
        add(&self.counters.bytes_received, received.len());
        add(&self.counters.datagrams_received, received.len().div_ceil(stride).max(1));
        let alone = received.len() <= stride;
        let seeds = self.opaque.seeds();
        let (mut from, mut kept) = (0, 0);
        while from < received.len() {
            let until = from.saturating_add(stride).min(received.len());
            let datagram = received.get_mut(from..until).unwrap_or_default();
            match self.opaque.inbound(&seeds, datagram) {
                Inbound::Short => {
                    received.copy_within(from..until, kept);
                    kept += until - from;
                }
                Inbound::Long(length) if alone => {
                    kept = length;
                    meta.stride = length;
                }
                Inbound::Long(length) => {
                    self.put_aside(*meta, datagram.get(..length).unwrap_or_default());
                }
                Inbound::OtherVersion => count(&self.counters.dropped_other_version),
                Inbound::Unknown => count(&self.counters.dropped_unknown),
            }
            from = until;
        }
        meta.len = kept;
    }

    fn put_aside(&self, mut meta: RecvMeta, datagram: &[u8]) {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        // One too many is lost like any other datagram, and sent again.
        if aside.len() < MAX_ASIDE {
            meta.len = datagram.len();
            meta.stride = datagram.len();
            aside.push_back((meta, datagram.to_vec()));
        }
    }

    /// Moves what waits aside into the engine's buffers, and returns how many were filled.
    fn take_aside(&self, buffers: &mut [IoSliceMut<'_>], metas: &mut [RecvMeta]) -> usize {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        let mut filled = 0;
        for (buffer, slot) in buffers.iter_mut().zip(metas) {
            let Some((meta, datagram)) = aside.pop_front() else { break };
            let Some(room) = buffer.get_mut(..datagram.len()) else { continue };
            room.copy_from_slice(&datagram);
            *slot = meta;
            filled += 1;
        }
        filled
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
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        if size >= MIN_FULL {
            scope.datagram = size;
        }
        let has_long = transmit.contents.chunks(size).any(|one| Opaque::stamped(one).is_some());
        let sent = if has_long {
            self.send_long(&mut scope, transmit, size)
        } else {
            self.send_short(&mut scope, transmit, size)
        };
        if sent.is_ok() {
            scope.taken = 0;
        }
        scope.store();
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let filled = self.take_aside(buffers, metas);
        if filled > 0 {
            return Poll::Ready(Ok(filled));
        }
        loop {
            match ready!(self.udp.poll_recv(cx, buffers, metas)) {
                Ok(received) => {
                    for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()).take(received) {
                        self.unmask(buffer, meta);
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
