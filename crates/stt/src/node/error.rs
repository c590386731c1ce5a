//! Why a node did not start, or a peer was not reached.

use std::{net::SocketAddr, time::Duration};

use stc::{Cause, Coded};
use stt_transport::{IdentityError, SeedWarning, WireError, internal::PORT_IN_USE};

use crate::{Address, AddressError, Refusal};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Strict mode, and the seed can be guessed.
    #[error("the shared seed can be guessed: {0}")]
    GuessableSeed(SeedWarning),
    /// A persistent identity was asked for without a node seed.
    #[error("a persistent identity needs a node seed")]
    NoNodeSeed,
    /// A setting lies outside its range.
    #[error("{setting} is {got:?}; {least:?} to {most:?} are allowed")]
    OutOfRange {
        /// Which.
        setting: &'static str,
        /// What was given.
        got: Duration,
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// A number lies outside its range.
    #[error("{setting} is {got}; {least} to {most} are allowed")]
    NumberOutOfRange {
        /// Which.
        setting: &'static str,
        /// What was given.
        got: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A certificate to be trusted is none.
    #[error("the certificate to be trusted cannot be used: {cause}")]
    Certificate {
        /// What is wrong with it.
        #[source]
        cause: Cause,
    },
    /// Where to listen is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No node listens at such an address.
    #[error("no node listens at {address}")]
    Listen {
        /// The address.
        address: Address,
    },
    /// The host to listen on has no address.
    #[error("the host {host} to listen on was not found: {cause}")]
    HostNotFound {
        /// The name.
        host: String,
        /// What the operating system said.
        #[source]
        cause: Cause,
    },
    /// Another program has the port.
    #[error("port {} on {} is in use", address.port(), address.ip())]
    PortInUse {
        /// Where.
        address: SocketAddr,
    },
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The socket or the keys failed in another way.
    #[error(transparent)]
    Wire(WireError),
}

impl From<WireError> for StartError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::PortInUse { address } => Self::PortInUse { address },
            WireError::OutOfRange { setting, got, least, most } => {
                Self::OutOfRange { setting, got, least, most }
            }
            WireError::NumberOutOfRange { setting, got, least, most } => {
                Self::NumberOutOfRange { setting, got, least, most }
            }
            WireError::Certificate { cause } => Self::Certificate { cause },
            other => Self::Wire(other),
        }
    }
}

impl StartError {
    /// Codes of the variants that are this type's own, as `docs/errors.md` lists them.
    pub const CODES: &'static [&'static str] = &[
        "seed.guessable",
        "node.no_node_seed",
        "node.out_of_range",
        "node.certificate",
        "node.listen",
        "node.host_not_found",
        "node.port_in_use",
    ];
}

impl Coded for StartError {
    fn code(&self) -> &'static str {
        match self {
            Self::GuessableSeed(_) => "seed.guessable",
            Self::NoNodeSeed => "node.no_node_seed",
            Self::OutOfRange { .. } | Self::NumberOutOfRange { .. } => "node.out_of_range",
            Self::Certificate { .. } => "node.certificate",
            Self::Address(error) => error.code(),
            Self::Listen { .. } => "node.listen",
            Self::HostNotFound { .. } => "node.host_not_found",
            Self::PortInUse { .. } => "node.port_in_use",
            Self::Identity(error) => error.code(),
            Self::Wire(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::PortInUse { .. } => true,
            Self::Identity(error) => error.retry_helps(),
            Self::Wire(error) => error.retry_helps(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::GuessableSeed(_) => Some("make one with `stt seed new`"),
            Self::PortInUse { .. } => Some(PORT_IN_USE),
            Self::Address(error) => error.hint(),
            Self::Listen { .. } => Some(
                "listen at HOST:PORT or ws://HOST:PORT; the proxy that ends TLS passes `wss://` on",
            ),
            Self::Wire(error) => error.hint(),
            _ => None,
        }
    }
}

/// Why a peer was not reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It is no address, or none that can be connected to.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The certificate of a `wss://` server does not verify.
    #[error("the certificate of {host} at port {port} does not verify: {cause}")]
    Certificate {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
        /// What is wrong with it.
        #[source]
        cause: Cause,
    },
    /// No WebSocket could be opened.
    #[error("no WebSocket to {host} at port {port}: {cause}")]
    WebSocket {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// The name has no address.
    #[error("the host {host} was not found: {cause}")]
    HostNotFound {
        /// The name.
        host: String,
        /// What the operating system said.
        #[source]
        cause: Cause,
    },
    /// The name has only addresses of a family that this node's socket cannot reach.
    #[error("{host} has only addresses of another family than this node's {local}")]
    Family {
        /// The name.
        host: String,
        /// Where this node listens.
        local: SocketAddr,
    },
    /// This machine has no route to the address: it has no network, or not that one.
    #[error("this machine has no route to {host} at port {port}")]
    NoRoute {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// Nobody answered in time.
    #[error("nobody answered at {address} within {} s", .within.as_secs_f32())]
    NoAnswer {
        /// What was dialled.
        address: String,
        /// How long was waited.
        within: Duration,
    },
    /// A member answered and refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The node has been stopped.
    #[error("this node has been stopped")]
    Stopped,
    /// This node has as many sessions as it may.
    #[error("this node has {max} sessions, which is the most it may have")]
    Full {
        /// The limit.
        max: usize,
    },
    /// The handshake failed.
    #[error(transparent)]
    Wire(WireError),
}

impl From<WireError> for ConnectError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Refused(refusal) => Self::Refused(refusal),
            WireError::Closed => Self::Stopped,
            other => Self::Wire(other),
        }
    }
}

impl ConnectError {
    /// Codes of the variants that are this type's own, as `docs/errors.md` lists them.
    pub const CODES: &'static [&'static str] = &[
        "connect.certificate",
        "connect.websocket",
        "connect.host_not_found",
        "connect.family",
        "connect.no_route",
        "connect.no_answer",
        "connect.not_accepting",
        "connect.denied",
        "connect.full",
        "connect.stopped",
        "connect.full_here",
    ];
}

impl Coded for ConnectError {
    fn code(&self) -> &'static str {
        match self {
            Self::Address(error) => error.code(),
            Self::Certificate { .. } => "connect.certificate",
            Self::WebSocket { .. } => "connect.websocket",
            Self::HostNotFound { .. } => "connect.host_not_found",
            Self::Family { .. } => "connect.family",
            Self::NoRoute { .. } => "connect.no_route",
            Self::NoAnswer { .. } => "connect.no_answer",
            Self::Refused(Refusal::NotAccepting) => "connect.not_accepting",
            Self::Refused(Refusal::Denied) => "connect.denied",
            // `Refusal::Full`; there is no other.
            Self::Refused(_) => "connect.full",
            Self::Stopped => "connect.stopped",
            Self::Full { .. } => "connect.full_here",
            Self::Wire(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::HostNotFound { .. }
            | Self::NoRoute { .. }
            | Self::NoAnswer { .. }
            | Self::WebSocket { .. }
            | Self::Full { .. } => true,
            Self::Refused(refusal) => *refusal != Refusal::Denied,
            Self::Wire(error) => error.retry_helps(),
            Self::Address(_) | Self::Certificate { .. } | Self::Family { .. } | Self::Stopped => {
                false
            }
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoAnswer { .. } => Some(
                "from here a wrong seed, a wrong clock, another version, a firewall and a peer \
                 that is not there look the same: compare seeds, clocks, versions and the address, \
                 and see whom the other side turned away and why (`stt receive` says so, \
                 `Node::stats` counts what was dropped)",
            ),
            Self::Address(error) => error.hint(),
            Self::NoRoute { .. } => {
                Some("connect this machine to the network, or correct the address")
            }
            Self::Certificate { .. } => Some(
                "compare name and clock; a certificate that the system does not know is trusted by \
                 `NodeBuilder::trust_certificate`",
            ),
            Self::WebSocket { .. } => Some(
                "a peer answers like a web server without that page unless it holds the same seed \
                 and listens for WebSockets",
            ),
            Self::Family { .. } => Some("start the node on host `::` for IPv6, `0.0.0.0` for IPv4"),
            Self::Refused(Refusal::NotAccepting) => {
                Some("start the peer in server mode, or let it accept sessions again")
            }
            Self::Wire(error) => error.hint(),
            _ => None,
        }
    }
}
