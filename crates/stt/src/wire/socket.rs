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

#[cfg(test)]
mod tests {
    use stc::Key;

    use super::*;
    use crate::{SharedSeed, keyring::Keyring, wire::opaque::IdMark};

    /// A system that takes calls up to 64 KiB, and would block when it is told to.
    #[derive(Debug, Default)]
    struct System {
        /// Contents and size of the datagrams of each call that was taken.
        calls: Mutex<Vec<(Vec<u8>, Option<usize>)>>,
        /// Calls until the next one would block.
        until_full: Mutex<Option<usize>>,
    }

    impl AsyncUdpSocket for System {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            panic!("not asked for")
        }

        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            let mut until_full = self.until_full.lock().unwrap();
            match &mut *until_full {
                Some(0) => {
                    *until_full = None;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Some(left) => *left -= 1,
                None => {}
            }
            if transmit.contents.len() > MAX_DATAGRAM {
                return Err(io::Error::other("message too long"));
            }
            let call = (transmit.contents.to_vec(), transmit.segment_size);
            self.calls.lock().unwrap().push(call);
            Ok(())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
        }

        fn max_transmit_segments(&self) -> usize {
            64
        }

        fn max_receive_segments(&self) -> usize {
            64
        }
    }

    fn socket() -> (Arc<System>, SilentSocket) {
        let system = Arc::new(System::default());
        let keyring = Keyring::from(SharedSeed::from_key(Key::from_bytes([1; 32])));
        let opaque = Opaque::new(Arc::new(keyring), IdMark::new([1; 16]));
        let udp: Arc<dyn AsyncUdpSocket> = Arc::<System>::clone(&system);
        (system, SilentSocket::new(udp, opaque, Arc::default()))
    }

    fn transmit(contents: &[u8], size: usize) -> Transmit<'_> {
        Transmit {
            destination: SocketAddr::from(([127, 0, 0, 1], 2)),
            ecn: None,
            contents,
            segment_size: Some(size),
            src_ip: None,
        }
    }

    /// The engine gathers ten datagrams whatever their size; ten of 65,507 bytes are more than the
    /// system takes, and an error would make the engine fall back to 1,200 bytes.
    #[test]
    fn a_transmission_of_jumbo_datagrams_is_cut_into_calls_that_the_system_takes() {
        for (size, calls) in [(65_507, 10), (20_000, 4), (6_551, 2), (6_550, 1), (1_452, 1)] {
            let (system, socket) = socket();
            let contents: Vec<u8> = (0..=0x7f_u8).cycle().take(size * 10).collect();
            Scope::as_connection(|| socket.try_send(&transmit(&contents, size))).unwrap();
            let taken = system.calls.lock().unwrap().clone();
            assert_eq!(taken.len(), calls, "{size}");
            let sent: Vec<u8> = taken.iter().flat_map(|call| call.0.clone()).collect();
            assert!(sent == contents, "{size}");
            assert!(taken.iter().all(|(call, segment)| (call.len() > size) == segment.is_some()));
            assert_eq!(socket.counters.snapshot().datagrams_sent, 10);
            assert_eq!(socket.counters.snapshot().send_errors, 0);
        }
    }

    #[test]
    fn after_would_block_the_rest_is_sent_and_nothing_twice() {
        let (system, socket) = socket();
        let contents: Vec<u8> = (0..=0x7e_u8).cycle().take(200_000).collect();
        Scope::as_connection(|| {
            *system.until_full.lock().unwrap() = Some(2);
            let full = socket.try_send(&transmit(&contents, 20_000)).unwrap_err();
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(system.calls.lock().unwrap().len(), 2);
            socket.try_send(&transmit(&contents, 20_000)).unwrap();
        });
        let sent: Vec<u8> =
            system.calls.lock().unwrap().iter().flat_map(|call| call.0.clone()).collect();
        assert!(sent == contents);
        // The next transmission starts at its own beginning.
        Scope::as_connection(|| socket.try_send(&transmit(&[5; 1200], 1200))).unwrap();
        assert_eq!(system.calls.lock().unwrap().last().unwrap().0, [5; 1200]);
    }

    #[test]
    fn any_other_error_loses_a_packet_and_not_the_connection() {
        let (system, socket) = socket();
        let contents = vec![0; MAX_DATAGRAM + 1];
        let too_long = transmit(&contents, contents.len());
        Scope::as_connection(|| socket.try_send(&too_long)).unwrap();
        assert!(system.calls.lock().unwrap().is_empty());
        assert_eq!(socket.counters.snapshot().send_errors, 1);
    }

    /// 32 buffers of 64 KiB and not 32 times 64 of them.
    #[test]
    fn receive_buffers_are_one_datagram_of_the_system_each() {
        assert_eq!(socket().1.max_receive_segments(), 1);
    }
}
