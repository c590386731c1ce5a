//! The socket between the engine and the system.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, RwLockReadGuard},
    task::{Context, Poll, ready},
};

use quinn::{AsyncUdpSocket, UdpPoller};
use quinn_udp::{RecvMeta, Transmit};

use super::{
    adapter::CONNECTION_ID_LEN,
    opaque::{Inbound, Opaque},
    runtime::{Role, Scope, current_link},
    stats::{Counters, add, count},
};
use crate::{
    keyring::SeedKeys,
    route::{Directory, Id, Link, Path, RouteSocket, Via, Way, is_passing},
};

/// A datagram of this size or more shows what a connection sends when it has much to send.
const MIN_FULL: usize = 1200;
/// Longest payload of a UDP datagram over IPv4.
pub(crate) const MAX_DATAGRAM: usize = 65_507;

/// Datagrams that wait because the engine's buffers cannot hold unequal ones together.
const MAX_ASIDE: usize = 256;

/// Sends only for connections, lets only members in, and shows the network nothing but noise.
pub(crate) struct SilentSocket {
    routes: Arc<RouteSocket>,
    directory: Arc<Directory>,
    opaque: Opaque,
    counters: Arc<Counters>,
    aside: Mutex<VecDeque<(RecvMeta, Vec<u8>)>>,
}

impl fmt::Debug for SilentSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SilentSocket").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl SilentSocket {
    pub(crate) fn over(
        routes: Arc<RouteSocket>,
        directory: Arc<Directory>,
        opaque: Opaque,
        counters: Arc<Counters>,
    ) -> Self {
        Self { routes, directory, opaque, counters, aside: Mutex::default() }
    }

    /// Over one UDP socket, without anybody who keeps routes.
    #[cfg(test)]
    pub(crate) fn new(
        udp: Arc<dyn AsyncUdpSocket>,
        opaque: Opaque,
        counters: Arc<Counters>,
    ) -> Self {
        let (table, received) = crate::route::Table::new(false);
        let routes = Arc::new(RouteSocket::new(udp, table, received).unwrap());
        let (inputs, _) = crate::route::Inputs::new();
        Self::over(routes, Directory::new(inputs), opaque, counters)
    }

    /// Sends one call's worth of datagrams, and counts it. Only "would block" is an error: any
    /// other would end the connection, where a lost packet is enough.
    fn send(&self, way: &Way, call: &Transmit<'_>) -> io::Result<()> {
        let datagram = call.segment_size.unwrap_or(call.contents.len()).max(1);
        match self.routes.send(way, call) {
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
    fn send_long(
        &self,
        scope: &mut Scope,
        way: &Way,
        transmit: &Transmit<'_>,
        size: usize,
    ) -> io::Result<()> {
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
                let segment_size = None;
                self.send(way, &Transmit { contents, segment_size, ..copy(transmit) })?;
            }
            scope.taken = scope.taken.saturating_add(datagram.len());
        }
        Ok(())
    }

    /// Sends datagrams that are masked already, as many in one call as the system takes: 64 KiB.
    fn send_short(
        &self,
        scope: &mut Scope,
        way: &Way,
        transmit: &Transmit<'_>,
        size: usize,
    ) -> io::Result<()> {
        let most =
            way.local.as_ref().map_or(MAX_DATAGRAM, |local| local.udp.max_transmit_segments());
        let gathered = (MAX_DATAGRAM / size).clamp(1, most.max(1));
        let rest = transmit.contents.get(scope.taken..).unwrap_or_default();
        for contents in rest.chunks(gathered.saturating_mul(size)) {
            let segment_size = (contents.len() > size).then_some(size);
            self.send(way, &Transmit { contents, segment_size, ..copy(transmit) })?;
            scope.taken = scope.taken.saturating_add(contents.len());
        }
        Ok(())
    }

    /// Unmasks what was received into one buffer, and drops what is from strangers.
    ///
    /// The system may have gathered several datagrams of equal size. The engine gets one address for
    /// all of them: that which it knows the peer by, wherever they came from. Those of another
    /// connection go aside, and so do those with long headers, which shrink, unless they are alone.
    fn unmask(&self, buffer: &mut [u8], meta: &mut RecvMeta, batch: &Batch<'_>) {
        let stride = meta.stride.max(1);
        let received = buffer.get_mut(..meta.len).unwrap_or_default();
        add(&self.counters.bytes_received, received.len());
        add(&self.counters.datagrams_received, received.len().div_ceil(stride).max(1));
        let alone = received.len() <= stride;
        let source = meta.addr;
        let (mut from, mut kept, mut kept_id) = (0, 0, None);
        while from < received.len() {
            let until = from.saturating_add(stride).min(received.len());
            let datagram = received.get_mut(from..until).unwrap_or_default();
            match self.opaque.inbound(&batch.seeds, datagram) {
                Inbound::Short => {
                    let id = short_id(datagram);
                    let link = if id == kept_id { None } else { batch.link(id) };
                    if let Some(link) = link {
                        link.stir();
                    }
                    let address = link.map_or(source, |link| link.logical);
                    if kept == 0 {
                        meta.addr = address;
                        kept_id = id;
                    }
                    if id == kept_id {
                        received.copy_within(from..until, kept);
                        kept += until - from;
                    } else {
                        self.put_aside(RecvMeta { addr: address, ..*meta }, datagram);
                    }
                }
                Inbound::Long(length) => {
                    let datagram = datagram.get(..length).unwrap_or_default();
                    let link = batch.link(long_id(datagram));
                    if link.is_none() && self.routes.is_retired(batch.via) {
                        // Whoever is new has to knock where this node is now.
                        count(&self.counters.dropped_unknown);
                    } else if alone {
                        kept = length;
                        meta.stride = length;
                        meta.addr = link.map_or(source, |link| link.logical);
                    } else {
                        let addr = link.map_or(source, |link| link.logical);
                        self.put_aside(RecvMeta { addr, ..*meta }, datagram);
                    }
                }
                Inbound::OtherVersion => count(&self.counters.dropped_other_version),
                Inbound::Unknown => self.take_route(datagram, source, meta, batch),
            }
            from = until;
        }
        meta.len = kept;
    }

    /// Hands over a datagram about routes, or drops it as a stranger's.
    fn take_route(
        &self,
        datagram: &mut [u8],
        remote: SocketAddr,
        meta: &RecvMeta,
        batch: &Batch<'_>,
    ) {
        let known = |id| batch.links.contains_key(&id);
        let link = self.opaque.inbound_route(&batch.seeds, datagram, known);
        let Some(link) = batch.link(link) else {
            count(&self.counters.dropped_unknown);
            return;
        };
        let path = Path { via: batch.via, remote };
        self.directory.inputs().datagram(link.number, path, meta.dst_ip, datagram);
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
}

/// What all buffers of one call to the system share.
struct Batch<'a> {
    via: Via,
    seeds: Vec<Arc<SeedKeys>>,
    links: RwLockReadGuard<'a, HashMap<Id, Arc<Link>>>,
}

impl Batch<'_> {
    fn link(&self, id: Option<Id>) -> Option<&Arc<Link>> {
        self.links.get(&id?)
    }
}

/// The connection id of an unmasked packet with a short header.
pub(super) fn short_id(packet: &[u8]) -> Option<Id> {
    packet.get(1..)?.first_chunk().copied()
}

/// The destination connection id of an unmasked packet with a long header, if it is one of ours.
fn long_id(packet: &[u8]) -> Option<Id> {
    let (length, rest) = packet.get(5..)?.split_first()?;
    (usize::from(*length) == CONNECTION_ID_LEN).then(|| rest.first_chunk().copied())?
}

/// The same transmission, which the engine's type cannot copy by itself.
const fn copy<'a>(transmit: &Transmit<'a>) -> Transmit<'a> {
    Transmit {
        destination: transmit.destination,
        ecn: transmit.ecn,
        contents: transmit.contents,
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}

impl AsyncUdpSocket for SilentSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.routes.poller(current_link())
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
        let link = current_link();
        let way = match &link {
            Some(link) => {
                link.stir();
                Some(link.way())
            }
            None => self.routes.way_to(transmit.destination),
        };
        // Without a way they are lost.
        let Some(way) = way else { return Ok(()) };
        let has_long = transmit.contents.chunks(size).any(|one| Opaque::stamped(one).is_some());
        let sent = if has_long {
            self.send_long(&mut scope, &way, transmit, size)
        } else {
            self.send_short(&mut scope, &way, transmit, size)
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
            match ready!(self.routes.poll_recv(cx, buffers, metas)) {
                Ok((received, via)) => {
                    let (seeds, links) = (self.opaque.seeds(), self.directory.read());
                    let batch = Batch { via, seeds, links };
                    for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()).take(received) {
                        self.unmask(buffer, meta, &batch);
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(error) if is_passing(&error) => count(&self.counters.receive_errors),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let local = self.routes.newest().ok_or(io::ErrorKind::NotConnected)?;
        Ok(local.address)
    }

    /// The engine's buffer has to hold that many datagrams: one of 64 KiB, ten of 1,452 bytes.
    fn max_transmit_segments(&self) -> usize {
        let most = self.routes.max_transmit_segments().max(1);
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
        self.routes.may_fragment()
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
