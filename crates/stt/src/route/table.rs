//! Which stand-in address is which peer.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::{
    carry::Role,
    driver::{Input, Inputs, WeakInputs},
    frame,
};

/// Pieces that wait for one peer's WebSocket, and their bytes. What is more is lost, as in any
/// full queue: a slow peer grows neither memory nor another's delay.
const MAX_WAITING: usize = 1024;
const MAX_WAITING_BYTES: usize = 1 << 20;

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
    peers: RwLock<HashMap<SocketAddr, Outgoing>>,
    received: mpsc::Sender<(SocketAddr, Bytes)>,
    /// Who is told when one of them is gone.
    lost: OnceLock<WeakInputs>,
}

/// The way to one peer.
struct Outgoing {
    queue: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
    /// This node's side of the WebSocket.
    role: Role,
    /// Both ends of the TCP connection: this node's and the other one.
    ends: Option<(SocketAddr, SocketAddr)>,
}

/// What the task of one WebSocket holds: dropping it removes the peer.
pub(crate) struct Entry {
    table: Arc<Table>,
    pub(crate) stand_in: SocketAddr,
    pub(crate) queue: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
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
        self.peers.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// From now on `inputs` hears of WebSockets that end.
    pub(crate) fn tell(&self, inputs: &Inputs) {
        // Set once, when the node starts.
        let _ = self.lost.set(inputs.weak());
    }

    /// Both ends of the TCP connection behind `stand_in`: this node's and the other one.
    pub(crate) fn ends(&self, stand_in: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.get(&stand_in).and_then(|peer| peer.ends)
    }

    /// Ends the WebSocket behind `stand_in`, once what waits has been written.
    pub(crate) fn remove(&self, stand_in: SocketAddr) {
        self.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&stand_in);
    }

    /// A stand-in for a new peer, whose connection has these `ends`.
    pub(super) fn add(
        self: &Arc<Self>,
        ends: Option<(SocketAddr, SocketAddr)>,
        role: Role,
    ) -> Entry {
        let (sender, queue) = mpsc::channel(MAX_WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let stand_in = loop {
            // 240.0.0.0 to 247.255.255.255: far from the broadcast address.
            let number = self.next.fetch_add(1, Relaxed) & 0x07ff_ffff;
            let v4 = Ipv4Addr::from_bits(0xf000_0000 | number);
            let ip = if self.ipv6 { v4.to_ipv6_mapped().into() } else { IpAddr::V4(v4) };
            let address = SocketAddr::new(ip, 443);
            if !peers.contains_key(&address) {
                break address;
            }
        };
        let outgoing = Outgoing { queue: sender, waiting: Arc::clone(&waiting), role, ends };
        peers.insert(stand_in, outgoing);
        Entry { table: Arc::clone(self), stand_in, queue, waiting }
    }

    /// Queues datagrams of `size` bytes, of which the last may be shorter, for the peer behind
    /// `stand_in`; false if they were lost.
    pub(crate) fn send(&self, stand_in: SocketAddr, datagrams: &[u8], size: usize) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let Some(peer) = peers.get(&stand_in) else { return false };
        let datagrams = datagrams.chunks(size.max(1));
        let room = frame::room(datagrams.len(), datagrams.clone().map(<[u8]>::len).sum());
        if peer.waiting.load(Relaxed).saturating_add(room) > MAX_WAITING_BYTES {
            return false;
        }
        let mut frames = BytesMut::with_capacity(room);
        datagrams.for_each(|one| frame::put_datagram(one, peer.role.mask_key(), &mut frames));
        let bytes = frames.len();
        let sent = peer.queue.try_send(frames.freeze()).is_ok();
        if sent {
            peer.waiting.fetch_add(bytes, Relaxed);
        }
        sent
    }
}

impl Entry {
    /// So many bytes of the queue were written.
    pub(crate) fn sent(&self, bytes: usize) {
        // Counted after it was queued, so it may leave before it is counted: never below zero.
        let _ = self.waiting.fetch_update(Relaxed, Relaxed, |all| Some(all.saturating_sub(bytes)));
    }

    /// Hands a datagram to the engine, waiting for room; false once there is no engine.
    pub(crate) async fn received(&self, datagram: Bytes) -> bool {
        self.table.received.send((self.stand_in, datagram)).await.is_ok()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut peers = self.table.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.remove(&self.stand_in);
        drop(peers);
        if let Some(inputs) = self.table.lost.get().and_then(WeakInputs::upgrade) {
            inputs.send(Input::Lost(self.stand_in));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_bounds_its_own_queue_only() {
        let (table, _taken) = Table::new(false);
        let mut slow = table.add(None, Role::Server);
        let mut other = table.add(None, Role::Server);
        assert!(is_stand_in(slow.stand_in.ip()));
        assert_ne!(slow.stand_in, other.stand_in);
        let datagram = [0; 16_000];
        let accepted = (0..1000).filter(|_| table.send(slow.stand_in, &datagram, 16_000)).count();
        assert_eq!(accepted, MAX_WAITING_BYTES / datagram.len());
        assert!(table.send(other.stand_in, &datagram, 16_000), "the other is not full");
        assert_eq!(other.queue.recv().await.map(|datagram| datagram.len()), Some(16_004));

        let taken = slow.queue.recv().await.unwrap();
        slow.sent(taken.len());
        assert!(table.send(slow.stand_in, &datagram, 16_000), "room again");
        let gone = slow.stand_in;
        drop(slow);
        assert!(!table.send(gone, &datagram, 16_000));
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
