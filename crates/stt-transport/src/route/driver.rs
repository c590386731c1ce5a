//! The task that keeps the routes of all sessions of a node: it owns the clock and the movers.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use quinn_udp::Transmit;
use stc::Cause;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Table, Web,
    link::Link,
    liveness::Traffic,
    migration::{Failure, Goal, Output, PathManager},
    multi_socket::RouteSocket,
    path::{Path, RouteKind, Via},
    path_message,
    websocket::{DialError, Dialler},
};
use crate::{id::NodeId, keyring::SeedKeys, wire::CloseLatch, wire::Meter};

/// Route datagrams that wait for the driver. More are lost, and said again.
const MAX_WAITING: usize = 1024;
/// Route datagrams that a full socket did not take.
const MAX_UNSENT: usize = 64;
/// When they are tried again.
const UNSENT_WAIT: Duration = Duration::from_millis(1);
/// How often sockets that nobody uses any more are looked for, while there are retired ones.
const PRUNE: Duration = Duration::from_secs(1);
/// Paths of a session whose own addresses are remembered.
const MAX_SOURCES: usize = 4;

/// What the driver is told.
pub(crate) enum Input {
    SessionStarted(Box<SessionStarted>),
    Datagram {
        link: u64,
        path: Path,
        to: Option<IpAddr>,
        bytes: Vec<u8>,
    },
    /// Datagrams of a session whose mover sleeps come or go.
    Stirred(u64),
    /// The connection of this link is over, or was never made; it was on this path.
    Ended(u64, Path),
    Move {
        link: u64,
        wish: MoveRequest,
        reply: oneshot::Sender<Result<Path, Failure>>,
    },
    Dialled {
        link: u64,
        number: u64,
        result: Result<SocketAddr, Cause>,
    },
    /// A WebSocket ended.
    Lost(SocketAddr),
    /// There is a new UDP socket: sessions leave those that were retired.
    Rebound,
}

/// Where a session is wanted to go.
#[derive(Clone, Debug)]
pub(crate) enum MoveRequest {
    Path(Path),
    /// To a WebSocket that is opened for it.
    Open(Web),
    /// To the peer's end of this kind; the peer moves, if only it can.
    Kind(RouteKind),
}

impl MoveRequest {
    pub(crate) const fn kind(&self) -> RouteKind {
        match self {
            Self::Path(path) => path.kind(),
            Self::Open(_) => RouteKind::WebSocket,
            Self::Kind(kind) => *kind,
        }
    }
}

/// A session that is ready.
pub(crate) struct SessionStarted {
    pub(crate) link: Arc<Link>,
    pub(crate) mover: PathManager,
    pub(crate) meter: Arc<Meter>,
    pub(crate) seed: Arc<SeedKeys>,
    pub(crate) latch: CloseLatch,
    pub(crate) state: watch::Sender<RouteState>,
    /// The peer, and where it listens for WebSockets.
    pub(crate) peer: NodeId,
    pub(crate) web: Option<Web>,
}

/// What a session sees of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteState {
    pub(crate) path: Path,
    /// Changes of the path, and confirmations of them.
    pub(crate) news: u64,
}

/// The way to the driver.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    sender: mpsc::UnboundedSender<Input>,
    waiting: Arc<AtomicUsize>,
}

impl Inputs {
    /// A way to a driver, and the driver's end of it.
    pub(crate) fn new() -> (Self, Receiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        (Self { sender, waiting: Arc::clone(&waiting) }, Receiver { receiver, waiting })
    }

    /// The same, without keeping the driver alive.
    pub(crate) fn weak(&self) -> WeakInputs {
        WeakInputs { sender: self.sender.downgrade(), waiting: Arc::clone(&self.waiting) }
    }

    /// Tells the driver. There is one such message for each change of a session, so they need no
    /// other bound.
    pub(crate) fn send(&self, input: Input) {
        // Without a driver the node is gone.
        let _ = self.sender.send(input);
    }

    /// Hands over a route datagram, unless too many wait.
    pub(crate) fn datagram(&self, link: u64, path: Path, to: Option<IpAddr>, bytes: &[u8]) {
        if self.waiting.fetch_add(1, Relaxed) < MAX_WAITING {
            self.send(Input::Datagram { link, path, to, bytes: bytes.to_vec() });
        } else {
            self.waiting.fetch_sub(1, Relaxed);
        }
    }
}

/// Inputs that keep no driver alive.
#[derive(Clone, Debug)]
pub(crate) struct WeakInputs {
    sender: mpsc::WeakUnboundedSender<Input>,
    waiting: Arc<AtomicUsize>,
}

impl WeakInputs {
    pub(crate) fn upgrade(&self) -> Option<Inputs> {
        Some(Inputs { sender: self.sender.upgrade()?, waiting: Arc::clone(&self.waiting) })
    }
}

/// The driver's end of [`Inputs`].
#[derive(Debug)]
pub(crate) struct Receiver {
    receiver: mpsc::UnboundedReceiver<Input>,
    waiting: Arc<AtomicUsize>,
}

/// Makes a knock under a seed for a peer; `None` without randomness.
type KnockMaker = Box<dyn Fn(&SeedKeys, NodeId) -> Option<Vec<u8>> + Send>;

/// What a driver needs beside its inputs.
pub(crate) struct DriverDeps {
    pub(crate) socket: Arc<RouteSocket>,
    pub(crate) table: Arc<Table>,
    /// A knock for a WebSocket to this peer.
    pub(crate) knock: KnockMaker,
    pub(crate) dialler: Arc<Dialler>,
}

struct Entry {
    /// Boxed: the table has room for more than there are.
    began: Box<SessionStarted>,
    deadline: Option<Instant>,
    reply: Option<oneshot::Sender<Result<Path, Failure>>>,
    /// Own addresses on which paths were written to, newest last.
    sources: VecDeque<(Path, Option<IpAddr>)>,
}

struct Driver {
    means: DriverDeps,
    weak: WeakInputs,
    entries: HashMap<u64, Entry>,
    due: BTreeSet<(Instant, u64)>,
    unsent: VecDeque<(Path, Option<IpAddr>, Vec<u8>)>,
    unsent_at: Option<Instant>,
    prune: Option<Instant>,
}

/// The runtime's own time, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Runs until the node is gone.
pub(crate) async fn run(inputs: Inputs, mut receiver: Receiver, means: DriverDeps) {
    let mut driver = Driver {
        means,
        weak: inputs.weak(),
        entries: HashMap::new(),
        due: BTreeSet::new(),
        unsent: VecDeque::new(),
        unsent_at: None,
        prune: None,
    };
    drop(inputs);
    loop {
        let next = driver.next();
        let sleep = async move {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let input = tokio::select! {
            input = receiver.receiver.recv() => match input {
                Some(input) => Some(input),
                None => {
                    driver.means.table.close();
                    return;
                }
            },
            () = sleep => None,
        };
        let now = now();
        match input {
            Some(input) => {
                if matches!(input, Input::Datagram { .. }) {
                    receiver.waiting.fetch_sub(1, Relaxed);
                }
                driver.take(now, input);
            }
            None => driver.timers(now),
        }
    }
}

impl Driver {
    fn next(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        [due, self.unsent_at, self.prune].into_iter().flatten().min()
    }

    fn timers(&mut self, now: Instant) {
        if self.unsent_at.is_some_and(|at| at <= now) {
            self.unsent_at = None;
            for (path, source, bytes) in std::mem::take(&mut self.unsent) {
                self.send(path, source, bytes);
            }
        }
        while let Some((at, number)) = self.due.first().copied()
            && at <= now
        {
            self.with(now, number, |entry, now| {
                let traffic = entry.traffic();
                entry.began.mover.look(now, traffic);
            });
            // Whatever the mover says, its deadline is not this one any more.
            self.due.remove(&(at, number));
        }
        if self.prune.is_some_and(|at| at <= now) {
            self.means.socket.prune();
            self.prune = self.means.socket.has_retired().then(|| now + PRUNE);
        }
    }

    fn take(&mut self, now: Instant, input: Input) {
        match input {
            Input::SessionStarted(began) => {
                let number = began.link.number;
                for path in began.mover.websockets() {
                    self.means.table.own(path.remote);
                }
                let entry = Entry { began, deadline: None, reply: None, sources: VecDeque::new() };
                self.entries.insert(number, entry);
                self.with(now, number, |entry, now| entry.began.mover.stirred(now));
            }
            Input::Datagram { link, path, to, bytes } => self.with(now, link, |entry, now| {
                if entry.began.mover.receive(now, path, &bytes) {
                    entry.written_to(path, to);
                }
            }),
            Input::Stirred(link) => self.with(now, link, |entry, now| {
                entry.began.mover.stirred(now);
            }),
            Input::Ended(link, path) => {
                let is_websocket = path.kind() == RouteKind::WebSocket;
                if let Some(entry) = self.entries.remove(&link) {
                    if let Some(at) = entry.deadline {
                        self.due.remove(&(at, link));
                    }
                    for path in entry.began.mover.websockets() {
                        self.means.table.remove(path.remote);
                    }
                    if is_websocket {
                        self.means.table.remove(path.remote);
                    }
                } else if is_websocket {
                    // There was no session yet.
                    self.means.table.remove_unused(path.remote);
                }
            }
            Input::Move { link, wish, reply } => {
                let port = match &wish {
                    MoveRequest::Path(path) => self.port(*path),
                    MoveRequest::Open(_) | MoveRequest::Kind(_) => None,
                };
                self.with(now, link, |entry, now| {
                    if let Some(earlier) = entry.reply.replace(reply) {
                        let _ = earlier.send(Err(Failure::Superseded));
                    }
                    let mover = &mut entry.began.mover;
                    match wish {
                        MoveRequest::Path(path) => mover.move_to(now, Goal::Path(path, port)),
                        MoveRequest::Kind(kind) => mover.move_to(now, Goal::Invite(kind)),
                        MoveRequest::Open(web) => {
                            entry.began.web = Some(web);
                            mover.open(now);
                        }
                    }
                });
            }
            Input::Dialled { link, number, result } => {
                let path = result.map(|remote| Path { via: Via::WebSocket, remote });
                if let (false, Ok(path)) = (self.entries.contains_key(&link), &path) {
                    self.means.table.remove(path.remote);
                }
                self.with(now, link, |entry, now| entry.began.mover.dialled(now, number, path));
            }
            Input::Lost(stand_in) => {
                let path = Path { via: Via::WebSocket, remote: stand_in };
                let uses = |entry: &Entry| entry.began.mover.uses(path);
                let user = self.entries.iter().find(|(_, entry)| uses(entry));
                if let Some(number) = user.map(|(number, _)| *number) {
                    self.with(now, number, |entry, now| entry.began.mover.lost(now, path));
                }
            }
            Input::Rebound => self.rebound(now),
        }
    }

    /// This node's UDP port on a path, as far as it knows.
    fn port(&self, path: Path) -> Option<u16> {
        match path.via {
            Via::Udp(number) => Some(self.means.socket.local(number)?.address.port()),
            Via::WebSocket => None,
        }
    }

    fn rebound(&mut self, now: Instant) {
        self.prune = Some(now + PRUNE);
        let numbers: Vec<u64> = self.entries.keys().copied().collect();
        let socket = Arc::clone(&self.means.socket);
        for number in numbers {
            self.with(now, number, |entry, now| {
                let renew = |path: Path| {
                    let Via::Udp(local) = path.via else { return None };
                    let is_retired = socket.local(local).is_none_or(|local| local.is_retired());
                    let (local, remote) = socket.towards(path.remote).filter(|_| is_retired)?;
                    Some(Path { via: Via::Udp(local.number), remote })
                };
                entry.began.mover.rebound(renew);
                if let Some(path) = renew(entry.began.mover.path()) {
                    let Via::Udp(number) = path.via else { return };
                    let port = socket.local(number).map(|local| local.address.port());
                    if let Some(earlier) = entry.reply.take() {
                        // Who asked may have stopped waiting.
                        let _ = earlier.send(Err(Failure::Superseded));
                    }
                    entry.began.mover.move_to(now, Goal::Path(path, port));
                }
            });
        }
    }

    /// Lets `act` change an entry, and does what its mover asks for.
    fn with(&mut self, now: Instant, number: u64, act: impl FnOnce(&mut Entry, Instant)) {
        let Some(mut entry) = self.entries.remove(&number) else { return };
        act(&mut entry, now);
        while let Some(output) = entry.began.mover.poll() {
            self.perform(now, &mut entry, output);
        }
        if entry.began.mover.is_asleep() {
            entry.began.link.sleep();
            // Whatever came between the look and the sleep told nobody.
            if entry.began.mover.has_missed(entry.traffic()) {
                entry.began.link.wake();
                entry.began.mover.stirred(now);
            }
        } else {
            entry.began.link.wake();
        }
        let deadline = entry.began.mover.deadline();
        if deadline != entry.deadline {
            if let Some(at) = entry.deadline {
                self.due.remove(&(at, number));
            }
            entry.deadline = deadline;
        }
        if let Some(at) = deadline {
            self.due.insert((at, number));
        }
        self.entries.insert(number, entry);
    }

    fn perform(&mut self, now: Instant, entry: &mut Entry, output: Output) {
        match output {
            Output::Send(path, mut bytes) => {
                if path_message::mask(&entry.began.seed.masks, &mut bytes) {
                    self.send(path, entry.source(path), bytes);
                }
            }
            Output::Switch(path) => {
                let Some(mut way) = self.means.socket.way(path, true) else { return };
                if path.kind() == RouteKind::WebSocket {
                    self.means.table.own(path.remote);
                }
                way.source = entry.source(path);
                let before = entry.began.link.way().path;
                entry.began.link.set_way(way);
                if before.is_alike(&path) {
                    entry.began.latch.detoured();
                } else {
                    entry.began.latch.moved(path.kind());
                }
                entry.tell(path);
            }
            Output::Settled(path) => entry.tell(path),
            // A session that ends takes its WebSocket with it, and needs no other.
            Output::Dial(number) if entry.began.latch.is_closed() => {
                let over = Err(Cause::text("the session is over"));
                entry.began.mover.dialled(now, number, over);
            }
            Output::Dial(number) => self.dial(entry, number),
            Output::Invited(remote) => {
                if let Some((local, remote)) = self.means.socket.towards(remote) {
                    let path = Path { via: Via::Udp(local.number), remote };
                    entry.began.mover.follow(now, path);
                }
            }
            Output::Close(path) => self.means.table.remove(path.remote),
            Output::Done(result) => {
                if let Some(reply) = entry.reply.take() {
                    // Who asked may have stopped waiting.
                    let _ = reply.send(result);
                }
            }
        }
    }

    fn dial(&self, entry: &Entry, number: u64) {
        let (link, weak) = (entry.began.link.number, self.weak.clone());
        let knock = (self.means.knock)(&entry.began.seed, entry.began.peer);
        let (web, dialler) = (entry.began.web.clone(), Arc::clone(&self.means.dialler));
        tokio::spawn(async move {
            let result = match (web, knock) {
                (Some(web), Some(knock)) => {
                    dialler.dial(&web, &knock).await.map_err(DialError::into_cause)
                }
                _ => Err(Cause::text("the peer told of no WebSocket")),
            };
            if let Some(inputs) = weak.upgrade() {
                inputs.send(Input::Dialled { link, number, result });
            }
        });
    }

    fn send(&mut self, path: Path, source: Option<IpAddr>, bytes: Vec<u8>) {
        let Some(way) = self.means.socket.way(path, true) else { return };
        let way = super::link::NextHop { source, ..way };
        let transmit = Transmit {
            destination: path.remote,
            ecn: None,
            contents: &bytes,
            segment_size: None,
            src_ip: None,
        };
        match self.means.socket.send(&way, &transmit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.unsent.len() < MAX_UNSENT {
                    self.unsent_at.get_or_insert_with(|| now() + UNSENT_WAIT);
                    self.unsent.push_back((path, source, bytes));
                }
            }
            // Lost, as on any network: it is said again.
            Ok(()) | Err(_) => {}
        }
    }
}

impl Entry {
    fn traffic(&self) -> Traffic {
        let meter = &self.began.meter;
        Traffic { sealed: meter.sealed.total(), opened: meter.opened.total() }
    }

    fn tell(&self, path: Path) {
        self.began.state.send_modify(|state| {
            state.path = path;
            state.news += 1;
        });
    }

    fn written_to(&mut self, path: Path, to: Option<IpAddr>) {
        self.sources.retain(|(known, _)| *known != path);
        if self.sources.len() >= MAX_SOURCES {
            self.sources.pop_front();
        }
        self.sources.push_back((path, to));
    }

    /// The own address that the peer wrote to on `path`.
    fn source(&self, path: Path) -> Option<IpAddr> {
        self.sources.iter().find(|(known, _)| *known == path).and_then(|(_, source)| *source)
    }
}
