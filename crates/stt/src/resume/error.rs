//! Why a resumable session did not begin, go on, or take a message.

use std::time::Duration;

use stt_store::log::LogError;

use super::frame::Refused;
use crate::{ConnectError, ProtocolError};

/// Why something about a resumable session failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// A setting lies outside its range.
    #[error("{what} is {got}; allowed are {range}")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// The value.
        got: String,
        /// What is allowed.
        range: String,
    },
    /// A message is longer than allowed.
    #[error("a message of {got} bytes was to be sent; {limit} are allowed")]
    TooLarge {
        /// Its bytes.
        got: usize,
        /// Most bytes.
        limit: usize,
    },
    /// The peer has not committed enough of what was sent.
    #[error("{waiting} bytes wait for the peer to commit them; {limit} are allowed")]
    Full {
        /// Bytes that wait.
        waiting: usize,
        /// Most bytes.
        limit: usize,
    },
    /// This end has said that nothing follows.
    #[error("this end of the session has been closed")]
    Closed,
    /// Both ends were closed, and all is committed.
    #[error("the session is over; nothing is missing")]
    Finished,
    /// The position was not given out by `receive`, or is the peer's end.
    #[error("the message {position} was not received, so it cannot be committed")]
    NotReceived {
        /// The position.
        position: u64,
    },
    /// The peer did not come back in time.
    #[error("the peer did not come back within {lifetime:?}")]
    Expired {
        /// The lifetime of a suspended session.
        lifetime: Duration,
    },
    /// The peer knows nothing of the session: it was started anew, or gave it up long ago.
    #[error("the peer knows nothing of this session any more")]
    Lost,
    /// The peer does not take the ticket.
    #[error("the peer does not take the ticket of this session")]
    Ticket,
    /// The peer has as many resumable sessions as it may.
    #[error("the peer has as many resumable sessions as it may have")]
    PeerFull,
    /// The peer's application gave the session up, or this one's did.
    #[error("the session was given up by {}", if *by_peer { "the peer" } else { "this side" })]
    GivenUp {
        /// Whether the peer did.
        by_peer: bool,
    },
    /// The peer broke a rule of the protocol.
    #[error("the peer broke a rule of resumable sessions: {what}")]
    Broken {
        /// Which.
        what: &'static str,
    },
    /// The peer cannot be reached, and trying again cannot help.
    #[error("the peer cannot be reached: {0}")]
    Connect(std::sync::Arc<ConnectError>),
    /// The peer has the session, and cannot go on with it now.
    #[error("the peer cannot go on with this session now")]
    Away,
    /// This process has let go of the session, which the disk keeps.
    #[error("this process has let go of the session; the disk keeps it")]
    Left,
    /// The `Continuity` was closed.
    #[error("the resumable sessions of this node were closed")]
    NotServing,
    /// The node is somebody else at every start, so that no session can outlive it.
    #[error(
        "sessions that outlive a process need a node that stays the same: set node_seed and \
         persistent_identity(true) on its NodeBuilder"
    )]
    NoIdentity,
    /// The session lies in memory only.
    #[error("this session is kept in memory only; `Continuity::open` keeps sessions on a disk")]
    InMemory,
    /// Only the side that began a session dials.
    #[error("the peer dials for this session, so it has no address here")]
    NotDialled,
    /// What the log of sessions holds makes no sense.
    #[error("the log of sessions is damaged: {what}")]
    LogDamaged {
        /// How.
        what: &'static str,
    },
    /// The log of sessions cannot be read or written.
    #[error("the log of sessions: {0}")]
    Log(std::sync::Arc<LogError>),
    /// The stream that should carry it failed before the session began.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl ResumeError {
    /// Whether the session goes on once its log is opened again.
    pub(super) const fn is_for_later(&self) -> bool {
        matches!(self, Self::Left | Self::Log(_) | Self::LogDamaged { .. })
    }

    pub(super) const fn of_refusal(refused: Refused) -> Self {
        match refused {
            Refused::Unknown => Self::Lost,
            Refused::Ticket => Self::Ticket,
            Refused::Full => Self::PeerFull,
            Refused::Away => Self::Away,
            Refused::Broken => Self::Broken { what: "it says that this side did" },
        }
    }
}

impl stc::Coded for ResumeError {
    fn code(&self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "resume.out_of_range",
            Self::TooLarge { .. } => "resume.too_large",
            Self::Full { .. } => "resume.full",
            Self::Closed => "resume.closed",
            Self::Finished => "resume.finished",
            Self::NotReceived { .. } => "resume.not_received",
            Self::Expired { .. } => "resume.expired",
            Self::Lost => "resume.lost",
            Self::Ticket => "resume.ticket",
            Self::PeerFull => "resume.peer_full",
            Self::GivenUp { .. } => "resume.given_up",
            Self::Broken { .. } => "resume.broken",
            Self::Away => "resume.away",
            Self::Left => "resume.left",
            Self::NotServing => "resume.not_serving",
            Self::NoIdentity => "resume.no_identity",
            Self::InMemory => "resume.in_memory",
            Self::NotDialled => "resume.not_dialled",
            Self::LogDamaged { .. } => "resume.log_damaged",
            Self::Log(error) => error.code(),
            Self::Connect(error) => error.code(),
            Self::Protocol(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Full { .. } | Self::PeerFull | Self::Away => true,
            Self::Log(error) => error.retry_helps(),
            Self::Connect(error) => error.retry_helps(),
            Self::Protocol(error) => error.retry_helps(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Full { .. } => Some("use `send`, which waits, or let the peer commit sooner"),
            Self::TooLarge { .. } => Some("send it as a file, or raise max_message on both sides"),
            Self::Expired { .. } | Self::Lost | Self::Ticket | Self::GivenUp { .. } => {
                Some("take what was not committed with `take_unacknowledged`, and begin anew")
            }
            Self::PeerFull => Some("try again later, or raise max_sessions at the peer"),
            Self::Away => Some("the peer stops or begins just now: try again"),
            Self::Left => Some("open the log again with `Continuity::open`"),
            Self::NotServing => Some("make another `Continuity`"),
            Self::LogDamaged { .. } => {
                Some("put a good copy of the directory back, or begin with an empty one")
            }
            Self::Log(error) => error.hint(),
            Self::Connect(error) => error.hint(),
            Self::Protocol(error) => error.hint(),
            _ => None,
        }
    }
}
