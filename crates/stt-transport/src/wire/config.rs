//! What an endpoint is made of.

use std::{net::SocketAddr, num::NonZeroU64, path::PathBuf, sync::Arc, time::Duration};

use stc::Cause;

use super::clock::Clock;
use crate::{
    congestion::{self, ReceiveWindow},
    identity::Identity,
    keyring::Keyring,
    limits::DoorLimits,
    route::Roots,
};

/// Settings of an [`Endpoint`](super::Endpoint), each with its default. Values outside of a range
/// become the nearest inside of it.
#[derive(Debug)]
#[must_use]
pub struct EndpointConfig {
    /// Address of the socket; port 0 takes any.
    pub(crate) bind: SocketAddr,
    /// Who this node is.
    pub(crate) identity: Arc<Identity>,
    /// The seeds of its peers.
    pub(crate) keyring: Arc<Keyring>,
    /// Whether peers that knock get a session.
    pub(crate) accepting: bool,
    /// Longest silence before a packet is sent to keep a session alive.
    pub(crate) heartbeat: Duration,
    /// Silence after which a session is lost.
    pub(crate) idle_timeout: Duration,
    /// Bound of the path MTU, instead of the one for the kind of interface.
    pub(crate) max_mtu: Option<u16>,
    /// How far a peer's clock may be from ours.
    pub(crate) clock_window: Duration,
    /// Where used knocks are kept over a restart.
    pub(crate) knock_log: Option<PathBuf>,
    /// Where this node's time comes from.
    pub(crate) clock: Clock,
    /// Knocks of devices without a clock that are let in, ever. More than 0 needs a knock log.
    pub(crate) timeless_knocks: usize,
    /// Where to listen for WebSockets, if at all; port 0 takes that of the socket.
    pub(crate) websocket: Option<SocketAddr>,
    /// Addresses at which this node can be reached, told to those it connects to.
    pub(crate) listens: Vec<SocketAddr>,
    /// Handshakes of peers.
    pub(crate) door: DoorLimits,
    /// WebSockets with a session, at most.
    pub(crate) max_websockets: usize,
    /// Bytes that a session may send before others were acknowledged.
    pub(crate) send_window: u64,
    /// Bytes that a peer may send on all streams before it heard of credit.
    pub(crate) first_window: u32,
    /// Bytes that the credit of all sessions may have beyond their start.
    pub(crate) receive_pool: u64,
    /// Bytes of datagrams of an application that wait, in each direction.
    pub(crate) datagram_buffer: usize,
    /// Buffers asked of the system for the socket.
    pub(crate) socket_buffer: usize,
    /// Certificates that proxies may have beside those that the system trusts.
    pub(crate) tls_roots: Roots,
    /// How long one seed of the keyring is alone before an attempt with the next begins.
    pub(crate) seed_stagger: Duration,
    /// What HELLO offers instead of all that there is.
    #[cfg(test)]
    pub(crate) offer: Option<super::handshake::Offer>,
}

/// For `seed_stagger`: a member answers over UDP within two round trips, which is less than a
/// second on nearly every path.
const SEED_STAGGER: Duration = Duration::from_secs(1);

impl EndpointConfig {
    /// Longest silence before a sign of life is sent, unless set otherwise.
    pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);
    /// Longest silence before a session is given up, unless set otherwise.
    pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
    /// How far the clocks of two members may be apart, unless set otherwise.
    pub const DEFAULT_CLOCK_WINDOW: Duration = Duration::from_secs(120);
    /// Handshakes a second from one address, unless set otherwise.
    pub const DEFAULT_HANDSHAKES_PER_SECOND: u32 = 128;
    /// Unfinished handshakes at once, unless set otherwise.
    pub const DEFAULT_MAX_HALF_OPEN: usize = 1_024;
    /// WebSockets with a session at once, unless set otherwise.
    pub const DEFAULT_MAX_WEBSOCKETS: usize = 16_384;
    /// Bytes that one session may have under way, unless set otherwise: 64 MiB.
    pub const DEFAULT_SEND_WINDOW: u64 = congestion::SEND_WINDOW;
    /// What the credit of all sessions may grow to, unless set otherwise: 1 GiB.
    pub const DEFAULT_RECEIVE_POOL: u64 = 1 << 30;
    /// Bytes of datagrams that wait in each direction, unless set otherwise: 4 MiB.
    pub const DEFAULT_DATAGRAM_BUFFER: usize = 4 << 20;
    /// Buffers asked of the system for a socket, unless set otherwise: 4 MiB.
    pub const DEFAULT_SOCKET_BUFFER: usize = 4 << 20;

    /// Settings of a node that is `identity` and talks to those that hold a seed of `keyring`, which a
    /// [`SharedSeed`](crate::SharedSeed) becomes with `into`: a UDP socket on any free port, and no
    /// sessions accepted.
    pub fn new(keyring: impl Into<Arc<Keyring>>, identity: impl Into<Arc<Identity>>) -> Self {
        Self {
            bind: SocketAddr::from(([0, 0, 0, 0], 0)),
            identity: identity.into(),
            keyring: keyring.into(),
            accepting: false,
            heartbeat: Self::DEFAULT_HEARTBEAT,
            idle_timeout: Self::DEFAULT_IDLE_TIMEOUT,
            max_mtu: None,
            clock_window: Self::DEFAULT_CLOCK_WINDOW,
            knock_log: None,
            clock: Clock::System,
            timeless_knocks: 0,
            websocket: None,
            listens: Vec::new(),
            door: DoorLimits {
                per_second: per_second(Self::DEFAULT_HANDSHAKES_PER_SECOND),
                max_half_open: Self::DEFAULT_MAX_HALF_OPEN,
            },
            max_websockets: Self::DEFAULT_MAX_WEBSOCKETS,
            send_window: Self::DEFAULT_SEND_WINDOW,
            first_window: ReceiveWindow::FIRST,
            receive_pool: Self::DEFAULT_RECEIVE_POOL,
            datagram_buffer: Self::DEFAULT_DATAGRAM_BUFFER,
            socket_buffer: Self::DEFAULT_SOCKET_BUFFER,
            tls_roots: Roots::default(),
            seed_stagger: SEED_STAGGER,
            #[cfg(test)]
            offer: None,
        }
    }

    /// Address of the socket. Port 0 takes any. Default: `0.0.0.0:0`.
    pub fn bind(mut self, at: impl Into<SocketAddr>) -> Self {
        self.bind = at.into();
        self
    }

    /// Whether peers that hold a seed get a session. Default: false, and members are told so.
    pub const fn accepting(mut self, accepting: bool) -> Self {
        self.accepting = accepting;
        self
    }

    /// Longest silence before a sign of life is sent. 100 ms to one hour; default
    /// [`Self::DEFAULT_HEARTBEAT`].
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat.clamp(Duration::from_millis(100), Duration::from_secs(3_600));
        self
    }

    /// Longest silence before a session is given up; the smaller of both sides' counts. 1 s to one
    /// day; default [`Self::DEFAULT_IDLE_TIMEOUT`].
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout.clamp(Duration::from_secs(1), Duration::from_secs(86_400));
        self
    }

    /// Largest datagram to try, in bytes of UDP payload. 1,200 to 65,507; default: 1,452 on a
    /// network, 65,507 between processes of one machine. What the path carries is found by probing.
    pub fn max_mtu(mut self, bytes: u16) -> Self {
        self.max_mtu = Some(bytes.clamp(super::MIN_MTU, 65_507));
        self
    }

    /// How far a peer's clock may be from this one's. 1 s to one day; default
    /// [`Self::DEFAULT_CLOCK_WINDOW`]. A larger one needs more memory against replays.
    pub fn clock_window(mut self, window: Duration) -> Self {
        self.clock_window = window.clamp(Duration::from_secs(1), Duration::from_secs(86_400));
        self
    }

    /// Where used knocks are remembered over a restart, so that a first flight that somebody
    /// recorded cannot be replayed after it. Default: nowhere; then first flights stamped before
    /// the start are refused.
    pub fn knock_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.knock_log = Some(path.into());
        self
    }

    /// This device has no clock: its knocks carry no time until a peer told it. The peer must let
    /// such devices in, see [`admit_clockless`](Self::admit_clockless).
    pub fn clockless(mut self) -> Self {
        self.clock = Clock::learned();
        self
    }

    /// How many first flights of devices without a clock are let in, ever. Needs a
    /// [`knock_log`](Self::knock_log), in which each takes a place for good. Default: 0.
    pub const fn admit_clockless(mut self, knocks: usize) -> Self {
        self.timeless_knocks = knocks;
        self
    }

    /// Also listens for WebSockets there; port 0 takes the number of the UDP port. Default: not at
    /// all. A client that shows no knock of a member gets the answer of a web server without that
    /// page.
    pub fn websocket(mut self, at: impl Into<SocketAddr>) -> Self {
        self.websocket = Some(at.into());
        self
    }

    /// Most WebSockets with a session at once; default [`Self::DEFAULT_MAX_WEBSOCKETS`].
    pub const fn max_websockets(mut self, max: usize) -> Self {
        self.max_websockets = max;
        self
    }

    /// Trusts proxies that show this certificate, in DER or PEM, beside those that the operating
    /// system trusts.
    ///
    /// # Errors
    /// It is none.
    pub fn trust_certificate(mut self, certificate: &[u8]) -> Result<Self, Cause> {
        self.tls_roots.add(certificate)?;
        Ok(self)
    }

    /// Handshakes a second that peers at one IPv4 address, or in one IPv6 /64, may begin; twice as
    /// many may come at once. Default [`Self::DEFAULT_HANDSHAKES_PER_SECOND`].
    pub fn handshakes_per_second(mut self, per_address: u32) -> Self {
        self.door.per_second = per_second(per_address);
        self
    }

    /// Handshakes that peers began and did not finish, at once; default
    /// [`Self::DEFAULT_MAX_HALF_OPEN`]. Each takes some 20 KiB, and 10 s at most.
    pub fn max_half_open(mut self, max: usize) -> Self {
        self.door.max_half_open = max.max(1);
        self
    }

    /// Bytes that one session may have under way until others were acknowledged; default
    /// [`Self::DEFAULT_SEND_WINDOW`].
    pub const fn send_window(mut self, bytes: u64) -> Self {
        self.send_window = bytes;
        self
    }

    /// Bytes that a peer may send on all streams at first. It grows with what the path carries;
    /// `pool` bounds that growth of all sessions together. Default: 2 MiB, and
    /// [`Self::DEFAULT_RECEIVE_POOL`].
    pub const fn receive_window(mut self, first: u32, pool: u64) -> Self {
        self.first_window = first;
        self.receive_pool = pool;
        self
    }

    /// Bytes of datagrams that wait to be read, or to be sent; older ones make room. Default
    /// [`Self::DEFAULT_DATAGRAM_BUFFER`].
    pub const fn datagram_buffer(mut self, bytes: usize) -> Self {
        self.datagram_buffer = bytes;
        self
    }

    /// Buffers asked of the system for the socket; it may grant less. Default
    /// [`Self::DEFAULT_SOCKET_BUFFER`].
    pub const fn socket_buffer(mut self, bytes: usize) -> Self {
        self.socket_buffer = bytes;
        self
    }
}

/// At least one.
fn per_second(number: u32) -> NonZeroU64 {
    NonZeroU64::new(number.into()).unwrap_or(NonZeroU64::MIN)
}
