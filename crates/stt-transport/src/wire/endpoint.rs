//! One socket, and the sessions that go through it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use quinn_proto::{
    ClientConfig, ConnectError, ConnectionId, NoneTokenStore, ServerConfig, ValidationTokenConfig,
    VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use stc::{Key, aead::Suite, random};
use tokio::sync::oneshot;

use super::{
    advertised_ports::AdvertisedPorts,
    config::EndpointConfig,
    connect_attempts::{self, Bounds, Verdict},
    crypto_adapter::{self, Acceptor, Attempt, ConnectionIds, NoTokens, ResetKey},
    engine,
    error::WireError,
    established::{ConnectParts, Credit, Established, Incoming, confirm},
    gate::{Gate, GateConfig},
    handshake::HandshakeError,
    knock::KnockKey,
    meter::Meter,
    obfuscation::{IdMark, Opaque},
    path_aware::CloseLatch,
    replay_table::Seen,
    socket::SilentSocket,
    stats::{Counters, TransportStats, count},
    transport_config::{self, MAX_PAYLOAD, Timing},
    window_growth::Growth,
};
use crate::{
    id::NodeId,
    keyring::{Keyring, SeedKeys},
    limits::HandshakeLimiter,
    packet_header::{KNOCK_LEN, QUIC_VERSION},
    race::Race,
    route::{
        self, DatagramSocket, DialError, Dialler, Directory, DriverDeps, HostPort, Input, Inputs,
        Listener, MAX_LOCALS, Network, RouteError, RouteSocket, Routes, SystemSocket, Table, Tcp,
        Tls, Web, WebSocketLimits, is_stand_in,
    },
};

/// Peers that knocked and were not accepted yet. More are dropped and knock again.
const MAX_INCOMING: usize = 1024;
/// Bytes of one such peer's further datagrams, and of all of them.
const INCOMING_BYTES: (u64, u64) = (16 << 10, 4 << 20);
/// Silence after which an attempt is joined by another one. A member on the other side of the earth
/// answers within half a second, and each further loss of a first packet costs a second, then two.
const FRESH_AFTER: Duration = Duration::from_secs(3);
/// Attempts with one seed to one address at once; over UDP in all, too.
const MAX_ATTEMPTS: usize = 8;
/// Ports that are tried where any port will do.
const PORT_TRIES: usize = 16;
/// What cannot be: no seed in the keyring, bounds that the engine refuses.
const INTERNAL: WireError = WireError::Handshake(HandshakeError::Internal);
/// How long a shutdown waits for peers to hear of it.
const DRAIN: Duration = Duration::from_secs(1);

/// A socket and its sessions. Clones share them.
#[derive(Clone)]
pub struct Endpoint {
    endpoint: Arc<engine::Endpoint>,
    shared: Arc<crypto_adapter::HandshakeContext>,
    keyring: Arc<Keyring>,
    server: Arc<Acceptor>,
    accepting: Arc<AtomicBool>,
    timing: Timing,
    seed_stagger: Duration,
    address: SocketAddr,
    routes: Routes,
    websocket: Option<Arc<Listener>>,
    door: Arc<HandshakeLimiter>,
    growth: Growth,
    dialler: Arc<Dialler>,
    socket_buffer: usize,
}

impl Endpoint {
    /// Opens the socket. Must be called inside of a tokio runtime.
    ///
    /// # Errors
    /// [`WireError`]: a setting is out of its range, the port is in use or the address is not of
    /// this machine, a certificate or the knock log cannot be used, or the system gives no socket
    /// or no random bytes.
    pub fn bind(config: EndpointConfig) -> Result<Self, WireError> {
        let (at, buffer, websocket) = (config.bind, config.socket_buffer, config.websocket);
        let udp = || SystemSocket::over(open_udp(at, websocket, buffer)?);
        Self::over(config, udp, Arc::new(Tcp))
    }

    /// As [`Self::bind`], with a socket and a network of the caller's: of a simulation. The settings
    /// are looked at first, since they may be refused.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn over(
        config: EndpointConfig,
        socket: impl FnOnce() -> std::io::Result<Arc<dyn DatagramSocket>>,
        network: Arc<dyn Network>,
    ) -> Result<Self, WireError> {
        config.check()?;
        let (roots, limits) = (config.roots()?, config.door());
        let failed = |error| WireError::bind(config.bind, error);
        let counters = Arc::new(Counters::default());
        let clock = Arc::new(config.clock);
        let gate = GateConfig {
            clock: Arc::clone(&clock),
            window: config.clock_window,
            log: config.knock_log,
            timeless: config.timeless_knocks,
        };
        let node_id = config.identity.node_id();
        let gate = Gate::new(node_id, Arc::clone(&config.keyring), gate, Arc::clone(&counters))?;
        let shared = Arc::new(crypto_adapter::HandshakeContext {
            identity: config.identity,
            gate,
            suites: suites(),
            #[cfg(test)]
            offer: config.offer,
            listens: config.listens,
            clock,
            counters: Arc::clone(&counters),
        });

        let udp = socket().map_err(failed)?;
        let local = udp.local_addr().map_err(failed)?;
        let (table, received) = Table::new(local.is_ipv6());
        let sockets = RouteSocket::new(udp, Arc::clone(&table), received).map_err(failed)?;
        let (inputs, receiver) = Inputs::new();
        table.tell(&inputs);
        let routes = Routes {
            sockets: Arc::new(sockets),
            directory: Directory::new(inputs.clone()),
            table,
            engine_ipv6: local.is_ipv6(),
        };
        let ids = IdMark::new(random::bytes()?);
        let opaque = Opaque::new(Arc::clone(&config.keyring), ids);
        let (sockets, directory) = (Arc::clone(&routes.sockets), Arc::clone(&routes.directory));
        let socket =
            Arc::new(SilentSocket::over(sockets, directory, opaque, Arc::clone(&counters)));
        let endpoint = endpoint_config(ids)?;

        let timing = Timing {
            heartbeat: config.heartbeat,
            idle_timeout: config.idle_timeout,
            max_mtu: config.max_mtu,
            datagram_buffer: config.datagram_buffer,
            send_window: config.send_window,
            first_window: config.first_window,
        };
        let growth = Growth::new(config.first_window, config.receive_pool);
        let door = Arc::new(HandshakeLimiter::new(limits));
        let server = Arc::new(Acceptor(Arc::clone(&shared)));
        let first = server_config(&server, timing, config.bind, &CloseLatch::default());
        let endpoint = Arc::new(engine::Endpoint::new(endpoint, first, socket, counters));
        let address = local;
        let websocket = match config.websocket {
            Some(mut at) => {
                if at.port() == 0 {
                    at.set_port(address.port());
                }
                let limits = WebSocketLimits {
                    max: config.max_websockets.saturating_add(limits.max_half_open),
                    idle: limits,
                };
                let listener =
                    listen(&*network, at, &shared, &routes.table, timing, &door, limits)?;
                Some(Arc::new(listener))
            }
            None => None,
        };
        let knocking = Arc::clone(&shared);
        let dialler = Arc::new(Dialler {
            network,
            tls: Tls::new(roots),
            table: Arc::clone(&routes.table),
            idle: linger(timing),
        });
        let means = DriverDeps {
            socket: Arc::clone(&routes.sockets),
            table: Arc::clone(&routes.table),
            knock: Box::new(move |seed, peer| {
                fresh_knock(&knocking, seed, Some(peer)).ok().map(Vec::from)
            }),
            dialler: Arc::clone(&dialler),
        };
        tokio::spawn(route::run(inputs, receiver, means));
        Ok(Self {
            endpoint,
            shared,
            keyring: config.keyring,
            server,
            accepting: Arc::new(AtomicBool::new(config.accepting)),
            timing,
            seed_stagger: config.seed_stagger,
            address,
            routes,
            websocket,
            door,
            growth,
            dialler,
            socket_buffer: config.socket_buffer,
        })
    }

    /// Who this node is.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.shared.identity.node_id()
    }

    /// The address of the socket, with the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.routes.sockets.address().unwrap_or(self.address)
    }

    /// Whether one of its sockets can send to this address.
    pub fn reaches(&self, address: SocketAddr) -> bool {
        self.routes.sockets.towards(address).is_some()
    }

    /// A caller had no answer in all its time. For the crate `stt`.
    #[doc(hidden)]
    pub fn unanswered(&self) {
        self.shared.clock.unanswered();
    }

    /// Whether this machine has a route to this address, as far as the system says.
    pub fn has_route(&self, address: SocketAddr) -> bool {
        self.routes.sockets.has_route(address)
    }

    /// How many peers are reached through WebSockets.
    pub fn websockets(&self) -> usize {
        self.routes.table.len()
    }

    /// Opens another UDP socket and moves sessions to it from those of its address family. Returns
    /// its address.
    ///
    /// # Errors
    /// [`RouteError::Bind`]; [`RouteError::TooManySockets`].
    pub fn rebind(&self, to: SocketAddr) -> Result<SocketAddr, RouteError> {
        let failed = |error| RouteError::Bind(WireError::bind(to, error));
        let udp = udp_socket(to, self.socket_buffer);
        let udp = udp.and_then(SystemSocket::over);
        self.rebind_over(to, udp.map_err(failed)?)
    }

    /// As [`Self::rebind`], with a socket of the caller's: of a simulation.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn rebind_over(
        &self,
        to: SocketAddr,
        udp: Arc<dyn DatagramSocket>,
    ) -> Result<SocketAddr, RouteError> {
        let failed = |error| RouteError::Bind(WireError::bind(to, error));
        let local = self.routes.sockets.add(udp).map_err(failed)?;
        let local = local.ok_or(RouteError::TooManySockets { max: MAX_LOCALS })?;
        self.routes.directory.inputs().send(Input::Rebound);
        Ok(local.address)
    }

    /// Where it listens for WebSockets.
    pub fn websocket_addr(&self) -> Option<SocketAddr> {
        self.websocket.as_ref().map(|listener| listener.local_addr())
    }

    /// Handshakes that peers began and did not finish.
    pub fn half_open(&self) -> usize {
        self.door.half_open()
    }

    /// The settings of one more session, and what it may receive.
    fn one_more(&self) -> (Timing, Credit) {
        let first = self.growth.first(self.endpoint.open_connections());
        let credit = Credit { first, growth: self.growth.clone() };
        (Timing { first_window: first, ..self.timing }, credit)
    }

    /// Whether peers that knock get a session from now on. If not, members are told so.
    pub fn set_accepting(&self, accepting: bool) {
        self.accepting.store(accepting, Relaxed);
    }

    /// As [`Self::connect`], through a WebSocket to `place`, `secure` with TLS around it.
    ///
    /// A peer that doesn't hold a seed answers at once, so the seeds are tried one after the other. For
    /// the crate `stt`, which finds out what an address names.
    ///
    /// # Errors
    /// `Unreached`: no WebSocket was opened, or the handshake inside failed.
    #[doc(hidden)]
    pub async fn connect_websocket(
        &self,
        place: &HostPort,
        secure: bool,
        expect: Option<NodeId>,
    ) -> Result<Established, Unreached> {
        let web = Web { place: place.clone(), secure };
        let mut last = Unreached::Handshake(INTERNAL);
        for seed in self.keyring.entries().iter() {
            match self.connect_websocket_by(seed, &web, expect).await {
                Err(refused @ Unreached::Dial(_)) => last = refused,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    /// With one seed.
    ///
    /// As over UDP, an attempt joins in when nothing was heard for a while, with a TCP connection of its
    /// own: the one before may be dead, and would say so only after minutes.
    async fn connect_websocket_by(
        &self,
        seed: &Arc<SeedKeys>,
        web: &Web,
        expect: Option<NodeId>,
    ) -> Result<Established, Unreached> {
        let begin = || {
            let (wire, seed, web) = (self.clone(), Arc::clone(seed), web.clone());
            let meter = Arc::<Meter>::default();
            let (opened, opening) = oneshot::channel();
            let heard = Arc::clone(&meter);
            let attempt = async move {
                let knock = fresh_knock(&wire.shared, &seed, expect)?;
                let stand_in = wire.dialler.dial(&web, &knock).await.map_err(Unreached::Dial)?;
                // Nobody listens when another attempt joined in already.
                let _ = opened.send(());
                Ok(wire.attempt(&seed, stand_in, expect, Some(web), heard).await?)
            };
            let silence = async move {
                if let Ok(Ok(())) = tokio::time::timeout(FRESH_AFTER, opening).await {
                    meter.silence(FRESH_AFTER).await;
                }
            };
            (attempt, silence)
        };
        let bounds = self.bounds(usize::MAX);
        connect_attempts::first(bounds, begin, Unreached::verdict).await
    }

    /// How many attempts there may be.
    fn bounds(&self, in_all: usize) -> Bounds {
        // A knock without a time takes one of few places at the responder, for ever.
        let in_all = if self.shared.clock.now() == 0 { 1 } else { in_all };
        Bounds { at_once: MAX_ATTEMPTS, in_all, apart: FRESH_AFTER }
    }

    /// Makes a session over UDP with the member at `to`, or with `expect` only. Returns when the
    /// responder has confirmed it. A peer that does not exist looks like one that is slow: the wait
    /// for it is some idle timeouts, so a caller sets a deadline of its own.
    ///
    /// The peer may hold another seed of the keyring than the current one: silence says nothing, so
    /// an attempt with the next seed joins in after a moment (docs/protocol.md, KNOCK-8).
    ///
    /// # Cancel safety
    /// A dropped future has made no session that stays.
    ///
    /// # Errors
    /// [`WireError::NoAnswer`]; the peer refused, is another one than `expect`, or broke a rule; this
    /// node's socket cannot send there.
    pub async fn connect(
        &self,
        to: SocketAddr,
        expect: Option<NodeId>,
    ) -> Result<Established, WireError> {
        let entries = self.keyring.entries();
        if let [only] = entries.as_slice() {
            return self.connect_by(only, to, expect).await;
        }
        let mut attempts = Race::new();
        for (at, seed) in (0u32..).zip(entries.iter()) {
            let (wire, seed) = (self.clone(), Arc::clone(seed));
            attempts.add(async move {
                if at > 0 {
                    tokio::time::sleep(wire.seed_stagger.saturating_mul(at)).await;
                }
                wire.connect_by(&seed, to, expect).await
            });
        }
        let mut last = INTERNAL;
        while let Some(attempt) = attempts.next().await {
            match attempt {
                // Any other outcome is what the peer says, or what no other seed would change.
                Err(error @ WireError::NoAnswer { .. }) => last = error,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    /// With one seed.
    ///
    /// Whenever an attempt has heard nothing for a while, one with a knock of its own joins in: the
    /// peer may have given the earlier one up, and would take its knock for a replay
    /// (docs/protocol.md, KNOCK-9).
    async fn connect_by(
        &self,
        seed: &Arc<SeedKeys>,
        to: SocketAddr,
        expect: Option<NodeId>,
    ) -> Result<Established, WireError> {
        let begin = || {
            let meter = Arc::<Meter>::default();
            let (wire, seed, heard) = (self.clone(), Arc::clone(seed), Arc::clone(&meter));
            let attempt = async move { wire.attempt(&seed, to, expect, None, heard).await };
            (attempt, async move { meter.silence(FRESH_AFTER).await })
        };
        let bounds = self.bounds(MAX_ATTEMPTS);
        connect_attempts::first(bounds, begin, WireError::verdict).await
    }

    /// Through a WebSocket, `to` is its stand-in, and `web` where it leads.
    pub(super) async fn attempt(
        &self,
        seed: &Arc<SeedKeys>,
        to: SocketAddr,
        expect: Option<NodeId>,
        web: Option<Web>,
        meter: Arc<Meter>,
    ) -> Result<Established, WireError> {
        let started = Instant::now();
        let latch = CloseLatch::default();
        let (timing, credit) = self.one_more();
        let seed = Arc::clone(seed);
        let config = client_config(&self.shared, seed, timing, to, expect, (&latch, meter))?;
        let refused = |error| WireError::connect(to, &error);
        let unreachable = || refused(ConnectError::InvalidRemoteAddress(to));
        // Whatever a name or a peer says: such an address stands for a WebSocket of this node.
        if web.is_none() && is_stand_in(to.ip()) {
            return Err(unreachable());
        }
        let way = self.routes.sockets.way_to(to).ok_or_else(unreachable)?;
        let link = self.routes.directory.link(self.routes.logical(to), way);
        let connecting = self.endpoint.connect(config, &link);
        let connecting = connecting.inspect_err(|_| link.close()).map_err(refused)?;
        let line = ConnectParts { link, routes: self.routes.clone(), latch, started, credit };
        confirm(connecting, line, web, &self.shared.clock).await
    }

    /// The next peer whose first flight authenticated; `None` after [`shutdown`](Self::shutdown).
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let started = Instant::now();
            let latch = CloseLatch::default();
            let peer = incoming.remote_address();
            // The rate of the address behind a stand-in was asked when its WebSocket began, for one
            // handshake.
            let begun = if is_stand_in(peer.ip()) {
                let table = &self.routes.table;
                let from = table.ends(peer).map(|(_, from)| from.ip());
                self.door.begin_at(from, table.is_first_handshake(peer))
            } else {
                self.door.begin(Some(peer.ip()))
            };
            let begun = match begun {
                Ok(begun) => begun,
                Err(shut) => {
                    // Not an answer, and no work: the knock may be tried again.
                    self.endpoint.ignore(incoming);
                    count(self.shared.counters.shut(shut));
                    continue;
                }
            };
            let (timing, credit) = self.one_more();
            let config = server_config(&self.server, timing, peer, &latch);
            let Some(way) = self.routes.sockets.way_back(peer) else {
                self.endpoint.ignore(incoming);
                continue;
            };
            let link = self.routes.directory.link(peer, way);
            match self.endpoint.admit(incoming, config, &link) {
                Ok(connecting) => {
                    let line =
                        ConnectParts { link, routes: self.routes.clone(), latch, started, credit };
                    return Some(Incoming {
                        connecting,
                        accepting: Arc::clone(&self.accepting),
                        places: self.places(),
                        line,
                        begun,
                        counters: Arc::clone(&self.shared.counters),
                    });
                }
                Err(why) => {
                    link.close();
                    // Why a knock was not let in has a counter of its own.
                    if !crypto_adapter::is_unfit(&why) {
                        count(&self.shared.counters.dropped_tampered);
                    }
                }
            }
        }
    }

    /// Where peers reach this node, at the address where they know it.
    fn places(&self) -> AdvertisedPorts {
        AdvertisedPorts {
            udp: Some(self.local_addr().port()),
            websocket: self.websocket_addr().map(|address| address.port()),
        }
    }

    /// What was sent, received, and dropped since the start.
    pub fn stats(&self) -> TransportStats {
        self.shared.counters.snapshot()
    }

    /// A WebSocket to `place`, and no session.
    #[cfg(test)]
    pub(super) async fn open_websocket(&self, place: &HostPort) -> Option<SocketAddr> {
        let seed = self.keyring.entries().first().cloned()?;
        let knock = fresh_knock(&self.shared, &seed, None).ok()?;
        let web = Web { place: place.clone(), secure: false };
        self.dialler.dial(&web, &knock).await.ok()
    }

    #[cfg(test)]
    pub(super) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Waits until no connection is left, not even one that is closing.
    #[cfg(test)]
    pub(crate) async fn endpoint_idle(&self) {
        self.endpoint.idle().await;
    }

    /// The engine meets a panic, once.
    #[cfg(test)]
    pub(super) fn trap(&self, at: engine::Trap) {
        self.endpoint.trap(at);
    }

    #[cfg(test)]
    pub(crate) fn open_connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Ends every session with this code and reason, and waits a moment for the peers to hear it.
    pub async fn shutdown(&self, code: u32, reason: &[u8]) {
        self.endpoint.close(VarInt::from_u32(code), reason);
        // Peers that are gone don't answer; they time out by themselves.
        let _ = tokio::time::timeout(DRAIN, self.endpoint.idle()).await;
        self.endpoint.skip_draining();
        let _ = tokio::time::timeout(DRAIN, self.endpoint.idle()).await;
        // Handles of the node and of its sessions may live on; the ports are free for others.
        if let Some(websocket) = &self.websocket {
            websocket.close(DRAIN).await;
        }
        self.routes.sockets.close(DRAIN).await;
    }
}

/// Why there is no session through a WebSocket.
pub enum Unreached {
    /// None was opened.
    Dial(DialError),
    /// One was, and the handshake inside failed.
    Handshake(WireError),
}

impl Unreached {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Dial(DialError::Broken(_)) => Verdict::Passing,
            Self::Dial(_) => Verdict::Final,
            Self::Handshake(error) => error.verdict(),
        }
    }
}

impl From<WireError> for Unreached {
    fn from(error: WireError) -> Self {
        Self::Handshake(error)
    }
}

/// What the engine's endpoint has to know.
pub(super) fn endpoint_config(ids: IdMark) -> Result<quinn_proto::EndpointConfig, WireError> {
    let reset = Key::generate()?;
    let mut config = quinn_proto::EndpointConfig::new(Arc::new(ResetKey(reset)));
    config
        .supported_versions(vec![QUIC_VERSION])
        .grease_quic_bit(false)
        .cid_generator(move || Box::new(ConnectionIds(ids)));
    config.max_udp_payload_size(MAX_PAYLOAD).map_err(|_| INTERNAL)?;
    Ok(config)
}

/// Listens for WebSockets whose requests carry a knock that no request carried before.
fn listen(
    network: &dyn Network,
    at: SocketAddr,
    shared: &Arc<crypto_adapter::HandshakeContext>,
    routes: &Arc<Table>,
    timing: Timing,
    door: &Arc<HandshakeLimiter>,
    limits: WebSocketLimits,
) -> Result<Listener, WireError> {
    let (shared, door) = (Arc::clone(shared), Arc::clone(door));
    let counters = Arc::clone(&shared.counters);
    let admit = move |knock: &[u8], from: IpAddr| {
        // No mask lies over it that would tell a member who expects another node from a stranger.
        if shared.gate.identify(knock).is_none() {
            count(&shared.counters.dropped_unknown);
            return false;
        }
        if let Err(shut) = door.knock(from) {
            count(shared.counters.shut(shut));
            return false;
        }
        shared.gate.admit(knock).is_some()
    };
    let turned_away = move || count(&counters.dropped_requests);
    let table = Arc::clone(routes);
    Listener::start(network, at, table, linger(timing), limits, admit, turned_away)
        .map_err(|error| WireError::bind(at, error))
}

/// How long a WebSocket outlives the last thing that came through it: a moment longer than a
/// session would.
fn linger(timing: Timing) -> Duration {
    timing.idle_timeout.saturating_add(Duration::from_secs(5))
}

/// Both ciphers, the faster one on this machine first.
pub(super) fn suites() -> Vec<Suite> {
    match Suite::preferred() {
        Suite::Aes256Gcm => vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305],
        _ => vec![Suite::ChaCha20Poly1305, Suite::Aes256Gcm],
    }
}

/// A knock that was never used.
fn fresh_knock(
    endpoint: &crypto_adapter::HandshakeContext,
    seed: &SeedKeys,
    expect: Option<NodeId>,
) -> Result<[u8; KNOCK_LEN], WireError> {
    let nonce = random::bytes()?;
    let time = endpoint.clock.now();
    let knock = KnockKey::new(&seed.knock, expect).knock(nonce, time);
    if expect.is_none() {
        endpoint.gate.made(Seen { time, knock });
    }
    Ok(knock)
}

/// The settings of one attempt, with a knock of its own.
pub(super) fn client_config(
    endpoint: &Arc<crypto_adapter::HandshakeContext>,
    seed: Arc<SeedKeys>,
    timing: Timing,
    to: SocketAddr,
    expect: Option<NodeId>,
    (latch, meter): (&CloseLatch, Arc<Meter>),
) -> Result<ClientConfig, WireError> {
    let knock = ConnectionId::new(&fresh_knock(endpoint, &seed, expect)?);
    let attempt = Attempt { endpoint: Arc::clone(endpoint), seed, knock, expect, meter };
    let mut config = ClientConfig::new(Arc::new(attempt));
    config
        .version(QUIC_VERSION)
        .initial_dst_cid_provider(Arc::new(move || knock))
        .token_store(Arc::new(NoneTokenStore))
        .transport_config(Arc::new(transport_config::config(timing, to.ip(), latch)));
    Ok(config)
}

pub(super) fn server_config(
    server: &Arc<Acceptor>,
    timing: Timing,
    peer: SocketAddr,
    latch: &CloseLatch,
) -> ServerConfig {
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    let crypto: Arc<Acceptor> = Arc::clone(server);
    let mut config = ServerConfig::new(crypto, Arc::new(NoTokens));
    config
        .transport_config(Arc::new(transport_config::config(timing, peer.ip(), latch)))
        .validation_token_config(tokens)
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES.0)
        .incoming_buffer_size_total(INCOMING_BYTES.1);
    config
}

/// A socket at `at`. If any port will do there and for WebSockets, it is one that both can have.
fn open_udp(
    at: SocketAddr,
    websocket: Option<SocketAddr>,
    buffer: usize,
) -> std::io::Result<std::net::UdpSocket> {
    let both = websocket.filter(|websocket| at.port() == 0 && websocket.port() == 0);
    let Some(mut websocket) = both else { return udp_socket(at, buffer) };
    let mut tries = 0;
    loop {
        let socket = udp_socket(at, buffer)?;
        websocket.set_port(socket.local_addr()?.port());
        tries += 1;
        match std::net::TcpListener::bind(websocket) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && tries < PORT_TRIES => {}
            // Any other error is told when it is listened there.
            _ => return Ok(socket),
        }
    }
}

fn udp_socket(address: SocketAddr, buffer: usize) -> std::io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Not possible everywhere, and IPv6 alone is better than nothing.
        let _ = socket.set_only_v6(false);
    }
    // The system may grant less; then it is slower, not wrong.
    let _ = socket.set_recv_buffer_size(buffer);
    let _ = socket.set_send_buffer_size(buffer);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Every seventieth port is taken for TCP, by others.
    #[test]
    fn any_port_is_one_that_websockets_can_have_too() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let _others: Vec<_> = (0..400).map(|_| std::net::TcpListener::bind(any).unwrap()).collect();
        for _ in 0..300 {
            let socket = open_udp(any, Some(any), 1 << 16).unwrap();
            std::net::TcpListener::bind(socket.local_addr().unwrap()).unwrap();
        }
    }

    /// Small ones lose datagrams of every burst on a fast path.
    #[test]
    fn sockets_get_the_buffers_that_the_system_grants() {
        let granted = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
        let wanted = granted.trim().parse::<usize>().unwrap().min(1 << 20);
        let socket = udp_socket(SocketAddr::from(([127, 0, 0, 1], 0)), wanted).unwrap();
        let socket = socket2::SockRef::from(&socket);
        // The system doubles what is asked for, for its own books.
        assert!(socket.recv_buffer_size().unwrap() >= wanted);
        assert!(socket.send_buffer_size().unwrap() >= wanted);
    }
}
