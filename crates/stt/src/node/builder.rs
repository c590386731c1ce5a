//! Settings of a node, each with its default and range.

use std::{net::SocketAddr, num::NonZeroU64, path::PathBuf, sync::Arc, time::Duration};

use stc::Cause;
use stt_transport::{
    Endpoint, EndpointConfig, Identity, IdentityError, Keyring, RouteError, SharedSeed, WireError,
    internal::{ETHERNET_MTU, number_in_range},
};
use zeroize::Zeroizing;

use super::{Admission, Hub, Node, StartError, chamber::ChamberSlot, handle::Who};
use crate::{
    Address, AddressError, Event, EventEmitter, IntoAddress, RouteKind, limits::Limits,
    session::Pulse,
};

/// Whether peers may connect to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Peers that hold the seed get a session.
    Server,
    /// Only this node connects; peers that try are told that it is not accepting.
    Client,
}

/// What a node shares with its peers.
#[derive(Clone, Debug)]
enum Seeds {
    /// In a keyring of each node's own.
    One(SharedSeed),
    Ring(Arc<Keyring>),
}

/// Settings of a [`Node`]. What is wrong with one of them is told by [`start`](Self::start).
///
/// ```
/// use stt::{Coded, Key, Mode, Node, SharedSeed};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let seed = SharedSeed::from_key(Key::generate()?);
/// let builder = Node::builder(seed).listen("127.0.0.1:0").listen("ws://127.0.0.1:0");
/// let node = builder.clone().start(Mode::Server).await?;
/// assert!(node.websocket_addr().is_some());
///
/// let error = builder.max_streams(0).start(Mode::Server).await.err().ok_or("it started")?;
/// assert_eq!(error.code(), "node.out_of_range");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    seeds: Seeds,
    identity: Option<Arc<Identity>>,
    node_seed: Option<Zeroizing<Vec<u8>>>,
    chamber_path: Option<PathBuf>,
    persistent_identity: bool,
    host: String,
    port: u16,
    websocket: Option<(String, u16)>,
    listen: Result<(), Unheard>,
    heartbeat: Duration,
    idle_timeout: Duration,
    clock_window: Duration,
    strict_seed: bool,
    max_mtu: Option<u16>,
    limits: Limits,
    events: Option<EventEmitter>,
    knock_log: Option<PathBuf>,
    clockless: bool,
    clockless_peers: usize,
    admission: Admission,
    certificates: Vec<Vec<u8>>,
    announced: Vec<SocketAddr>,
}

/// Why it cannot listen where it was told to.
#[derive(Clone, Debug)]
enum Unheard {
    Malformed(AddressError),
    Listen(Address),
}

impl NodeBuilder {
    /// Most sessions at once, unless set otherwise.
    pub const DEFAULT_MAX_SESSIONS: usize = Limits::MAX_SESSIONS;
    /// Most streams of one session at once, unless set otherwise.
    pub const DEFAULT_MAX_STREAMS: usize = Limits::MAX_STREAMS;
    /// Bytes up to which one session's unread streams grow, unless set otherwise: 256 MiB.
    pub const DEFAULT_MAX_SESSION_BUFFER: u64 = Limits::MAX_SESSION_BUFFER;
    /// Unread bytes of all sessions, unless set otherwise: 1 GiB.
    pub const DEFAULT_MAX_NODE_BUFFER: u64 = Limits::MAX_NODE_BUFFER;
    /// Bytes that one session may have under way, unless set otherwise: 64 MiB.
    pub const DEFAULT_MAX_IN_FLIGHT: u64 = Limits::MAX_IN_FLIGHT;
    /// Bytes that all sessions may have under way, unless set otherwise: 1 GiB.
    pub const DEFAULT_MAX_NODE_IN_FLIGHT: u64 = Limits::MAX_NODE_IN_FLIGHT;
    /// Handshakes a second from one address, unless set otherwise.
    pub const DEFAULT_HANDSHAKES_PER_SECOND: u32 = Limits::HANDSHAKES_PER_SECOND;
    /// Unfinished handshakes at once, unless set otherwise.
    pub const DEFAULT_MAX_HALF_OPEN: usize = Limits::MAX_HALF_OPEN;
    /// Longest silence before a sign of life is sent, unless set otherwise.
    pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);
    /// Longest silence before a session is given up, unless set otherwise.
    pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
    /// How far the clocks of two members may be apart, unless set otherwise.
    pub const DEFAULT_CLOCK_WINDOW: Duration = Duration::from_secs(120);

    pub(super) fn new(seed: SharedSeed) -> Self {
        Self::over(Seeds::One(seed))
    }

    pub(super) fn with_keyring(keyring: Arc<Keyring>) -> Self {
        Self::over(Seeds::Ring(keyring))
    }

    fn over(seeds: Seeds) -> Self {
        Self {
            seeds,
            identity: None,
            node_seed: None,
            chamber_path: None,
            persistent_identity: false,
            host: "0.0.0.0".into(),
            port: 0,
            websocket: None,
            listen: Ok(()),
            heartbeat: Self::DEFAULT_HEARTBEAT,
            idle_timeout: Self::DEFAULT_IDLE_TIMEOUT,
            clock_window: Self::DEFAULT_CLOCK_WINDOW,
            strict_seed: false,
            max_mtu: None,
            events: None,
            knock_log: None,
            clockless: false,
            clockless_peers: 0,
            admission: Admission::default(),
            certificates: Vec::new(),
            announced: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// The node's own secret. [`Node::chamber`] is encrypted with it. Its identity follows from it
    /// only together with [`persistent_identity`](Self::persistent_identity); without that the node
    /// is somebody new at every start.
    #[must_use]
    pub fn node_seed(mut self, seed: impl AsRef<[u8]>) -> Self {
        self.node_seed = Some(Zeroizing::new(seed.as_ref().to_vec()));
        self
    }

    /// Directory of the node's encrypted storage, [`Node::chamber`]. Default:
    /// `~/.seigr/chambers/{id}`, where `id` belongs to the node seed.
    #[must_use]
    pub fn chamber_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.chamber_path = Some(path.into());
        self
    }

    /// Whether the node id follows from the node seed, so that it stays the same over restarts.
    /// Default: false, a new id at every start.
    #[must_use]
    pub const fn persistent_identity(mut self, persistent: bool) -> Self {
        self.persistent_identity = persistent;
        self
    }

    /// Who the node is, instead of what follows from [`persistent_identity`](Self::persistent_identity):
    /// for keys that the application keeps itself ([`Identity::from_key`]), or made before
    /// ([`Identity::persistent`], which takes tenths of a second). Default: a new one at every start.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<Arc<Identity>>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Address or name of the interface to listen on. Default: `0.0.0.0`, all of IPv4; `::` is all
    /// of IPv6, and of IPv4 where the system lets one socket have both. A name that has addresses of
    /// both families is listened on at the first of each.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Where to listen: `HOST:PORT` or `udp://HOST:PORT` is [`host`](Self::host) and
    /// [`port`](Self::port) in one, `ws://HOST:PORT` is [`websocket`](Self::websocket); port 0 is
    /// any free one. Paths are not told apart, and TLS is for a proxy in front.
    #[must_use]
    pub fn listen(mut self, at: impl IntoAddress) -> Self {
        match at.into_address() {
            Err(error) => self.listen = Err(Unheard::Malformed(error)),
            Ok(address) if address.is_secure() || address.path() != "/" => {
                self.listen = Err(Unheard::Listen(address));
            }
            Ok(address) if address.kind() == Some(RouteKind::WebSocket) => {
                self.websocket = Some((address.host().to_owned(), address.port()));
            }
            Ok(address) => {
                address.host().clone_into(&mut self.host);
                self.port = address.port();
            }
        }
        self
    }

    /// UDP port. Default: 0, a random free one.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Also listens for WebSockets at `address`; port 0 takes the number of the UDP port. Default:
    /// not at all.
    ///
    /// Whoever shows no knock of a member gets the answer of a web server that has no such page.
    /// Sessions are sealed inside of the messages as they are over UDP.
    #[must_use]
    pub fn websocket(mut self, address: SocketAddr) -> Self {
        self.websocket = Some((address.ip().to_string(), address.port()));
        self
    }

    /// Trusts servers of `wss://` addresses that show this certificate, or one signed with it, beside
    /// those that the operating system trusts. In DER, or in PEM with any number of certificates.
    /// Default: none. Android trusts its own store alone.
    #[must_use]
    pub fn trust_certificate(mut self, certificate: impl AsRef<[u8]>) -> Self {
        self.certificates.push(certificate.as_ref().to_vec());
        self
    }

    /// Longest silence before a sign of life is sent. 100 ms to one hour; default
    /// [`Self::DEFAULT_HEARTBEAT`].
    #[must_use]
    pub const fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Longest silence before a session is given up; the smaller of both sides' counts. 1 s to one
    /// day; default [`Self::DEFAULT_IDLE_TIMEOUT`], three heartbeats.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How far a peer's clock may be from this one's. 1 s to one day; default
    /// [`Self::DEFAULT_CLOCK_WINDOW`]. A larger one needs more memory against replays.
    #[must_use]
    pub const fn clock_window(mut self, window: Duration) -> Self {
        self.clock_window = window;
        self
    }

    /// Whether a seed that can be guessed is refused at the start instead of warned about. Default:
    /// false. Those that are added to the keyring later are not looked at.
    #[must_use]
    pub const fn strict_seed(mut self, strict: bool) -> Self {
        self.strict_seed = strict;
        self
    }

    /// Sets every limit for a device with little memory: about 5 MiB for unread messages and under
    /// 1 MiB for what is under way, whatever peers do, beside some 40 KiB for each of 64 sessions.
    /// Calls after it change single limits.
    ///
    /// 16 streams a session, messages of 1 MiB, 256 KiB in flight for each session, 4 MiB unread in
    /// all, 8 handshakes a second from one address and 16 unfinished ones, socket buffers of 256 KiB,
    /// datagrams of at most 1,452 bytes. Fast over short links; 256 KiB in flight are 2.5 MiB/s at
    /// 100 ms.
    #[must_use]
    pub fn low_memory(mut self) -> Self {
        self.limits = Limits::low_memory();
        self.max_mtu = Some(ETHERNET_MTU);
        self
    }

    /// Handshakes a second that peers at one IPv4 address, or in one IPv6 /64, may begin; twice as
    /// many may come at once. At least 1; default [`Self::DEFAULT_HANDSHAKES_PER_SECOND`], some 5 %
    /// of one processor core.
    ///
    /// A handshake too many is dropped without an answer and without any work, and counted
    /// ([`TransportStats::dropped_too_often`](crate::TransportStats)); the peer's next try, a second
    /// later, may get in. Peers behind one proxy or one address translator share its address.
    #[must_use]
    pub fn handshakes_per_second(mut self, per_address: u32) -> Self {
        self.limits.handshakes_per_second = per_address;
        self
    }

    /// Handshakes that peers began and did not finish, at once. 1 to 65,536; default
    /// [`Self::DEFAULT_MAX_HALF_OPEN`]. One address may have a quarter of them. Each takes some 20 KiB
    /// and 10 s at most.
    ///
    /// When there are so many, one that took longer than a second gives way to a new one; if none
    /// did, the new one is dropped without an answer, and counted
    /// ([`TransportStats::dropped_crowded`](crate::TransportStats)).
    #[must_use]
    pub const fn max_half_open(mut self, max: usize) -> Self {
        self.limits.max_half_open = max;
        self
    }

    /// Bytes that one session may have handed to the transport before the peer acknowledged others.
    /// 16 KiB to 1 GiB; default [`Self::DEFAULT_MAX_IN_FLIGHT`]. A session holds that much at most,
    /// beside the queues of its streams, and sends that much at most in one round trip.
    #[must_use]
    pub const fn max_in_flight(mut self, bytes: u64) -> Self {
        self.limits.max_in_flight = bytes;
        self
    }

    /// As [`max_in_flight`](Self::max_in_flight), of all sessions together. 0 to 2^62; default
    /// [`Self::DEFAULT_MAX_NODE_IN_FLIGHT`]. Each session has up to 256 KiB in any case, which do not
    /// count here; the busy ones have the rest, as their path needs it.
    #[must_use]
    pub const fn max_node_in_flight(mut self, bytes: u64) -> Self {
        self.limits.max_node_in_flight = bytes;
        self
    }

    /// Bytes that may wait unread in all sessions together. 64 KiB to 2^62; default
    /// [`Self::DEFAULT_MAX_NODE_BUFFER`].
    ///
    /// When there are more, the sessions that hold more than an equal share (this divided by
    /// [`max_sessions`](Self::max_sessions), and at least 16 KiB) are not read from until somebody
    /// takes some of it; their peers then stop sending. Others do not notice. Messages that
    /// wait for [`Node::receive`] have a quarter of this for themselves, and the transport itself
    /// holds at most as much again, and 64 KiB of each session.
    #[must_use]
    pub const fn max_node_buffer(mut self, bytes: u64) -> Self {
        self.limits.max_node_buffer = bytes;
        self
    }

    /// Bytes a second that each session may send; `None`, the default, is no limit. At run time:
    /// [`Session::set_bandwidth`](crate::Session::set_bandwidth).
    ///
    /// What counts are the bytes of messages, raw bytes and datagrams; headers, acknowledgements and
    /// repeats add some 5 %. At most 20 ms' worth goes at once, or one piece of 1 KiB.
    #[must_use]
    pub const fn session_bandwidth(mut self, bytes_per_second: Option<NonZeroU64>) -> Self {
        self.limits.session_bandwidth = bytes_per_second;
        self
    }

    /// As [`session_bandwidth`](Self::session_bandwidth), of all sessions together, which take turns.
    /// At run time: [`Node::set_bandwidth`].
    #[must_use]
    pub const fn node_bandwidth(mut self, bytes_per_second: Option<NonZeroU64>) -> Self {
        self.limits.node_bandwidth = bytes_per_second;
        self
    }

    /// An address at which this node can be reached, which those it connects to are told
    /// ([`Session::peer_listens`](crate::Session::peer_listens)); 8 at most, in the order of the
    /// calls. Default: none.
    #[must_use]
    pub fn announce(mut self, at: impl Into<SocketAddr>) -> Self {
        self.announced.push(at.into());
        self
    }

    /// Most sessions at once. At least 1; default [`Self::DEFAULT_MAX_SESSIONS`].
    #[must_use]
    pub const fn max_sessions(mut self, max: usize) -> Self {
        self.limits.max_sessions = max;
        self
    }

    /// Most streams of one session that are in use at once. 1 to 1,024; default
    /// [`Self::DEFAULT_MAX_STREAMS`].
    #[must_use]
    pub const fn max_streams(mut self, max: usize) -> Self {
        self.limits.max_streams = max;
        self
    }

    /// Bytes that may wait unread in all streams of one session before their windows stop growing;
    /// every stream has 1 MiB in any case. 0 to 2^62; default
    /// [`Self::DEFAULT_MAX_SESSION_BUFFER`]. Lower it on machines with little memory: a stream that
    /// is read slowly, over a path that is fast, may fill its window.
    #[must_use]
    pub const fn max_session_buffer(mut self, bytes: u64) -> Self {
        self.limits.max_session_buffer = bytes;
        self
    }

    /// Largest datagram to try, in bytes of UDP payload. 1,200 to 65,507; the default is what the
    /// interface usually carries: 1,452 on a network, 65,507 between processes of one machine.
    ///
    /// What the path really carries is found by probing (RFC 8899), up to this. Lower it where
    /// probes themselves do harm, or to 1,200 so that none are sent; raise it on a network with
    /// jumbo frames, to 8,952 for an Ethernet of 9,000.
    #[must_use]
    pub const fn max_mtu(mut self, bytes: u16) -> Self {
        self.max_mtu = Some(bytes);
        self
    }

    /// Longest message in bytes on streams that set no limit of their own. Default:
    /// [`Stream::DEFAULT_MAX_FRAME_SIZE`](crate::Stream::DEFAULT_MAX_FRAME_SIZE).
    #[must_use]
    pub const fn max_frame_size(mut self, bytes: u64) -> Self {
        self.limits.max_frame_size = bytes;
        self
    }

    /// The emitter of the node's events, so that handlers are there before the first event. Default:
    /// a new one, [`Node::events`].
    #[must_use]
    pub fn events(mut self, events: EventEmitter) -> Self {
        self.events = Some(events);
        self
    }

    /// Where used knocks are remembered over a restart, so that a first flight that somebody recorded
    /// cannot be replayed after it. Default: nowhere; then the node refuses first flights stamped
    /// before its own start, so a peer whose clock is behind has to wait for as long as it is.
    #[must_use]
    pub fn knock_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.knock_log = Some(path.into());
        self
    }

    /// This device has no clock: its knocks carry no time until a peer told it. Default: false. The
    /// peer must let such devices in, see [`admit_clockless`](Self::admit_clockless).
    #[must_use]
    pub const fn clockless(mut self, clockless: bool) -> Self {
        self.clockless = clockless;
        self
    }

    /// How many first flights of devices without a clock are let in, ever. Needs a
    /// [`knock_log`](Self::knock_log), in which each of them takes a place for good. Default: 0.
    #[must_use]
    pub const fn admit_clockless(mut self, knocks: usize) -> Self {
        self.clockless_peers = knocks;
        self
    }

    /// Which nodes may have sessions, of those that hold the seed. Default: all.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// Starts the node. Call it inside a tokio runtime; the node's tasks run there.
    ///
    /// # Errors
    /// [`StartError`]: a setting is out of its range ([`StartError::OutOfRange`],
    /// [`StartError::NumberOutOfRange`]), the seed is refused, the host is unknown, the port is in
    /// use, or the operating system has no socket or no random bytes.
    pub async fn start(self, mode: Mode) -> Result<Node, StartError> {
        self.start_over(mode, Endpoint::bind).await
    }

    /// As [`start`](Self::start), with a transport that `open` makes.
    pub(crate) async fn start_over(
        self,
        mode: Mode,
        open: impl FnOnce(EndpointConfig) -> Result<Endpoint, WireError>,
    ) -> Result<Node, StartError> {
        let keyring = match self.seeds.clone() {
            Seeds::One(seed) => Arc::new(Keyring::from(seed)),
            Seeds::Ring(keyring) => keyring,
        };
        self.check()?;
        let warning = keyring.warning();
        if let (true, Some(warning)) = (self.strict_seed, &warning) {
            return Err(StartError::GuessableSeed(*warning));
        }
        let identity = match (&self.identity, &self.node_seed, self.persistent_identity) {
            (Some(identity), ..) => Arc::clone(identity),
            (None, Some(seed), true) => Arc::new(stretched(seed.clone()).await?),
            (None, None, true) => return Err(StartError::NoNodeSeed),
            (None, _, false) => Arc::new(Identity::ephemeral()?),
        };
        let (bind, beside) = local_addresses(&self.host, self.port).await?;
        let websocket = match &self.websocket {
            Some((host, port)) => Some(local_addresses(host, *port).await?.0),
            None => None,
        };
        let mut config = EndpointConfig::new(Arc::clone(&keyring), Arc::clone(&identity))
            .bind(bind)
            .accepting(mode == Mode::Server)
            .heartbeat(self.heartbeat)
            .idle_timeout(self.idle_timeout)
            .clock_window(self.clock_window)
            .admit_clockless(self.clockless_peers);
        if let Some(bytes) = self.max_mtu {
            config = config.max_mtu(bytes);
        }
        if let Some(path) = self.knock_log {
            config = config.knock_log(path);
        }
        if self.clockless {
            config = config.clockless();
        }
        if let Some(at) = websocket {
            config = config.websocket(at);
        }
        for certificate in self.certificates {
            config = config.trust_certificate(certificate);
        }
        for at in self.announced {
            config = config.announce(at);
        }
        let wire = open(self.limits.apply(config))?;
        if let Some(beside) = beside {
            let port = wire.local_addr().port();
            match wire.rebind(SocketAddr::new(beside.ip(), port)) {
                Ok(_) => {}
                // The machine has no addresses of that family.
                Err(RouteError::Bind(WireError::Bind { .. })) => {}
                Err(RouteError::Bind(error)) => return Err(error.into()),
                Err(error) => {
                    return Err(StartError::HostNotFound {
                        host: beside.to_string(),
                        cause: error.into(),
                    });
                }
            }
        }
        let events = self.events.unwrap_or_default();
        let pulse = Pulse { heartbeat: self.heartbeat, idle_timeout: self.idle_timeout };
        let accepting = mode == Mode::Server;
        let (hub, packets) = Hub::new(self.limits, accepting, events, self.admission, pulse);
        if let Some(warning) = warning {
            let details = warning.to_string();
            hub.events().emit(Event::Warning { code: "seed.guessable", details });
        }
        let chamber = ChamberSlot::new(self.node_seed, self.chamber_path, self.persistent_identity);
        let who = Who { identity, keyring, mode };
        Ok(Node::run(who, wire, hub, packets, warning, chamber))
    }

    /// Whether the settings are inside their ranges that are not the transport's.
    fn check(&self) -> Result<(), StartError> {
        match &self.listen {
            Ok(()) => {}
            Err(Unheard::Malformed(error)) => return Err(error.clone().into()),
            Err(Unheard::Listen(address)) => {
                return Err(StartError::Listen { address: address.clone() });
            }
        }
        let Limits { max_sessions, max_streams, max_in_flight, max_node_in_flight, .. } =
            self.limits;
        number_in_range("max_sessions", max_sessions, 1..=usize::MAX)?;
        number_in_range("max_streams", max_streams, 1..=1_024)?;
        number_in_range("max_in_flight", max_in_flight, 16 << 10..=1 << 30)?;
        number_in_range("max_node_in_flight", max_node_in_flight, 0..=1 << 62)?;
        let Limits { max_node_buffer, max_session_buffer, .. } = self.limits;
        number_in_range("max_node_buffer", max_node_buffer, 64 << 10..=1 << 62)?;
        number_in_range("max_session_buffer", max_session_buffer, 0..=1 << 62)?;
        Ok(())
    }
}

/// The first address of a host, and the first of the other family.
async fn local_addresses(
    host: &str,
    port: u16,
) -> Result<(SocketAddr, Option<SocketAddr>), StartError> {
    let not_found = |cause: Cause| StartError::HostNotFound { host: host.to_owned(), cause };
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found.map_err(|error| not_found(error.into()))?.collect();
    let first = *found.first().ok_or_else(|| not_found(Cause::text("the name has no address")))?;
    let other = found.into_iter().find(|one| one.is_ipv4() != first.is_ipv4());
    Ok((first, other))
}

/// The identity of a node seed. The stretch takes tenths of a second, which others need not wait.
async fn stretched(seed: Zeroizing<Vec<u8>>) -> Result<Identity, IdentityError> {
    let made = tokio::task::spawn_blocking(move || Identity::persistent(&seed)).await;
    made.map_err(|_| IdentityError::Keys)?
}
