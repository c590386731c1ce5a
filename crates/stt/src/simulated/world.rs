//! A network of sockets, each of them a node's.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use quinn_udp::{RecvMeta, Transmit};
use stc::Key;
use stt_transport::{
    Endpoint,
    internal::{self, ByteStream, DatagramSocket, Network},
    testing::Weather,
};
use tokio::time::{Instant, Sleep};

use super::tcp::{Host, Streams};
use crate::{ConnectOptions, Mode, Node, NodeBuilder, Session, SharedSeed};

/// Decides over a datagram of so many bytes before the weather does: whether it gets through.
type Rule = Box<dyn FnMut(usize) -> bool + Send>;

/// Everything between the nodes.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>, Arc<Mutex<Streams>>);

struct State {
    weather: Weather,
    random: fastrand::Rng,
    start: Instant,
    rule: Option<Rule>,
    /// How often the system has no room for a call.
    full: f64,
    narrow: Option<Narrow>,
    sent: u64,
    inboxes: HashMap<SocketAddr, Inbox>,
    /// Those behind a NAT: their address, and the one that others see.
    nat: HashMap<SocketAddr, SocketAddr>,
    /// To whom those wrote: a NAT lets nobody else in.
    written: HashSet<(SocketAddr, SocketAddr)>,
    /// Hosts whose datagrams get lost.
    silenced: HashSet<IpAddr>,
}

/// A rate to each socket, and a queue before it that drops what is too much.
struct Narrow {
    bytes_per_second: f64,
    longest: Duration,
    free: HashMap<SocketAddr, Instant>,
}

impl Narrow {
    /// How long a datagram waits and takes; `None` when the queue is full.
    fn carry(&mut self, to: SocketAddr, len: usize) -> Option<Duration> {
        let now = Instant::now();
        let free = self.free.entry(to).or_insert(now);
        let wait = free.saturating_duration_since(now);
        if wait > self.longest {
            return None;
        }
        let whole = wait + Duration::from_secs_f64(len as f64 / self.bytes_per_second);
        *free = now + whole;
        Some(whole)
    }
}

/// What is under way to one socket, by arrival, and who waits for it.
#[derive(Default)]
struct Inbox {
    under_way: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
}

impl World {
    pub(super) fn new(weather: Weather, seed: u64) -> Self {
        let state = State {
            weather,
            random: fastrand::Rng::with_seed(seed),
            start: Instant::now(),
            rule: None,
            full: 0.0,
            narrow: None,
            sent: 0,
            inboxes: HashMap::new(),
            nat: HashMap::new(),
            written: HashSet::new(),
            silenced: HashSet::new(),
        };
        Self(Arc::new(Mutex::new(state)), Arc::default())
    }

    /// From now on the weather is that, counted from now.
    pub(super) fn turn(&self, weather: Weather) {
        let mut state = self.0.lock().unwrap();
        state.weather = weather;
        state.start = Instant::now();
    }

    /// From now on this decides first.
    pub(super) fn rule(&self, rule: impl FnMut(usize) -> bool + Send + 'static) {
        self.0.lock().unwrap().rule = Some(Box::new(rule));
    }

    /// From now on the node at `inner` is seen at `outer`, and at no other address.
    pub(super) fn nat(&self, inner: SocketAddr, outer: SocketAddr) {
        let mut state = self.0.lock().unwrap();
        state.nat.insert(inner, outer);
        state.written.retain(|(from, _)| *from != inner);
    }

    /// From now on no datagram of these hosts gets through.
    pub(super) fn silence(&self, hosts: impl IntoIterator<Item = IpAddr>) {
        self.0.lock().unwrap().silenced = hosts.into_iter().collect();
    }

    /// How long a way takes at least.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.0.lock().unwrap().weather.delay.0)
    }

    /// What goes over TCP.
    pub(super) fn streams(&self) -> MutexGuard<'_, Streams> {
        self.1.lock().unwrap()
    }

    /// A stream of bytes from `ip` to a listener, for whoever is no node.
    pub(super) async fn stream(
        &self,
        ip: IpAddr,
        host: &str,
        port: u16,
    ) -> io::Result<Box<dyn ByteStream>> {
        let from = Host { world: self.clone(), ip };
        Ok(from.connect(host, port).await?.bytes)
    }

    /// Another socket of a node.
    pub(super) fn socket(&self, address: SocketAddr) -> Arc<dyn DatagramSocket> {
        self.0.lock().unwrap().inboxes.insert(address, Inbox::default());
        Arc::new(Socket { world: self.clone(), address, sleep: Mutex::new(None) })
    }

    /// How often a send finds the system's buffer full, from 0 to 1.
    pub(super) fn full(&self, share: f64) {
        self.0.lock().unwrap().full = share;
    }

    /// From now on all ways are that narrow, with a queue that holds so much.
    pub(super) fn narrow(&self, bytes_per_second: f64, longest: Duration) {
        let narrow = Narrow { bytes_per_second, longest, free: HashMap::new() };
        self.0.lock().unwrap().narrow = Some(narrow);
    }

    /// A node of this world at 10.0.0.`host`.
    pub(super) async fn node(&self, host: u8, mode: Mode) -> Node {
        self.node_with(host, mode, |builder| builder).await
    }

    /// The same, with other settings.
    pub(super) async fn node_with(
        &self,
        host: u8,
        mode: Mode,
        settings: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Node {
        let address = SocketAddr::from(([10, 0, 0, host], 1));
        self.0.lock().unwrap().inboxes.insert(address, Inbox::default());
        let socket = Arc::new(Socket { world: self.clone(), address, sleep: Mutex::new(None) });
        let network = Arc::new(Host { world: self.clone(), ip: address.ip() });
        let builder = Node::builder(SharedSeed::from_key(Key::from_bytes([1; 32])))
            .host(address.ip().to_string())
            .port(address.port());
        settings(builder)
            .start_over(mode, |config| Endpoint::over(config, || Ok(socket), network))
            .await
            .unwrap()
    }

    /// Two nodes with a session, as each of them sees it: server, client, server's, client's.
    pub(super) async fn session(&self) -> (Node, Node, Session, Session) {
        let server = self.node(1, Mode::Server).await;
        self.session_with(server).await
    }

    /// A server at 10.0.0.`host` that listens for WebSockets too.
    pub(super) async fn server_of_two_kinds(&self, host: u8) -> Node {
        let at = SocketAddr::from(([10, 0, 0, host], 0));
        self.node_with(host, Mode::Server, |builder| builder.websocket(at)).await
    }

    /// As [`Self::session`] with such a server.
    pub(super) async fn session_of_two_kinds(&self) -> (Node, Node, Session, Session) {
        let server = self.server_of_two_kinds(1).await;
        self.session_with(server).await
    }

    async fn session_with(&self, server: Node) -> (Node, Node, Session, Session) {
        let client = self.node(2, Mode::Client).await;
        let patience = Duration::from_secs(100);
        let ours = client
            .connect_with("udp://10.0.0.1:1", &ConnectOptions::new().timeout(patience))
            .await
            .unwrap_or_else(|error| {
                let [ours, theirs] = [&client, &server].map(|node| node.stats().udp_transport);
                panic!("{error}: {:?}, {ours:?}, {theirs:?}", self.0.lock().unwrap().weather)
            });
        let theirs = server.accept().await.unwrap();
        (server, client, theirs, ours)
    }
}

struct Socket {
    world: World,
    address: SocketAddr,
    sleep: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({})", self.address)
    }
}

/// There is always room, as far as the system says beforehand.
#[derive(Debug)]
struct Room;

impl internal::Room for Room {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl DatagramSocket for Socket {
    fn room(self: Arc<Self>) -> Box<dyn internal::Room> {
        Box::new(Room)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let now = Instant::now();
        let mut state = self.world.0.lock().unwrap();
        let State {
            weather,
            random,
            start,
            rule,
            full,
            narrow,
            sent,
            inboxes,
            nat,
            written,
            silenced,
        } = &mut *state;
        if random.f64() < *full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let from = nat.get(&self.address).copied().unwrap_or(self.address);
        let behind = nat.iter().find(|(_, outer)| **outer == transmit.destination);
        let to = behind.map_or(transmit.destination, |(inner, _)| *inner);
        if nat.contains_key(&self.address) {
            written.insert((self.address, to));
        }
        // Who is behind a NAT is reached at its address outside, by those that it wrote to.
        if nat.contains_key(&to) && (behind.is_none() || !written.contains(&(to, self.address))) {
            return Ok(());
        }
        if silenced.contains(&self.address.ip()) {
            return Ok(());
        }
        let Some(inbox) = inboxes.get_mut(&to) else { return Ok(()) };
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        for datagram in transmit.contents.chunks(size) {
            if rule.as_mut().is_some_and(|rule| !rule(datagram.len())) {
                continue;
            }
            let queued = narrow.as_mut().map(|narrow| narrow.carry(to, datagram.len()));
            let Some(queued) = queued.unwrap_or(Some(Duration::ZERO)) else { continue };
            for (delay, datagram) in weather.carry(random, now - *start, datagram) {
                *sent += 1;
                inbox.under_way.insert((now + queued + delay, *sent), (from, datagram));
            }
        }
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let now = Instant::now();
            let next = {
                let mut state = self.world.0.lock().unwrap();
                let inbox = state.inboxes.get_mut(&self.address).unwrap();
                let mut filled = 0;
                for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()) {
                    let Some(entry) = inbox.under_way.first_entry() else { break };
                    if entry.key().0 > now {
                        break;
                    }
                    let (from, datagram) = entry.remove();
                    buffer[..datagram.len()].copy_from_slice(&datagram);
                    *meta = RecvMeta::default();
                    (meta.addr, meta.len, meta.stride) = (from, datagram.len(), datagram.len());
                    filled += 1;
                }
                if filled > 0 {
                    return Poll::Ready(Ok(filled));
                }
                inbox.waker = Some(cx.waker().clone());
                inbox.under_way.first_key_value().map(|((at, _), _)| *at)
            };
            let Some(next) = next else { return Poll::Pending };
            let mut sleep = self.sleep.lock().unwrap();
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            sleep.as_mut().reset(next);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        10
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
