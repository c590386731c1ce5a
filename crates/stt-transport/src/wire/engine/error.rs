//! Why a connection or one of its streams is over, without the engine's types.

use quinn_proto::{ConnectionError as Engine, TransportErrorCode};
use stc::Cause;
use thiserror::Error;

use crate::close_reason::CloseReason;

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(transparent)]
pub struct ConnectionError(Engine);

impl ConnectionError {
    pub(crate) const fn new(error: Engine) -> Self {
        Self(error)
    }

    pub(crate) const fn engine(&self) -> &Engine {
        &self.0
    }

    /// The code and the reason with which the peer closed it.
    #[must_use]
    pub fn closed_by_peer(&self) -> Option<(u64, &[u8])> {
        match &self.0 {
            Engine::ApplicationClosed(close) => {
                Some((close.error_code.into_inner(), &close.reason))
            }
            _ => None,
        }
    }

    /// Whether this side closed it.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self.0, Engine::LocallyClosed)
    }

    /// What it means for the session; `None` when this side closed it, which knows why.
    #[must_use]
    pub fn reason(&self) -> Option<CloseReason> {
        Some(match &self.0 {
            Engine::ApplicationClosed(close) => {
                CloseReason::from_wire(close.error_code.into_inner(), &close.reason)
            }
            Engine::LocallyClosed => return None,
            Engine::TimedOut | Engine::Reset => CloseReason::Timeout,
            Engine::TransportError(error) if is_proof(error.code) => CloseReason::AuthFailure,
            Engine::TransportError(error) => CloseReason::Protocol { cause: error.clone().into() },
            Engine::ConnectionClosed(close) if is_proof(close.error_code) => {
                CloseReason::AuthFailure
            }
            Engine::ConnectionClosed(close) => {
                CloseReason::Protocol { cause: Cause::text(format!("the peer says: {close}")) }
            }
            error @ (Engine::VersionMismatch | Engine::CidsExhausted) => {
                CloseReason::Protocol { cause: error.clone().into() }
            }
        })
    }
}

/// Whether the code says that a proof did not verify: CRYPTO_ERROR, KEY_UPDATE_ERROR or
/// AEAD_LIMIT_REACHED (RFC 9000, section 20.1).
fn is_proof(code: TransportErrorCode) -> bool {
    matches!(u64::from(code), 0x0e | 0x0f | 0x0100..=0x01ff)
}

/// Why nothing more can be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The peer gave the stream up.
    #[error("the peer gave it up, code {0}")]
    Reset(u64),
    /// The connection is over.
    #[error("the connection is over: {0}")]
    Lost(#[from] ConnectionError),
    /// The stream was read to its end, or stopped.
    #[error("the stream was read to its end, or stopped")]
    Closed,
}

/// Why nothing more can be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The peer wants no more of the stream.
    #[error("the peer wants no more of it, code {0}")]
    Stopped(u64),
    /// The connection is over.
    #[error("the connection is over: {0}")]
    Lost(#[from] ConnectionError),
    /// The stream was finished or reset.
    #[error("the stream was finished or reset")]
    Closed,
}

/// Why a datagram cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DatagramError {
    /// The peer takes no datagrams.
    #[error("the peer takes no datagrams")]
    Unsupported,
    /// The datagram is longer than the path carries.
    #[error("the datagram is longer than the path carries")]
    TooLarge,
    /// The connection is over.
    #[error("the connection is over: {0}")]
    Lost(ConnectionError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_broken_proofs_are_told_from_other_broken_rules() {
        for code in [
            TransportErrorCode::crypto(0x28),
            TransportErrorCode::KEY_UPDATE_ERROR,
            TransportErrorCode::AEAD_LIMIT_REACHED,
        ] {
            assert!(is_proof(code), "{code}");
        }
        for code in [TransportErrorCode::NO_ERROR, TransportErrorCode::PROTOCOL_VIOLATION] {
            assert!(!is_proof(code), "{code}");
        }
    }
}
