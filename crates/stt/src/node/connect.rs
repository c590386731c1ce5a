//! Finding and dialling an address.

use std::{net::SocketAddr, time::Duration};

use stt_transport::{
    Endpoint, Established,
    internal::{DialError, HostPort, Race, Target, Unreached},
};

use super::ConnectError;
use crate::NodeId;
use stc::Cause;

/// How long one address of a name is alone before the next is dialled too (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses of one name that are dialled.
const MAX_ADDRESSES: usize = 8;

/// How long UDP is alone before a WebSocket is tried too, where both may be meant. A member answers
/// over UDP within two round trips; a second is more than any has but a lossy one.
const WEBSOCKET_AFTER: Duration = Duration::from_secs(1);

/// Whom to reach, and how long to try.
///
/// ```no_run
/// # async fn example(node: stt::Node, bob: stt::NodeId) -> Result<(), stt::ConnectError> {
/// let options = stt::ConnectOptions::new().expect(bob).timeout(std::time::Duration::from_secs(3));
/// let session = node.connect_with("peer.example.com:9337", &options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions {
    pub(super) expect: Option<NodeId>,
    pub(super) timeout: Duration,
}

impl ConnectOptions {
    /// How long an answer is waited for unless set otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// All defaults: whichever member answers, within [`Self::DEFAULT_TIMEOUT`].
    #[must_use]
    pub const fn new() -> Self {
        Self { expect: None, timeout: Self::DEFAULT_TIMEOUT }
    }

    /// Only the node that proves to have this id gets to know who is calling. Default: any member.
    #[must_use]
    pub fn expect(mut self, peer: impl Into<Option<NodeId>>) -> Self {
        self.expect = peer.into();
        self
    }

    /// How long to wait for an answer. Default: [`Self::DEFAULT_TIMEOUT`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Dials over what `target` names.
pub(super) async fn reach(
    wire: &Endpoint,
    target: &Target,
    expect: Option<NodeId>,
) -> Result<Established, ConnectError> {
    match target {
        Target::Udp(place) => over_udp(wire, place, expect).await,
        Target::WebSocket(place) => over_websocket(wire, place, false, expect).await,
        Target::SecureWebSocket(place) => over_websocket(wire, place, true, expect).await,
        Target::Any(place) => {
            let udp = over_udp(wire, place, expect);
            let websocket = async {
                tokio::time::sleep(WEBSOCKET_AFTER).await;
                over_websocket(wire, place, false, expect).await
            };
            tokio::select! {
                established = udp => established,
                Ok(established) = websocket => Ok(established),
            }
        }
    }
}

async fn over_udp(
    wire: &Endpoint,
    place: &HostPort,
    expect: Option<NodeId>,
) -> Result<Established, ConnectError> {
    let addresses = resolve(&place.host, place.port, wire).await?;
    dial(wire, addresses, expect).await
}

async fn over_websocket(
    wire: &Endpoint,
    place: &HostPort,
    secure: bool,
    expect: Option<NodeId>,
) -> Result<Established, ConnectError> {
    let (host, port) = (place.host.clone(), place.port);
    wire.connect_websocket(place, secure, expect).await.map_err(|error| match error {
        Unreached::Dial(DialError::Certificate(cause)) => {
            ConnectError::Certificate { host, port, cause }
        }
        Unreached::Dial(DialError::NoRoute(_)) => ConnectError::NoRoute { host, port },
        Unreached::Dial(DialError::Failed(cause) | DialError::Broken(cause)) => {
            ConnectError::WebSocket { host, port, cause }
        }
        Unreached::Handshake(error) => error.into(),
    })
}

/// The addresses of `host` that the sockets can reach.
async fn resolve(host: &str, port: u16, wire: &Endpoint) -> Result<Vec<SocketAddr>, ConnectError> {
    let not_found = |cause: Cause| ConnectError::HostNotFound { host: host.to_owned(), cause };
    let all: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| not_found(error.into()))?
        .collect();
    if all.is_empty() {
        return Err(not_found(Cause::text("the name has no address")));
    }
    let reachable: Vec<SocketAddr> =
        all.into_iter().filter(|address| wire.reaches(*address)).take(MAX_ADDRESSES).collect();
    if reachable.is_empty() {
        return Err(ConnectError::Family { host: host.to_owned(), local: wire.local_addr() });
    }
    Ok(reachable)
}

/// Dials all addresses, one after the other begun, and takes the first that answers.
async fn dial(
    wire: &Endpoint,
    addresses: Vec<SocketAddr>,
    expect: Option<NodeId>,
) -> Result<Established, ConnectError> {
    let mut attempts = Race::new();
    for (at, address) in (0u32..).zip(addresses) {
        attempts.add(async move {
            // The clock of the runtime has whole milliseconds: even a sleep of zero is one.
            if at > 0 {
                tokio::time::sleep(STAGGER.saturating_mul(at)).await;
            }
            if !wire.has_route(address) {
                let (host, port) = (address.ip().to_string(), address.port());
                return Err(ConnectError::NoRoute { host, port });
            }
            Ok(wire.connect(address, expect).await?)
        });
    }
    let mut last = ConnectError::Stopped;
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(established) => return Ok(established),
            Err(error) => last = error,
        }
    }
    Err(last)
}
