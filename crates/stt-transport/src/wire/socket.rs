//! The socket between the engine and the system.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    io::{self, IoSliceMut},
    mem,
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::{Arc, RwLockReadGuard},
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use quinn_udp::{RecvMeta, Transmit};

use super::{
    obfuscation::{Inbound, Opaque},
    stats::{Counters, add, count},
};
use crate::{
    keyring::Entries,
    packet_header::CONNECTION_ID_LEN,
    route::{
        Directory, Id, Link, NextHop, Path, RouteRoom, RouteSocket, Via, is_passing, is_stand_in,
    },
};

/// Longest payload of a UDP datagram over IPv4.
pub(crate) const MAX_DATAGRAM: usize = 65_507;
/// Bytes that the system may put into one buffer: a datagram, or several that it gathered.
const BUFFER: usize = 64 << 10;
/// Buffers for one call to the system.
const BUFFERS: usize = 8;
/// From this size on a buffer is given away with what is in it, and not copied.
const GIVEN_AWAY: usize = BUFFER / 2;
/// Buffers that were given away and may be used again.
const MAX_GIVEN: usize = 32;

/// Sends only for connections, lets only members in, and shows the network nothing but noise.
pub(crate) struct SilentSocket {
    routes: Arc<RouteSocket>,
    directory: Arc<Directory>,
    opaque: Opaque,
    counters: Arc<Counters>,
}

/// A datagram for the engine.
#[derive(Debug)]
pub(crate) struct Received {
    /// The address that the engine knows the peer by, wherever it came from.
    pub(crate) from: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) data: BytesMut,
}

/// What was received, and where the next will be put.
pub(crate) struct Inbox {
    buffers: [BytesMut; BUFFERS],
    metas: [RecvMeta; BUFFERS],
    /// Buffers that were given away, by age, to be used again once nobody has a part of them. Memory
    /// that is new to the process costs more than to copy what is in it.
    given: VecDeque<BytesMut>,
    received: Vec<Received>,
    /// Which parts of a buffer are for the engine, and the peer of each.
    wanted: Vec<(Range<usize>, SocketAddr)>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            buffers: std::array::from_fn(|_| BytesMut::zeroed(BUFFER)),
            metas: [RecvMeta::default(); BUFFERS],
            given: VecDeque::new(),
            received: Vec::new(),
            wanted: Vec::new(),
        }
    }

    /// Takes out what was received.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Received> + '_ {
        self.received.drain(..)
    }
}

/// Gives away the first `length` bytes of `buffer`, which becomes another one.
fn give_away(buffer: &mut BytesMut, given: &mut VecDeque<BytesMut>, length: usize) -> BytesMut {
    let oldest = given.pop_front().and_then(|mut oldest| {
        if oldest.try_reclaim(BUFFER) {
            oldest.resize(BUFFER, 0);
            return Some(oldest);
        }
        if given.len() < MAX_GIVEN {
            given.push_front(oldest);
        }
        None
    });
    let mut full = mem::replace(buffer, oldest.unwrap_or_else(|| BytesMut::zeroed(BUFFER)));
    let mut rest = full.split_off(length);
    rest.clear();
    given.push_back(rest);
    full
}

impl fmt::Debug for SilentSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SilentSocket").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl SilentSocket {
    pub(crate) const fn over(
        routes: Arc<RouteSocket>,
        directory: Arc<Directory>,
        opaque: Opaque,
        counters: Arc<Counters>,
    ) -> Self {
        Self { routes, directory, opaque, counters }
    }

    /// Over one UDP socket, without anybody who keeps routes.
    #[cfg(test)]
    pub(crate) fn new(
        udp: Arc<dyn crate::route::DatagramSocket>,
        opaque: Opaque,
        counters: Arc<Counters>,
    ) -> Self {
        let (table, received) = crate::route::Table::new(false);
        let routes = Arc::new(RouteSocket::new(udp, table, received).unwrap());
        let (inputs, _) = crate::route::Inputs::new();
        Self::over(routes, Directory::new(inputs), opaque, counters)
    }

    /// The way out of one connection.
    pub(crate) fn outlet(self: &Arc<Self>, link: Arc<Link>) -> Outlet {
        let room = RouteRoom::new(Arc::clone(&self.routes), Arc::clone(&link));
        Outlet { socket: Arc::clone(self), link, room, taken: 0 }
    }

    /// Sends what the engine answers to a member without a connection, once.
    pub(crate) fn answer(&self, link: &Link, transmit: &quinn_proto::Transmit, contents: &[u8]) {
        // What there is no room for is lost: the peer will ask again.
        let _ = self.send(link, transmit, contents, &mut 0);
    }

    pub(crate) fn may_fragment(&self) -> bool {
        self.routes.may_fragment()
    }

    /// Sends what is left of a transmission after the `taken` first bytes, and counts those.
    ///
    /// A call to the system takes at most 64 KiB, so one transmission may take several.
    fn send(
        &self,
        link: &Link,
        transmit: &quinn_proto::Transmit,
        contents: &[u8],
        taken: &mut usize,
    ) -> io::Result<()> {
        link.stir();
        let size = transmit.segment_size.unwrap_or(contents.len()).max(1);
        let has_long = contents.chunks(size).any(|one| Opaque::stamped(one).is_some());
        let call = Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.map(to_system),
            contents,
            segment_size: None,
            src_ip: transmit.src_ip,
        };
        link.with_way(|way| {
            if has_long {
                self.send_long(way, &call, size, taken)
            } else {
                self.send_short(way, &call, size, taken)
            }
        })
    }

    /// Sends one call's worth of datagrams, and counts it. Only "would block" is an error: any
    /// other would end the connection, where a lost packet is enough.
    fn call(&self, way: &NextHop, call: &Transmit<'_>) -> io::Result<()> {
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
        way: &NextHop,
        all: &Transmit<'_>,
        size: usize,
        taken: &mut usize,
    ) -> io::Result<()> {
        let rest = all.contents.get(*taken..).unwrap_or_default();
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
                self.call(way, &Transmit { contents, ..copy(all) })?;
            }
            *taken = taken.saturating_add(datagram.len());
        }
        Ok(())
    }

    /// Sends datagrams that are masked already, as many in one call as the system takes.
    fn send_short(
        &self,
        way: &NextHop,
        all: &Transmit<'_>,
        size: usize,
        taken: &mut usize,
    ) -> io::Result<()> {
        let rest = all.contents.get(*taken..).unwrap_or_default();
        for contents in rest.chunks(segments(way, size).saturating_mul(size)) {
            let segment_size = (contents.len() > size).then_some(size);
            self.call(way, &Transmit { contents, segment_size, ..copy(all) })?;
            *taken = taken.saturating_add(contents.len());
        }
        Ok(())
    }

    /// Receives into `inbox` what is for the engine.
    pub(crate) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        inbox: &mut Inbox,
    ) -> Poll<io::Result<()>> {
        let (received, via) = loop {
            let mut slices = inbox.buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
            match ready!(self.routes.poll_recv(cx, &mut slices, &mut inbox.metas)) {
                Ok(received) => break received,
                Err(error) if is_passing(&error) => count(&self.counters.receive_errors),
                Err(error) => return Poll::Ready(Err(error)),
            }
        };
        let (seeds, links) = (self.opaque.seeds(), self.directory.read());
        let batch = Batch { via, seeds, links };
        let Inbox { buffers, metas, given, received: out, wanted } = inbox;
        for (buffer, meta) in buffers.iter_mut().zip(metas).take(received) {
            self.unmask(buffer, meta, &batch, wanted);
            let Some((last, _)) = wanted.last() else { continue };
            let mut data = if last.end < GIVEN_AWAY {
                BytesMut::from(buffer.get(..last.end).unwrap_or_default())
            } else {
                give_away(buffer, given, last.end)
            };
            let mut at = 0;
            for (Range { start, end }, from) in wanted.drain(..) {
                let _ = data.split_to(start - at);
                let data = data.split_to(end - start);
                at = end;
                let ecn = meta.ecn.map(from_system);
                out.push(Received { from, local_ip: meta.dst_ip, ecn, data });
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Unmasks what was received into one buffer, and finds what is not from strangers. The system
    /// may have gathered several datagrams of equal size.
    fn unmask(
        &self,
        buffer: &mut [u8],
        meta: &RecvMeta,
        batch: &Batch<'_>,
        wanted: &mut Vec<(Range<usize>, SocketAddr)>,
    ) {
        let stride = meta.stride.max(1);
        let received = buffer.get_mut(..meta.len).unwrap_or_default();
        add(&self.counters.bytes_received, received.len());
        add(&self.counters.datagrams_received, received.len().div_ceil(stride).max(1));
        // Anybody can write such an address into a datagram, and it stands for a WebSocket.
        if matches!(batch.via, Via::Udp(_)) && is_stand_in(meta.addr.ip()) {
            return count(&self.counters.dropped_unknown);
        }
        let mut last: Option<(Id, &Link)> = None;
        let mut start = 0;
        for datagram in received.chunks_mut(stride) {
            match self.opaque.inbound(&batch.seeds, datagram) {
                Inbound::Short => {
                    let id = short_id(datagram);
                    // Those gathered are mostly of one connection.
                    let link = match last {
                        Some((known, link)) if Some(known) == id => Some(link),
                        _ => batch.link(id).map(Arc::as_ref).inspect(|link| {
                            link.stir();
                            last = id.map(|id| (id, *link));
                        }),
                    };
                    let from = link.map_or(meta.addr, |link| link.logical);
                    wanted.push((start..start + datagram.len(), from));
                }
                Inbound::Long(length) => {
                    let link = batch.link(long_id(datagram.get(..length).unwrap_or_default()));
                    if link.is_none() && self.routes.is_retired(batch.via) {
                        // Whoever is new has to knock where this node is now.
                        count(&self.counters.dropped_unknown);
                    } else {
                        let from = link.map_or(meta.addr, |link| link.logical);
                        wanted.push((start..start + length, from));
                    }
                }
                Inbound::OtherVersion => count(&self.counters.dropped_other_version),
                Inbound::Unknown => self.take_route(datagram, meta, batch),
            }
            start += datagram.len();
        }
    }

    /// Hands over a datagram about routes, or drops it as a stranger's.
    fn take_route(&self, datagram: &mut [u8], meta: &RecvMeta, batch: &Batch<'_>) {
        let known = |id| batch.links.contains_key(&id);
        let link = self.opaque.inbound_route(&batch.seeds, datagram, known);
        let Some(link) = batch.link(link) else {
            count(&self.counters.dropped_unknown);
            return;
        };
        let path = Path { via: batch.via, remote: meta.addr };
        self.directory.inputs().datagram(link.number, path, meta.dst_ip, datagram);
    }
}

/// Datagrams of `size` bytes that one call takes over `way`.
fn segments(way: &NextHop, size: usize) -> usize {
    let most = way.local.as_ref().map_or(MAX_DATAGRAM, |local| local.udp.max_transmit_segments());
    (MAX_DATAGRAM / size.max(1)).clamp(1, most.max(1))
}

/// Where the datagrams of one connection go out.
pub(crate) struct Outlet {
    socket: Arc<SilentSocket>,
    link: Arc<Link>,
    room: RouteRoom,
    /// Bytes of the transmission in hand that the system has taken already.
    taken: usize,
}

impl Outlet {
    pub(crate) const fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Datagrams of `size` bytes that go out together.
    pub(crate) fn segments(&self, size: u16) -> usize {
        self.link.with_way(|way| segments(way, size.into()))
    }

    /// Sends a transmission. When there is no room, the caller has to come back with the same one.
    ///
    /// # Errors
    /// "Would block".
    pub(crate) fn send(
        &mut self,
        transmit: &quinn_proto::Transmit,
        contents: &[u8],
    ) -> io::Result<()> {
        self.socket.send(&self.link, transmit, contents, &mut self.taken)?;
        self.taken = 0;
        Ok(())
    }

    /// Nothing is sent any more: lets go of the socket.
    pub(crate) fn close(&mut self) {
        self.room.close();
        self.link.close();
    }

    /// Waits until there may be room.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A socket that fails says so when it is used.
        self.room.poll(cx).map(|_| ())
    }
}

/// What all buffers of one call to the system share.
struct Batch<'a> {
    via: Via,
    seeds: Arc<Entries>,
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

/// The same transmission, which the system's type cannot copy by itself.
const fn copy<'a>(transmit: &Transmit<'a>) -> Transmit<'a> {
    Transmit {
        destination: transmit.destination,
        ecn: transmit.ecn,
        contents: transmit.contents,
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}

const fn to_system(ecn: EcnCodepoint) -> quinn_udp::EcnCodepoint {
    match ecn {
        EcnCodepoint::Ect0 => quinn_udp::EcnCodepoint::Ect0,
        EcnCodepoint::Ect1 => quinn_udp::EcnCodepoint::Ect1,
        EcnCodepoint::Ce => quinn_udp::EcnCodepoint::Ce,
    }
}

const fn from_system(ecn: quinn_udp::EcnCodepoint) -> EcnCodepoint {
    match ecn {
        quinn_udp::EcnCodepoint::Ect0 => EcnCodepoint::Ect0,
        quinn_udp::EcnCodepoint::Ect1 => EcnCodepoint::Ect1,
        quinn_udp::EcnCodepoint::Ce => EcnCodepoint::Ce,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use stc::Key;

    use super::*;
    use crate::{
        SharedSeed,
        keyring::Keyring,
        route::{DatagramSocket, Room},
        wire::obfuscation::IdMark,
    };

    /// A system that takes calls up to 64 KiB, and would block when it is told to.
    #[derive(Debug, Default)]
    struct System {
        /// Contents and size of the datagrams of each call that was taken.
        calls: Mutex<Vec<(Vec<u8>, Option<usize>)>>,
        /// Calls until the next one would block.
        until_full: Mutex<Option<usize>>,
    }

    impl DatagramSocket for System {
        fn room(self: Arc<Self>) -> Box<dyn Room> {
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
    }

    fn outlet() -> (Arc<System>, Outlet) {
        let system = Arc::new(System::default());
        let keyring = Keyring::from(SharedSeed::from_key(Key::from_bytes([1; 32])));
        let opaque = Opaque::new(Arc::new(keyring), IdMark::new([1; 16]));
        let udp: Arc<dyn DatagramSocket> = Arc::<System>::clone(&system);
        let socket = Arc::new(SilentSocket::new(udp, opaque, Arc::default()));
        let to = SocketAddr::from(([127, 0, 0, 1], 2));
        let way = socket.routes.way_to(to).unwrap();
        let link = socket.directory.link(to, way);
        (system, socket.outlet(link))
    }

    fn transmit(contents: &[u8], size: usize) -> quinn_proto::Transmit {
        quinn_proto::Transmit {
            destination: SocketAddr::from(([127, 0, 0, 1], 2)),
            ecn: None,
            size: contents.len(),
            segment_size: Some(size),
            src_ip: None,
        }
    }

    fn send(outlet: &mut Outlet, contents: &[u8], size: usize) -> io::Result<()> {
        outlet.send(&transmit(contents, size), contents)
    }

    /// Ten datagrams of 65,507 bytes are more than the system takes at once, and an error would make
    /// the engine fall back to 1,200 bytes. A way that changed may take fewer than the engine made.
    #[test]
    fn a_transmission_of_jumbo_datagrams_is_cut_into_calls_that_the_system_takes() {
        for (size, calls) in [(65_507, 10), (20_000, 4), (6_551, 2), (6_550, 1), (1_452, 1)] {
            let (system, mut outlet) = outlet();
            let contents: Vec<u8> = (0..=0x7f_u8).cycle().take(size * 10).collect();
            send(&mut outlet, &contents, size).unwrap();
            let taken = system.calls.lock().unwrap().clone();
            assert_eq!(taken.len(), calls, "{size}");
            let sent: Vec<u8> = taken.iter().flat_map(|call| call.0.clone()).collect();
            assert!(sent == contents, "{size}");
            assert!(taken.iter().all(|(call, segment)| (call.len() > size) == segment.is_some()));
            assert_eq!(outlet.socket.counters.snapshot().datagrams_sent, 10);
            assert_eq!(outlet.socket.counters.snapshot().send_errors, 0);
        }
    }

    #[test]
    fn after_would_block_the_rest_is_sent_and_nothing_twice() {
        let (system, mut outlet) = outlet();
        let contents: Vec<u8> = (0..=0x7e_u8).cycle().take(200_000).collect();
        *system.until_full.lock().unwrap() = Some(2);
        let full = send(&mut outlet, &contents, 20_000).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(system.calls.lock().unwrap().len(), 2);
        send(&mut outlet, &contents, 20_000).unwrap();
        let sent: Vec<u8> =
            system.calls.lock().unwrap().iter().flat_map(|call| call.0.clone()).collect();
        assert!(sent == contents);
        // The next transmission starts at its own beginning.
        send(&mut outlet, &[5; 1200], 1200).unwrap();
        assert_eq!(system.calls.lock().unwrap().last().unwrap().0, [5; 1200]);
    }

    #[test]
    fn any_other_error_loses_a_packet_and_not_the_connection() {
        let (system, mut outlet) = outlet();
        let contents = vec![0; MAX_DATAGRAM + 1];
        send(&mut outlet, &contents, contents.len()).unwrap();
        assert!(system.calls.lock().unwrap().is_empty());
        assert_eq!(outlet.socket.counters.snapshot().send_errors, 1);
    }

    #[test]
    fn a_buffer_that_was_given_away_is_used_again_once_nobody_has_a_part_of_it() {
        let (mut buffer, mut given) = (BytesMut::zeroed(BUFFER), VecDeque::new());
        let first = buffer.as_ptr();
        let mut datagram = give_away(&mut buffer, &mut given, 40_000);
        assert_eq!((datagram.as_ptr(), datagram.len(), buffer.len()), (first, 40_000, BUFFER));
        let part = datagram.split_to(10).freeze();
        drop(datagram);
        let other = give_away(&mut buffer, &mut given, BUFFER - 1);
        assert_ne!(buffer.as_ptr(), first, "somebody has a part of it");
        drop((part, other));
        give_away(&mut buffer, &mut given, 40_000);
        assert_eq!(buffer.as_ptr(), first);
        assert_eq!(buffer.len(), BUFFER);
        // Those that are never given back are not waited for, nor kept.
        let kept: Vec<_> =
            (0..100).map(|_| give_away(&mut buffer, &mut given, 40_000).freeze()).collect();
        assert!(given.len() <= MAX_GIVEN + 1, "{}", given.len());
        drop(kept);
    }

    #[test]
    fn the_engine_gathers_as_many_datagrams_as_one_call_takes() {
        let (_, outlet) = outlet();
        for (size, together) in [(65_507, 1), (32_753, 2), (1_452, 45), (1_200, 54), (100, 64)] {
            assert_eq!(outlet.segments(size), together, "{size}");
        }
    }
}
