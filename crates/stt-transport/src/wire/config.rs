//! What an endpoint is made of.

use std::{
    net::SocketAddr, num::NonZeroU64, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration,
};

use super::{clock::Clock, error::WireError, messages::MAX_LISTENS};
use crate::{
    congestion::{self, ReceiveWindow},
    identity::Identity,
    keyring::Keyring,
    limits::HandshakeLimits,
    route::Roots,
};

/// Settings of an [`Endpoint`](super::Endpoint), each with its default. A value outside of its
/// range is an error of [`Endpoint::bind`](super::Endpoint::bind).
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
    /// Handshakes that peers at one address may begin.
    pub(crate) handshakes_per_second: u32,
    /// Handshakes that peers began and did not finish.
    pub(crate) max_half_open: usize,
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
    pub(crate) certificates: Vec<Vec<u8>>,
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
            handshakes_per_second: Self::DEFAULT_HANDSHAKES_PER_SECOND,
            max_half_open: Self::DEFAULT_MAX_HALF_OPEN,
            max_websockets: Self::DEFAULT_MAX_WEBSOCKETS,
            send_window: Self::DEFAULT_SEND_WINDOW,
            first_window: ReceiveWindow::FIRST,
            receive_pool: Self::DEFAULT_RECEIVE_POOL,
            datagram_buffer: Self::DEFAULT_DATAGRAM_BUFFER,
            socket_buffer: Self::DEFAULT_SOCKET_BUFFER,
            certificates: Vec::new(),
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
        self.heartbeat = heartbeat;
        self
    }

    /// Longest silence before a session is given up; the smaller of both sides' counts. 1 s to one
    /// day; default [`Self::DEFAULT_IDLE_TIMEOUT`].
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Largest datagram to try, in bytes of UDP payload. 1,200 to 65,507; default: 1,452 on a
    /// network, 65,507 between processes of one machine. What the path carries is found by probing.
    pub fn max_mtu(mut self, bytes: u16) -> Self {
        self.max_mtu = Some(bytes);
        self
    }

    /// How far a peer's clock may be from this one's. 1 s to one day; default
    /// [`Self::DEFAULT_CLOCK_WINDOW`]. A larger one needs more memory against replays.
    pub fn clock_window(mut self, window: Duration) -> Self {
        self.clock_window = window;
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

    /// An address at which this node can be reached, which those it connects to are told
    /// ([`Established::peer_listens`](super::Established::peer_listens)); 8 at most, in the order
    /// of the calls. Default: none.
    pub fn announce(mut self, at: impl Into<SocketAddr>) -> Self {
        self.listens.push(at.into());
        self
    }

    /// Most WebSockets with a session at once; default [`Self::DEFAULT_MAX_WEBSOCKETS`].
    pub const fn max_websockets(mut self, max: usize) -> Self {
        self.max_websockets = max;
        self
    }

    /// Trusts proxies that show this certificate, in DER or PEM, beside those that the operating
    /// system trusts.
    pub fn trust_certificate(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.certificates.push(certificate.into());
        self
    }

    /// Handshakes a second that peers at one IPv4 address, or in one IPv6 /64, may begin; twice as
    /// many may come at once. At least 1; default [`Self::DEFAULT_HANDSHAKES_PER_SECOND`].
    pub fn handshakes_per_second(mut self, per_address: u32) -> Self {
        self.handshakes_per_second = per_address;
        self
    }

    /// Handshakes that peers began and did not finish, at once. 1 to 65,536; default
    /// [`Self::DEFAULT_MAX_HALF_OPEN`]. Each takes some 20 KiB, and 10 s at most.
    pub fn max_half_open(mut self, max: usize) -> Self {
        self.max_half_open = max;
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

    /// Whether all settings are inside of their ranges.
    pub(super) fn check(&self) -> Result<(), WireError> {
        let [second, day] = [Duration::from_secs(1), Duration::from_secs(86_400)];
        let heartbeats = Duration::from_millis(100)..=Duration::from_secs(3_600);
        time_in_range("heartbeat", self.heartbeat, heartbeats)?;
        time_in_range("idle_timeout", self.idle_timeout, second..=day)?;
        time_in_range("clock_window", self.clock_window, second..=day)?;
        number_in_range("handshakes_per_second", self.handshakes_per_second, 1..=u32::MAX)?;
        number_in_range("max_half_open", self.max_half_open, 1..=65_536)?;
        number_in_range("announce", self.listens.len(), 0..=MAX_LISTENS)?;
        match self.max_mtu {
            Some(bytes) => number_in_range("max_mtu", bytes, super::MIN_MTU..=65_507),
            None => Ok(()),
        }
    }

    /// Limits of handshakes that peers begin.
    pub(super) fn door(&self) -> HandshakeLimits {
        let per_second = NonZeroU64::new(self.handshakes_per_second.into());
        HandshakeLimits {
            per_second: per_second.unwrap_or(NonZeroU64::MIN),
            max_half_open: self.max_half_open,
        }
    }

    /// The certificates that proxies may have.
    pub(super) fn roots(&self) -> Result<Roots, WireError> {
        let mut roots = Roots::default();
        for certificate in &self.certificates {
            roots.add(certificate).map_err(|cause| WireError::Certificate { cause })?;
        }
        Ok(roots)
    }
}

/// Whether a time is inside of its range.
///
/// # Errors
/// [`WireError::OutOfRange`].
pub fn time_in_range(
    setting: &'static str,
    got: Duration,
    range: RangeInclusive<Duration>,
) -> Result<(), WireError> {
    let (least, most) = range.into_inner();
    if least <= got && got <= most {
        return Ok(());
    }
    Err(WireError::OutOfRange { setting, got, least, most })
}

/// Whether a number is inside of its range.
///
/// # Errors
/// [`WireError::NumberOutOfRange`].
pub fn number_in_range<N>(
    setting: &'static str,
    got: N,
    range: RangeInclusive<N>,
) -> Result<(), WireError>
where
    N: Copy + PartialOrd + TryInto<u64>,
{
    if range.contains(&got) {
        return Ok(());
    }
    let number = |number: N| number.try_into().unwrap_or(u64::MAX);
    let (got, least, most) = (number(got), number(*range.start()), number(*range.end()));
    Err(WireError::NumberOutOfRange { setting, got, least, most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::SharedSeed;

    #[test]
    fn what_is_out_of_range_is_told_when_the_endpoint_opens() {
        let seed = SharedSeed::from_key(stc::Key::generate().unwrap());
        let config = || EndpointConfig::new(seed.clone(), Identity::ephemeral().unwrap());
        config().check().unwrap();
        let refused = |config: EndpointConfig| config.check().unwrap_err();
        let error = refused(config().idle_timeout(Duration::ZERO));
        assert_eq!(error.to_string(), "idle_timeout is 0ns; 1s to 86400s are allowed");
        let error = refused(config().max_mtu(1_199));
        assert_eq!(error.to_string(), "max_mtu is 1199; 1200 to 65507 are allowed");
        let error = refused(config().handshakes_per_second(0));
        let setting = "handshakes_per_second";
        let most = u64::from(u32::MAX);
        assert_eq!(error, WireError::NumberOutOfRange { setting, got: 0, least: 1, most });
        let error = config().trust_certificate("no certificate").roots().unwrap_err();
        assert!(matches!(error, WireError::Certificate { .. }), "{error:?}");
    }
}
