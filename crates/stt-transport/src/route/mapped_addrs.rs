//! Which stand-in address is which peer.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{
            AtomicBool, AtomicU32, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, mpsc};

use super::{
    driver::{Input, Inputs, WeakInputs},
    frame,
    websocket_io::Role,
};

/// Bytes that wait for one peer's WebSocket. When there are more, its session waits, and no other: a
/// slow peer grows neither memory nor another's delay.
const MAX_WAITING: usize = 256 << 10;
/// What a piece that waits counts beside its bytes, so that many small ones are bounded too.
const PIECE: usize = 1 << 10;

/// Received datagrams that the engine has not taken. When they are as many, all WebSockets wait,
/// and TCP slows their senders down.
const MAX_RECEIVED: usize = 256;

/// Largest datagram in a WebSocket message: TCP has no packets to fill, so only the cost of a
/// message counts.
pub(crate) const WEBSOCKET_MTU: u16 = 16_000;

/// Whether an address is a stand-in for a peer that is not reached over UDP.
pub(crate) fn is_stand_in(ip: IpAddr) -> bool {
    matches!(ip.to_canonical(), IpAddr::V4(ip) if ip.octets()[0] >> 4 == 0xf && !ip.is_broadcast())
}

/// Peers that are reached over WebSockets.
pub(crate) struct Table {
    /// Whether the socket speaks IPv6, where IPv4 addresses are mapped.
    ipv6: bool,
    next: AtomicU32,
    peers: RwLock<Peers>,
    received: mpsc::Sender<(SocketAddr, Bytes)>,
    /// Who is told when one of them is gone.
    lost: OnceLock<WeakInputs>,
}

#[derive(Default)]
struct Peers {
    ways: HashMap<SocketAddr, Outgoing>,
    /// The node is gone, and takes no more of them.
    closed: bool,
}

/// The way to one peer.
struct Outgoing {
    queue: mpsc::UnboundedSender<Bytes>,
    waiting: Arc<Waiting>,
    /// This node's side of the WebSocket.
    role: Role,
    /// Both ends of the TCP connection: this node's and the other one.
    ends: Option<(SocketAddr, SocketAddr)>,
}

/// What the task of one WebSocket holds: dropping it removes the peer.
pub(crate) struct Entry {
    table: Arc<Table>,
    pub(crate) stand_in: SocketAddr,
    pub(crate) queue: mpsc::UnboundedReceiver<Bytes>,
    waiting: Arc<Waiting>,
}

/// What waits for one peer.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// Who waits for room.
    blocked: Mutex<Option<Waker>>,
    /// The peer was taken out of the table.
    removed: Notify,
    /// A session uses it, or did.
    owned: Notify,
    /// The same, for whoever asks.
    in_use: AtomicBool,
    /// A handshake began in it.
    greeted: AtomicBool,
}

impl Waiting {
    /// Whether it is worth going on: half of it is free, so that a stop is a rare thing.
    fn has_room(&self) -> bool {
        self.bytes.load(SeqCst) <= MAX_WAITING / 2
    }

    /// The peer was taken out of the table.
    fn remove(&self) {
        self.wake();
        self.removed.notify_one();
    }

    fn wake(&self) {
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(blocked) = blocked {
            blocked.wake();
        }
    }
}

impl Table {
    /// An empty table, and what WebSockets receive.
    pub(crate) fn new(ipv6: bool) -> (Arc<Self>, mpsc::Receiver<(SocketAddr, Bytes)>) {
        let (received, taken) = mpsc::channel(MAX_RECEIVED);
        let (next, peers) = (AtomicU32::new(0), RwLock::default());
        let table = Self { ipv6, next, peers, received, lost: OnceLock::new() };
        (Arc::new(table), taken)
    }

    /// How many peers there are.
    pub(crate) fn len(&self) -> usize {
        self.read().ways.len()
    }

    /// From now on `inputs` hears of WebSockets that end.
    pub(crate) fn tell(&self, inputs: &Inputs) {
        // Set once, when the node starts.
        let _ = self.lost.set(inputs.weak());
    }

    /// Both ends of the TCP connection behind `stand_in`: this node's and the other one.
    pub(crate) fn ends(&self, stand_in: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
        self.read().ways.get(&stand_in).and_then(|peer| peer.ends)
    }

    /// A session uses the WebSocket behind `stand_in`.
    pub(super) fn own(&self, stand_in: SocketAddr) {
        if let Some(peer) = self.read().ways.get(&stand_in) {
            peer.waiting.in_use.store(true, SeqCst);
            peer.waiting.owned.notify_one();
        }
    }

    /// Whether no handshake began in this WebSocket yet: its own request was counted as one.
    pub(crate) fn is_first_handshake(&self, stand_in: SocketAddr) -> bool {
        self.read().ways.get(&stand_in).is_some_and(|peer| !peer.waiting.greeted.swap(true, SeqCst))
    }

    /// Ends the WebSocket behind `stand_in`, once what waits has been written.
    pub(crate) fn remove(&self, stand_in: SocketAddr) {
        let removed = self.write().ways.remove(&stand_in);
        if let Some(peer) = removed {
            peer.waiting.remove();
        }
    }

    /// As [`Self::remove`], unless a session uses it: a handshake that failed inside of it ends nothing
    /// that is another one's.
    pub(super) fn remove_unused(&self, stand_in: SocketAddr) {
        let in_use =
            self.read().ways.get(&stand_in).is_some_and(|peer| peer.waiting.in_use.load(SeqCst));
        if !in_use {
            self.remove(stand_in);
        }
    }

    /// Ends all WebSockets, once what waits has been written, and those that are still being opened.
    pub(super) fn close(&self) {
        let mut peers = self.write();
        peers.closed = true;
        let ways = std::mem::take(&mut peers.ways);
        drop(peers);
        for peer in ways.into_values() {
            peer.waiting.remove();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Peers> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Peers> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stand-in for a new peer, whose connection has these `ends`.
    pub(super) fn add(
        self: &Arc<Self>,
        ends: Option<(SocketAddr, SocketAddr)>,
        role: Role,
    ) -> Entry {
        self.insert(self.write(), ends, role)
    }

    /// The same, unless there are `max` already.
    pub(super) fn add_within(
        self: &Arc<Self>,
        max: usize,
        ends: Option<(SocketAddr, SocketAddr)>,
        role: Role,
    ) -> Option<Entry> {
        let peers = self.write();
        (peers.ways.len() < max).then(|| self.insert(peers, ends, role))
    }

    fn insert(
        self: &Arc<Self>,
        mut peers: RwLockWriteGuard<'_, Peers>,
        ends: Option<(SocketAddr, SocketAddr)>,
        role: Role,
    ) -> Entry {
        let (sender, queue) = mpsc::unbounded_channel();
        let waiting = Arc::<Waiting>::default();
        let stand_in = loop {
            // 240.0.0.0 to 247.255.255.255: far from the broadcast address.
            let number = self.next.fetch_add(1, Relaxed) & 0x07ff_ffff;
            let v4 = Ipv4Addr::from_bits(0xf000_0000 | number);
            let ip = if self.ipv6 { v4.to_ipv6_mapped().into() } else { IpAddr::V4(v4) };
            let address = SocketAddr::new(ip, 443);
            if !peers.ways.contains_key(&address) {
                break address;
            }
        };
        let outgoing = Outgoing { queue: sender, waiting: Arc::clone(&waiting), role, ends };
        if peers.closed {
            waiting.remove();
        } else {
            peers.ways.insert(stand_in, outgoing);
        }
        Entry { table: Arc::clone(self), stand_in, queue, waiting }
    }

    /// Queues datagrams of `size` bytes, of which the last may be shorter, for the peer behind
    /// `stand_in`. Those for nobody are lost.
    ///
    /// # Errors
    /// There is no room at the moment; [`Self::poll_room`] tells when there is.
    pub(crate) fn send(
        &self,
        stand_in: SocketAddr,
        datagrams: &[u8],
        size: usize,
    ) -> io::Result<()> {
        let peers = self.read();
        let Some(peer) = peers.ways.get(&stand_in) else { return Ok(()) };
        let datagrams = datagrams.chunks(size.max(1));
        let room = frame::room(datagrams.len(), datagrams.clone().map(<[u8]>::len).sum());
        let waiting = peer.waiting.bytes.load(SeqCst);
        if waiting.saturating_add(room).saturating_add(PIECE) > MAX_WAITING {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut frames = BytesMut::with_capacity(room);
        datagrams.for_each(|one| frame::put_datagram(one, peer.role.mask_key(), &mut frames));
        peer.waiting.bytes.fetch_add(frames.len().saturating_add(PIECE), SeqCst);
        // A task that is gone has left the table, or is about to.
        let _ = peer.queue.send(frames.freeze());
        Ok(())
    }

    /// Waits for room for the peer behind `stand_in`, if it is there.
    pub(crate) fn poll_room(&self, stand_in: SocketAddr, cx: &Context<'_>) -> Poll<()> {
        let peers = self.read();
        let Some(waiting) = peers.ways.get(&stand_in).map(|peer| &peer.waiting) else {
            return Poll::Ready(());
        };
        if waiting.has_room() {
            return Poll::Ready(());
        }
        let mut blocked = waiting.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        *blocked = Some(cx.waker().clone());
        drop(blocked);
        // It may have become free before anybody knew who waits.
        if waiting.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Entry {
    /// So many bytes of the queue were written, and so many pieces to their end.
    pub(crate) fn sent(&self, bytes: usize, pieces: usize) {
        let freed = bytes.saturating_add(pieces.saturating_mul(PIECE));
        self.waiting.bytes.fetch_sub(freed, SeqCst);
        if self.waiting.has_room() {
            self.waiting.wake();
        }
    }

    /// Waits until [`Table::remove`] is called for it.
    pub(super) async fn removed(&self) {
        self.waiting.removed.notified().await;
    }

    /// Waits until a session uses it.
    pub(super) fn owned(&self) -> impl Future<Output = ()> + Send + use<> {
        let waiting = Arc::clone(&self.waiting);
        async move { waiting.owned.notified().await }
    }

    /// Hands a datagram to the engine, waiting for room; false once there is no engine.
    pub(crate) async fn received(&self, datagram: Bytes) -> bool {
        self.table.received.send((self.stand_in, datagram)).await.is_ok()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.write().ways.remove(&self.stand_in);
        self.waiting.wake();
        if let Some(inputs) = self.table.lost.get().and_then(WeakInputs::upgrade) {
            inputs.send(Input::Lost(self.stand_in));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_handshake_ends_no_websocket_that_a_session_uses() {
        let (table, _taken) = Table::new(false);
        let (used, unused) = (table.add(None, Role::Server), table.add(None, Role::Server));
        table.own(used.stand_in);
        table.remove_unused(used.stand_in);
        table.remove_unused(unused.stand_in);
        unused.removed().await;
        assert_eq!(table.len(), 1);
        table.remove(used.stand_in);
        used.removed().await;
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_waits_alone() {
        let (table, _taken) = Table::new(false);
        let mut slow = table.add(None, Role::Server);
        let mut other = table.add(None, Role::Server);
        assert!(is_stand_in(slow.stand_in.ip()));
        assert_ne!(slow.stand_in, other.stand_in);
        let gone = slow.stand_in;
        let send = |to, bytes: usize| table.send(to, &vec![0; bytes], bytes).is_ok();
        let room = |to| {
            let table = &table;
            let room = std::future::poll_fn(move |cx| table.poll_room(to, cx));
            tokio::time::timeout(std::time::Duration::ZERO, room)
        };
        let accepted = (0..1000).filter(|_| send(gone, 16_000)).count();
        assert_eq!(accepted, MAX_WAITING / (16_004 + PIECE));
        assert!(room(gone).await.is_err());
        assert!(send(other.stand_in, 16_000), "the other is not full");
        assert!(room(other.stand_in).await.is_ok());
        assert_eq!(other.queue.recv().await.map(|datagram| datagram.len()), Some(16_004));

        // Half of it has to be free before it is worth waking anybody.
        for _ in 0..accepted / 2 + 1 {
            assert!(room(gone).await.is_err());
            let taken = slow.queue.recv().await.unwrap();
            slow.sent(taken.len(), 1);
        }
        assert!(room(gone).await.is_ok() && send(gone, 16_000));
        assert!((0..2000).filter(|_| send(gone, 1)).count() < 1024, "small ones count, too");
        assert!(room(gone).await.is_err());
        drop(slow);
        assert!(room(gone).await.is_ok() && send(gone, 1), "nobody waits for who is gone");
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn stand_ins_have_the_family_of_the_socket() {
        let (table, _taken) = Table::new(true);
        let entry = table.add(None, Role::Server);
        assert!(entry.stand_in.is_ipv6() && is_stand_in(entry.stand_in.ip()));
        for real in ["127.0.0.1", "255.255.255.255", "::1", "224.0.0.1"] {
            assert!(!is_stand_in(real.parse().unwrap()), "{real}");
        }
    }
}
