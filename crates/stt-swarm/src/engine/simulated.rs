//! Links in memory, in place of those over sessions, with delay, loss, partitions and nodes that
//! vanish: so a machine carries many nodes. Tests only.
//!
//! What is above the links is the same: the driver, the engine and its settings. A lost datagram is
//! one that comes later, as a session sends it again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{AsyncRead, AsyncWrite, future::BoxFuture};
use libp2p_core::{
    Multiaddr, Transport,
    muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent},
    transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use libp2p_identity::PeerId;
use stt::NodeId;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep},
};

use super::{links::LinkError, peer, transport::Output};

/// How long a node that answers no more is thought to be there.
pub(crate) const DEAD_AFTER: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const AVOID_FOR: Duration = Duration::from_secs(30);
const MAX_LINKS: usize = 256;
/// Bytes that one direction of a stream carries at once.
const WINDOW: usize = 256 << 10;
/// Bytes of a datagram, and what it has beside them: IP, UDP, and a session's own.
const DATAGRAM: usize = 1_200;
const HEADERS: usize = 60;

/// What links are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// One way.
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// Of a thousand datagrams.
    pub(crate) lost: u32,
}

/// All nodes and links.
pub(crate) struct Network {
    path: Path,
    state: Mutex<State>,
    opened: AtomicU64,
}

#[derive(Default)]
struct State {
    members: HashMap<NodeId, Member>,
    links: HashMap<(NodeId, NodeId), Arc<Link>>,
    avoided: HashMap<(NodeId, NodeId), Instant>,
    /// Nodes of the one half, while the network is in two.
    apart: HashSet<NodeId>,
    /// Nodes that nothing reaches before a time.
    stalled: HashMap<NodeId, Instant>,
}

struct Member {
    address: SocketAddr,
    incoming: mpsc::UnboundedSender<(NodeId, Multiaddr, Muxer)>,
    sent: Arc<AtomicU64>,
    links: usize,
}

/// A link. Nothing passes once it is cut; both sides notice when it is over.
#[derive(Default)]
struct Link {
    cut: AtomicBool,
    over: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Link {
    fn end(&self) {
        self.cut.store(true, Ordering::Release);
        self.over.store(true, Ordering::Release);
        for waker in self.wakers.lock().unwrap().drain(..) {
            waker.wake();
        }
    }
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    if a < b { (a, b) } else { (b, a) }
}

fn silent() -> LinkError {
    LinkError::Silent
}

impl Network {
    pub(crate) fn new(path: Path) -> Arc<Self> {
        Arc::new(Self { path, state: Mutex::default(), opened: AtomicU64::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a node: what its engine uses for a transport.
    pub(crate) fn add(self: &Arc<Self>, node: &stt::Node) -> SimulatedTransport {
        let (me, address) = (node.node_id(), node.local_addr());
        let (incoming, arriving) = mpsc::unbounded_channel();
        let member = Member { address, incoming, sent: Arc::default(), links: 0 };
        self.state().members.insert(me, member);
        let network = Arc::clone(self);
        SimulatedTransport { network, me, arriving, listener: None, listening: VecDeque::new() }
    }

    /// Where a peer of `me` is, if they are linked.
    pub(crate) fn address(&self, me: NodeId, peer: NodeId) -> Option<SocketAddr> {
        let state = self.state();
        state
            .links
            .contains_key(&pair(me, peer))
            .then(|| state.members.get(&peer))?
            .map(|it| it.address)
    }

    /// Bytes that all have sent, and streams that all have opened.
    pub(crate) fn sent(&self) -> (u64, u64) {
        let state = self.state();
        let bytes = state.members.values().map(|it| it.sent.load(Ordering::Relaxed)).sum();
        (bytes, self.opened.load(Ordering::Relaxed))
    }

    /// Links for each node.
    pub(crate) fn degree(&self) -> f64 {
        let state = self.state();
        2.0 * state.links.len() as f64 / state.members.len().max(1) as f64
    }

    /// Links two nodes, as joining does.
    pub(crate) fn link(self: &Arc<Self>, from: NodeId, to: NodeId) {
        if let Ok((address, muxer)) = self.connect(from, to) {
            let incoming = self.state().members.get(&from).map(|it| it.incoming.clone());
            if let Some(incoming) = incoming {
                let _ = incoming.send((to, address, muxer));
            }
        }
    }

    /// These vanish at once, without a word.
    pub(crate) fn kill(self: &Arc<Self>, nodes: &[NodeId]) {
        let mut state = self.state();
        let dead: HashSet<_> = nodes.iter().collect();
        state.members.retain(|node, _| !dead.contains(node));
        let cut = state.links.iter().filter(|((a, b), _)| dead.contains(a) || dead.contains(b));
        cut_later(cut.map(|(_, link)| Arc::clone(link)).collect());
    }

    /// Nothing passes between these and all others, until `heal`.
    pub(crate) fn part(self: &Arc<Self>, nodes: &[NodeId]) {
        let mut state = self.state();
        state.apart = nodes.iter().copied().collect();
        let apart = &state.apart;
        let cut = state.links.iter().filter(|((a, b), _)| apart.contains(a) != apart.contains(b));
        cut_later(cut.map(|(_, link)| Arc::clone(link)).collect());
    }

    pub(crate) fn heal(&self) {
        self.state().apart.clear();
    }

    /// What is sent to a node meanwhile reaches it afterwards.
    pub(crate) fn stall(&self, node: NodeId, during: Duration) {
        self.state().stalled.insert(node, Instant::now() + during);
    }

    /// The dialler's side of a new link; the other one is given to the peer.
    fn connect(self: &Arc<Self>, me: NodeId, to: NodeId) -> Result<(Multiaddr, Muxer), LinkError> {
        let mut state = self.state();
        let apart = state.apart.contains(&me) != state.apart.contains(&to);
        let (Some(mine), Some(theirs)) = (state.members.get(&me), state.members.get(&to)) else {
            return Err(silent());
        };
        if apart {
            return Err(silent());
        }
        if state.links.contains_key(&pair(me, to)) {
            return Err(LinkError::Otherwise);
        }
        if mine.links >= MAX_LINKS {
            return Err(LinkError::Full);
        }
        if theirs.links >= MAX_LINKS {
            return Err(LinkError::PeerFull);
        }
        let link = Arc::new(Link::default());
        let (to_them, from_me) = mpsc::unbounded_channel();
        let (to_me, from_them) = mpsc::unbounded_channel();
        let muxer = |ends, arriving, to_peer, sent: &Arc<_>, theirs: &Arc<_>| Muxer {
            network: Arc::downgrade(self),
            ends,
            link: Arc::clone(&link),
            arriving,
            to_peer,
            sent: Arc::clone(sent),
            theirs: Arc::clone(theirs),
        };
        let my_muxer = muxer((me, to), from_them, to_them, &mine.sent, &theirs.sent);
        let their_muxer = muxer((to, me), from_me, to_me, &theirs.sent, &mine.sent);
        let (my_address, address) =
            (peer::multiaddr(mine.address), peer::multiaddr(theirs.address));
        let refused = theirs.incoming.send((me, my_address, their_muxer));
        state.links.insert(pair(me, to), link);
        for node in [me, to] {
            if let Some(member) = state.members.get_mut(&node) {
                member.links += 1;
            }
        }
        // A link that nobody took ends, for which the state is needed.
        drop(state);
        drop(refused);
        Ok((address, my_muxer))
    }

    async fn dial(
        self: Arc<Self>,
        me: NodeId,
        to: NodeId,
    ) -> Result<(Multiaddr, Muxer), LinkError> {
        let now = Instant::now();
        let avoided = self.state().avoided.get(&(me, to)).is_some_and(|until| now < *until);
        if avoided {
            return Err(silent());
        }
        // The handshake, and the question for a link.
        tokio::time::sleep(self.path.delay * 4).await;
        let connected = self.connect(me, to);
        if matches!(connected, Err(LinkError::Silent)) {
            tokio::time::sleep(CONNECT_WITHIN).await;
            self.state().avoided.insert((me, to), Instant::now() + AVOID_FOR);
        }
        connected
    }

    /// When `len` bytes that are sent now arrive.
    fn due(&self, to: NodeId, len: usize) -> Instant {
        let mut delay = self.path.delay + self.path.jitter.mul_f64(fastrand::f64());
        for _ in 0..len.div_ceil(DATAGRAM) {
            if fastrand::u32(..1_000) < self.path.lost {
                // Sent again after a probe's time.
                delay += self.path.delay * 3;
            }
        }
        let stalled = self.state().stalled.get(&to).copied();
        stalled.map_or(Instant::now(), |until| until.max(Instant::now())) + delay
    }
}

fn cut_later(links: Vec<Arc<Link>>) {
    for link in &links {
        link.cut.store(true, Ordering::Release);
    }
    tokio::spawn(async move {
        tokio::time::sleep(DEAD_AFTER).await;
        for link in links {
            link.end();
        }
    });
}

/// The transport of one node.
pub(crate) struct SimulatedTransport {
    network: Arc<Network>,
    me: NodeId,
    arriving: mpsc::UnboundedReceiver<(NodeId, Multiaddr, Muxer)>,
    listener: Option<ListenerId>,
    listening: VecDeque<Multiaddr>,
}

type Upgrade = BoxFuture<'static, Result<Output, LinkError>>;

impl Transport for SimulatedTransport {
    type Output = Output;
    type Error = LinkError;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<LinkError>> {
        self.listener = Some(id);
        self.listening.push_back(address);
        Ok(())
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        self.listener.take().is_some()
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        _: DialOpts,
    ) -> Result<Upgrade, TransportError<LinkError>> {
        let parsed = peer::parse(&address);
        let Some(peer_id) = parsed.and_then(|(_, peer)| peer) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let Some(node) = peer::node_id(&peer_id) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let dial = Arc::clone(&self.network).dial(self.me, node);
        Ok(Box::pin(async move { Ok((peer_id, StreamMuxerBox::new(dial.await?.1))) }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Upgrade, LinkError>> {
        let Some(listener_id) = self.listener else { return Poll::Pending };
        if let Some(listen_addr) = self.listening.pop_front() {
            return Poll::Ready(TransportEvent::NewAddress { listener_id, listen_addr });
        }
        let Some((node, from, muxer)) = std::task::ready!(self.arriving.poll_recv(cx)) else {
            return Poll::Pending;
        };
        let peer_id: PeerId = peer::peer_id(node).unwrap();
        let linked = (peer_id, StreamMuxerBox::new(muxer));
        Poll::Ready(TransportEvent::Incoming {
            listener_id,
            local_addr: from.clone(),
            send_back_addr: from,
            upgrade: Box::pin(std::future::ready(Ok(linked))),
        })
    }
}

/// One side of a link.
pub(crate) struct Muxer {
    network: Weak<Network>,
    /// This node, and the peer.
    ends: (NodeId, NodeId),
    link: Arc<Link>,
    arriving: mpsc::UnboundedReceiver<Stream>,
    to_peer: mpsc::UnboundedSender<Stream>,
    sent: Arc<AtomicU64>,
    theirs: Arc<AtomicU64>,
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the link is over")
}

impl StreamMuxer for Muxer {
    type Substream = Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match std::task::ready!(self.arriving.poll_recv(cx)) {
            Some(stream) => Poll::Ready(Ok(stream)),
            // The other side is gone; whether it said so, the link tells.
            None => Poll::Pending,
        }
    }

    fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let Some(network) = self.network.upgrade() else { return Poll::Ready(Err(over())) };
        network.opened.fetch_add(1, Ordering::Relaxed);
        let (there, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
        let stream = |to, reads: &Arc<Pipe>, writes: &Arc<Pipe>, sent: &Arc<AtomicU64>| Stream {
            to,
            network: Weak::clone(&self.network),
            link: Arc::clone(&self.link),
            reads: Arc::clone(reads),
            writes: Arc::clone(writes),
            sent: Arc::clone(sent),
            wait: None,
        };
        let _ = self.to_peer.send(stream(self.ends.0, &there, &back, &self.theirs));
        Poll::Ready(Ok(stream(self.ends.1, &back, &there, &self.sent)))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let mut wakers = self.link.wakers.lock().unwrap();
        if self.link.over.load(Ordering::Acquire) {
            return Poll::Ready(Err(over()));
        }
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        if let Some(network) = self.network.upgrade() {
            let (mut state, ends) = (network.state(), pair(self.ends.0, self.ends.1));
            let is_it = state.links.get(&ends).is_some_and(|it| Arc::ptr_eq(it, &self.link));
            if is_it {
                state.links.remove(&ends);
                for node in [self.ends.0, self.ends.1] {
                    if let Some(member) = state.members.get_mut(&node) {
                        member.links -= 1;
                    }
                }
            }
        }
        // Who vanished says nothing.
        if !self.link.cut.load(Ordering::Acquire) {
            self.link.end();
        }
    }
}

/// One direction of a stream.
#[derive(Default)]
struct Pipe(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    ended: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Waiting {
    /// What is sent later does not come before what was sent earlier.
    fn after(&self, due: Instant) -> Instant {
        self.chunks.back().map_or(due, |(before, _)| due.max(*before))
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// A stream. Dropped, the other side reads its end.
pub(crate) struct Stream {
    to: NodeId,
    network: Weak<Network>,
    link: Arc<Link>,
    reads: Arc<Pipe>,
    writes: Arc<Pipe>,
    sent: Arc<AtomicU64>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let due = {
                let mut waiting = self.reads.0.lock().unwrap();
                let now = Instant::now();
                match waiting.chunks.front_mut() {
                    Some((due, chunk)) if *due <= now => {
                        let len = chunk.len().min(buf.len());
                        buf[..len].copy_from_slice(&chunk.split_to(len));
                        if chunk.is_empty() {
                            waiting.chunks.pop_front();
                        }
                        waiting.bytes -= len;
                        if let Some(writer) = waiting.writer.take() {
                            writer.wake();
                        }
                        return Poll::Ready(Ok(len));
                    }
                    Some((due, _)) => *due,
                    None => match waiting.ended {
                        Some(due) if due <= now => return Poll::Ready(Ok(0)),
                        Some(due) => due,
                        None => {
                            waiting.reader = Some(cx.waker().clone());
                            return Poll::Pending;
                        }
                    },
                }
            };
            let mut wait = Box::pin(tokio::time::sleep_until(due));
            if wait.as_mut().poll(cx).is_pending() {
                self.wait = Some(wait);
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(network) = self.network.upgrade() else { return Poll::Ready(Err(over())) };
        let mut waiting = self.writes.0.lock().unwrap();
        if waiting.bytes >= WINDOW {
            waiting.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = buf.len() + buf.len().div_ceil(DATAGRAM) * HEADERS;
        self.sent.fetch_add(u64::try_from(bytes).unwrap(), Ordering::Relaxed);
        if !self.link.cut.load(Ordering::Acquire) {
            let due = waiting.after(network.due(self.to, buf.len()));
            waiting.chunks.push_back((due, Bytes::copy_from_slice(buf)));
            waiting.wake_reader();
        }
        waiting.bytes += buf.len();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    fn end(&self) {
        let Some(network) = self.network.upgrade() else { return };
        let mut waiting = self.writes.0.lock().unwrap();
        if waiting.ended.is_none() && !self.link.cut.load(Ordering::Acquire) {
            let due = waiting.after(network.due(self.to, 1));
            waiting.ended = Some(due);
            waiting.wake_reader();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end();
        // Nobody reads on: the other side's writes go nowhere.
        let mut waiting = self.reads.0.lock().unwrap();
        waiting.chunks.clear();
        waiting.bytes = 0;
        if let Some(writer) = waiting.writer.take() {
            writer.wake();
        }
    }
}
