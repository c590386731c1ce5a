//! Why a session ended, and how that is said on the wire.

use std::{borrow::Cow, error::Error, fmt};

use stc::Cause;

/// Why a session ended.
///
/// It travels as the application error code of QUIC's CONNECTION_CLOSE (docs/streams.md,
/// CLOSE-1), so the peer sees it too. The texts of a peer are its own words: clean them before they
/// reach a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// One side called `close`, with a text for the other.
    Closed {
        /// Whether it was the peer.
        by_peer: bool,
        /// What was given as the reason, at most [`CloseReason::MAX_TEXT`] bytes of UTF-8.
        text: String,
    },
    /// One side's node was stopped.
    Shutdown {
        /// Whether it was the peer's.
        by_peer: bool,
    },
    /// The peer did not want this session.
    Refused(Refusal),
    /// A proof did not verify, or a message of the handshake was tampered with.
    AuthFailure,
    /// Nothing authentic arrived for too long.
    Timeout,
    /// One side broke a rule of the protocol.
    Protocol {
        /// Which, or the error that says so; the `source()` of this.
        cause: Cause,
    },
}

/// Why a peer that holds the seed refused a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not accepting sessions.
    NotAccepting,
    /// It does not want this node.
    Denied,
    /// It has as many sessions as it may.
    Full,
}

impl CloseReason {
    /// Longest text that travels with a close, in bytes.
    pub const MAX_TEXT: usize = 256;

    /// The application error code and the text that travel with it (docs/streams.md, CLOSE-1). For
    /// the crate `stt`.
    #[doc(hidden)]
    #[must_use]
    pub fn to_wire(&self) -> (u32, Cow<'_, str>) {
        match self {
            Self::Closed { text, .. } => (0x00, cut(text, Self::MAX_TEXT).into()),
            Self::Shutdown { .. } => (0x01, "".into()),
            Self::Protocol { cause } => {
                (0x02, cut(&cause.to_string(), Self::MAX_TEXT).to_owned().into())
            }
            Self::AuthFailure => (0x03, "".into()),
            Self::Refused(refusal) => (refusal.wire_code(), "".into()),
            Self::Timeout => (0x04, "".into()),
        }
    }

    /// What the peer said with an application error code and a text. For the crate `stt`.
    #[doc(hidden)]
    #[must_use]
    pub fn from_wire(code: u64, text: &[u8]) -> Self {
        let text = || {
            let text = String::from_utf8_lossy(text);
            cut(&text, Self::MAX_TEXT).to_owned()
        };
        match code {
            0x00 => Self::Closed { by_peer: true, text: text() },
            0x01 => Self::Shutdown { by_peer: true },
            0x02 => Self::Protocol { cause: Cause::text(format!("the peer says: {}", text())) },
            0x03 => Self::AuthFailure,
            0x04 => Self::Timeout,
            code => match Refusal::from_wire_code(code) {
                Some(refusal) => Self::Refused(refusal),
                None => {
                    let what = format!("the peer closed with unknown code {code}");
                    Self::Protocol { cause: Cause::text(what) }
                }
            },
        }
    }

    /// The stable word for it: `closed`, `shutdown`, `refused`, `auth_failure`, `timeout`,
    /// `protocol`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Shutdown { .. } => "shutdown",
            Self::Refused(_) => "refused",
            Self::AuthFailure => "auth_failure",
            Self::Timeout => "timeout",
            Self::Protocol { .. } => "protocol",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = |by_peer: &bool| if *by_peer { "the peer" } else { "this side" };
        match self {
            Self::Closed { by_peer, text } if text.is_empty() => {
                write!(f, "closed by {}", who(by_peer))
            }
            Self::Closed { by_peer, text } => write!(f, "closed by {}: {text}", who(by_peer)),
            Self::Shutdown { by_peer } => write!(f, "{} was stopped", who(by_peer)),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::AuthFailure => f.write_str("a proof of the handshake did not verify"),
            Self::Timeout => f.write_str("nothing arrived from the peer for too long"),
            Self::Protocol { cause } => write!(f, "a rule of the protocol was broken: {cause}"),
        }
    }
}

impl Error for CloseReason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Protocol { cause } => Some(&**cause),
            _ => None,
        }
    }
}

impl Refusal {
    /// Its application error code on the wire (docs/streams.md, CLOSE-1).
    #[must_use]
    pub const fn wire_code(self) -> u32 {
        match self {
            Self::NotAccepting => 0x10,
            Self::Denied => 0x11,
            Self::Full => 0x12,
        }
    }

    /// The refusal with that code.
    #[must_use]
    pub const fn from_wire_code(code: u64) -> Option<Self> {
        match code {
            0x10 => Some(Self::NotAccepting),
            0x11 => Some(Self::Denied),
            0x12 => Some(Self::Full),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAccepting => "the peer is not accepting sessions",
            Self::Denied => "the peer does not allow this node",
            Self::Full => "the peer has as many sessions as it may",
        })
    }
}

/// At most `max` bytes of `text`, whole characters only.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_sees_the_reason_from_its_own_side() {
        let closed = CloseReason::Closed { by_peer: false, text: "done".into() };
        let (code, text) = closed.to_wire();
        assert_eq!(
            CloseReason::from_wire(code.into(), text.as_bytes()),
            CloseReason::Closed { by_peer: true, text: "done".into() }
        );
        for refusal in [Refusal::NotAccepting, Refusal::Denied, Refusal::Full] {
            let refused = CloseReason::Refused(refusal);
            let (code, text) = refused.to_wire();
            assert_eq!(CloseReason::from_wire(code.into(), text.as_bytes()), refused);
        }
    }

    #[test]
    fn a_broken_rule_keeps_the_error_that_says_so() {
        let refused = std::io::Error::from(std::io::ErrorKind::InvalidData);
        let reason = CloseReason::Protocol { cause: refused.into() };
        let source = reason.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(source.kind(), std::io::ErrorKind::InvalidData);
        let (code, text) = reason.to_wire();
        assert_eq!((code, &*text), (0x02, &*source.to_string()));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "ä".repeat(CloseReason::MAX_TEXT);
        let closed = CloseReason::Closed { by_peer: false, text };
        assert_eq!(closed.to_wire().1.len(), CloseReason::MAX_TEXT);
        let hostile = [0xff; 1_000];
        let CloseReason::Closed { text, .. } = CloseReason::from_wire(0, &hostile) else {
            panic!()
        };
        assert!(text.len() <= CloseReason::MAX_TEXT);
    }
}
