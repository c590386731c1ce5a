//! Why there is no session.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use quinn_proto::{ConnectError, ConnectionError, TransportErrorCode};
use stc::{Cause, Coded, random::RandomError};

use super::{connect_attempts::Verdict, handshake::HandshakeError};
use crate::close_reason::Refusal;

/// What to do when another program has the port.
pub const PORT_IN_USE: &str = "choose another port, or 0 for a random free one";

/// Why a socket was not opened or a session not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Another program uses the port.
    #[error("port {} of {} is in use", address.port(), address.ip())]
    PortInUse {
        /// Address asked for.
        address: SocketAddr,
    },
    /// The system gave no socket.
    #[error("no socket on {address}: {reason}")]
    Bind {
        /// Address asked for.
        address: SocketAddr,
        /// The system's words.
        #[source]
        reason: Cause,
    },
    /// The log of used knocks cannot be read or written.
    #[error("the log of knocks {} cannot be used: {reason}", path.display())]
    KnockLog {
        /// Where it is.
        path: PathBuf,
        /// The system's words.
        #[source]
        reason: Cause,
    },
    /// Devices without a clock were to be let in without a log of knocks.
    #[error("letting devices without a clock in needs a log of knocks")]
    NeedsKnockLog,
    /// Nothing can be sent to such an address.
    #[error("{address} is no address that can be connected to")]
    Address {
        /// The address.
        address: SocketAddr,
    },
    /// This side found something wrong with the handshake.
    #[error("{0}")]
    Handshake(HandshakeError),
    /// The peer found something wrong with it.
    #[error("the peer ended the handshake: {0}")]
    PeerHandshake(HandshakeError),
    /// The peer is a member and doesn't want this session.
    #[error("{0}")]
    Refused(Refusal),
    /// Nobody answered, or the peer fell silent.
    #[error("nothing arrived from {address}")]
    NoAnswer {
        /// Who was asked.
        address: SocketAddr,
    },
    /// The peer ended the session with a code of its own.
    #[error("the peer closed the session with code {code}")]
    PeerClosed {
        /// Its code.
        code: u64,
    },
    /// The peer gave the handshake up before it was complete: it is stopping, or has too much to
    /// do.
    #[error("the peer gave the handshake up: it is stopping, or has too much to do")]
    PeerGaveUp,
    /// A side broke a rule of QUIC.
    #[error("a rule of the transport was broken: {reason}")]
    Transport {
        /// The engine's words.
        #[source]
        reason: Cause,
    },
    /// The wire was shut down.
    #[error("the node was stopped")]
    Closed,
    /// The system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A time lies outside of its range.
    #[error("{setting} is {got:?}; {least:?} to {most:?} are allowed")]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        got: Duration,
        /// The least.
        least: Duration,
        /// The most.
        most: Duration,
    },
    /// A number lies outside of its range.
    #[error("{setting} is {got}; {least} to {most} are allowed")]
    NumberOutOfRange {
        /// Which setting.
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
}

impl Coded for WireError {
    fn code(&self) -> &'static str {
        match self {
            Self::PortInUse { .. } => "node.port_in_use",
            Self::Bind { .. } => "wire.bind",
            Self::KnockLog { .. } => "wire.knock_log",
            Self::NeedsKnockLog => "wire.needs_knock_log",
            Self::Address { .. } => "wire.address",
            Self::Handshake(error) => handshake_code(*error),
            Self::PeerHandshake(_) => "wire.peer_handshake",
            Self::Refused(Refusal::NotAccepting) => "wire.refused_not_accepting",
            Self::Refused(Refusal::Denied) => "wire.refused_denied",
            Self::Refused(Refusal::Full) => "wire.refused_full",
            Self::NoAnswer { .. } => "wire.no_answer",
            Self::PeerClosed { .. } => "wire.peer_closed",
            Self::PeerGaveUp => "wire.peer_gave_up",
            Self::Transport { .. } => "wire.transport",
            Self::Closed => "wire.closed",
            Self::Random(error) => error.code(),
            Self::OutOfRange { .. } | Self::NumberOutOfRange { .. } => "node.out_of_range",
            Self::Certificate { .. } => "node.certificate",
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::PortInUse { .. }
            | Self::NoAnswer { .. }
            | Self::PeerGaveUp
            | Self::Refused(Refusal::NotAccepting | Refusal::Full) => true,
            Self::Handshake(error) | Self::PeerHandshake(error) => {
                *error == HandshakeError::Tampered
            }
            Self::Random(error) => error.retry_helps(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::PortInUse { .. } => Some(PORT_IN_USE),
            Self::NoAnswer { .. } => Some(
                "a wrong address, a wrong seed, a clock that is off by minutes, another version \
                 and a firewall look the same from here; the peer's `dropped` counters tell them \
                 apart",
            ),
            Self::Handshake(HandshakeError::WrongPeer) => {
                Some("another member answers at this address; ask the peer for its node id")
            }
            Self::Handshake(HandshakeError::Version | HandshakeError::Suite)
            | Self::PeerHandshake(HandshakeError::Version | HandshakeError::Suite) => {
                Some("one side needs an update")
            }
            Self::Random(error) => error.hint(),
            _ => None,
        }
    }
}

const fn handshake_code(error: HandshakeError) -> &'static str {
    match error {
        HandshakeError::Tampered => "wire.tampered",
        HandshakeError::Malformed => "wire.malformed",
        HandshakeError::OutOfTurn => "wire.out_of_turn",
        HandshakeError::Version => "wire.version",
        HandshakeError::Suite => "wire.suite",
        HandshakeError::LowOrderKey => "wire.low_order_key",
        HandshakeError::UnsignedKey => "wire.unsigned_key",
        HandshakeError::WrongPeer => "wire.wrong_peer",
        HandshakeError::Internal => "wire.internal",
    }
}

impl WireError {
    pub(crate) fn bind(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse { address },
            _ => Self::Bind { address, reason: error.into() },
        }
    }

    pub(crate) fn connect(address: SocketAddr, error: &ConnectError) -> Self {
        match error {
            ConnectError::InvalidRemoteAddress(_) => Self::Address { address },
            ConnectError::EndpointStopping => Self::Closed,
            other => Self::Transport { reason: other.clone().into() },
        }
    }

    /// What it means for other attempts at the same session.
    pub(super) const fn verdict(&self) -> Verdict {
        match self {
            Self::NoAnswer { .. }
            | Self::PeerClosed { .. }
            | Self::PeerGaveUp
            | Self::Transport { .. } => Verdict::OfThisOne,
            _ => Verdict::Final,
        }
    }

    /// What the end of a connection to `address` means while it is being made.
    pub(crate) fn connection(address: SocketAddr, error: &ConnectionError) -> Self {
        match error {
            ConnectionError::TransportError(error) => alert(error.code.into())
                .map_or_else(|| Self::Transport { reason: error.clone().into() }, Self::Handshake),
            // What an application says before the handshake is complete (RFC 9000, section 10.2.3).
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::APPLICATION_ERROR =>
            {
                Self::PeerGaveUp
            }
            ConnectionError::ConnectionClosed(close) => alert(close.error_code.into()).map_or_else(
                || Self::Transport { reason: Cause::text(close.to_string()) },
                Self::PeerHandshake,
            ),
            ConnectionError::ApplicationClosed(close) => {
                let code = close.error_code.into_inner();
                Refusal::from_wire_code(code).map_or(Self::PeerClosed { code }, Self::Refused)
            }
            ConnectionError::TimedOut | ConnectionError::Reset => Self::NoAnswer { address },
            ConnectionError::LocallyClosed => Self::Closed,
            other => Self::Transport { reason: other.clone().into() },
        }
    }
}

/// The handshake error inside of a CRYPTO_ERROR (RFC 9000, section 20.1).
fn alert(code: u64) -> Option<HandshakeError> {
    code.checked_sub(0x100).and_then(HandshakeError::from_alert)
}
