//! What can go wrong with managed streams, and what to do about each class of failure.

use std::{fmt, time::Duration};

use crate::{Trigger, transport::TransportError};

/// How a failure is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Retried.
    Transient,
    /// Not retried; logged and reported.
    Permanent,
    /// Retried, with backoff.
    Timeout,
    /// Backpressure: the caller waits or sends less.
    ResourceExhausted,
}

impl ErrorClass {
    /// All classes, in the order of their counters.
    pub const ALL: [Self; 4] =
        [Self::Transient, Self::Permanent, Self::Timeout, Self::ResourceExhausted];

    /// Whether the failed operation is tried again by itself.
    #[must_use]
    pub fn is_retried(self) -> bool {
        matches!(self, Self::Transient | Self::Timeout)
    }
}

/// The status that a gateway answers with; the numbers are those of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum StatusCode {
    /// The stream was closed.
    Cancelled = 1,
    /// A value is not allowed.
    InvalidArgument = 3,
    /// A time ran out.
    DeadlineExceeded = 4,
    /// There is no such id.
    NotFound = 5,
    /// The id is taken.
    AlreadyExists = 6,
    /// A limit is reached.
    ResourceExhausted = 8,
    /// The state does not allow it.
    FailedPrecondition = 9,
    /// The operation was given up by the other side.
    Aborted = 10,
    /// It failed for good.
    Internal = 13,
    /// It may work later.
    Unavailable = 14,
}

/// Why an operation on managed streams failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// A stream or subscriber of that id is there already.
    #[error("{id:?} already exists")]
    AlreadyExists {
        /// The id.
        id: String,
    },
    /// There is no stream or subscriber of that id.
    #[error("there is no {id:?}")]
    NotFound {
        /// The id.
        id: String,
    },
    /// The id is empty or too long.
    #[error("an id has 1 to {max} bytes, this one {got}")]
    Id {
        /// Its length in bytes.
        got: usize,
        /// The longest allowed.
        max: usize,
    },
    /// The stream was closed by one of the two sides.
    #[error("stream is closed")]
    Closed,
    /// The peer sent an error instead of a message; the stream goes on.
    #[error("the peer reports: {text}")]
    Peer {
        /// Its words: clean them before they reach a terminal.
        text: String,
    },
    /// Too much is waiting.
    #[error("backpressure detected: {trigger}")]
    Backpressure {
        /// What there is too much of.
        trigger: Trigger,
    },
    /// There are as many streams or subscribers as there may be.
    #[error("there are {max} already, which is the most there may be")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// A message is longer than this side or the peer takes.
    #[error("the message has {len} bytes, at most {max} are taken")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// All retries failed.
    #[error("max retries exceeded after {retries}: {cause}")]
    RetriesExhausted {
        /// How many there were.
        retries: u32,
        /// The last failure.
        #[source]
        cause: TransportError,
    },
    /// The transport failed in a way that no retry mends, or there is no way to connect again.
    #[error("the transport failed: {0}")]
    Transport(#[source] TransportError),
    /// The circuit breaker of the destination is open.
    #[error("the circuit to {destination:?} is open")]
    CircuitOpen {
        /// Who is not called for the time being.
        destination: String,
    },
    /// The retry budget is spent: too much of what is sent would be retries.
    #[error("the retry budget is spent; the last failure: {cause}")]
    BudgetSpent {
        /// The last failure.
        #[source]
        cause: TransportError,
    },
    /// No message went either way for the configured time.
    #[error("no message for {} s", after.as_secs_f64())]
    Idle {
        /// The configured time.
        after: Duration,
    },
    /// The peer broke a rule.
    #[error("the peer broke a rule: {rule}")]
    Protocol {
        /// Which.
        rule: &'static str,
    },
    /// The peer lost the stream's state, so what was under way cannot be resumed.
    #[error("the peer no longer knows this stream")]
    PeerRestarted,
    /// A setting is outside its range.
    #[error("{what} is {got}, but {min} to {max} are allowed")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// What was given.
        got: u64,
    },
    /// There is no tokio runtime to run the stream's task.
    #[error("there is no tokio runtime here")]
    NoRuntime,
    /// The system gave no random bytes.
    #[error(transparent)]
    Random(#[from] stc::random::RandomError),
}

impl StreamsError {
    /// How it is treated.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Backpressure { .. } | Self::TooMany { .. } | Self::BudgetSpent { .. } => {
                ErrorClass::ResourceExhausted
            }
            Self::CircuitOpen { .. } => ErrorClass::Transient,
            Self::Idle { .. } => ErrorClass::Timeout,
            Self::RetriesExhausted { cause, .. } | Self::Transport(cause) => cause.class,
            _ => ErrorClass::Permanent,
        }
    }

    /// The status that a gateway answers with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::AlreadyExists { .. } => StatusCode::AlreadyExists,
            Self::NotFound { .. } => StatusCode::NotFound,
            Self::Closed => StatusCode::Cancelled,
            Self::Backpressure { .. } | Self::TooMany { .. } | Self::BudgetSpent { .. } => {
                StatusCode::ResourceExhausted
            }
            Self::Id { .. } | Self::TooLarge { .. } | Self::OutOfRange { .. } => {
                StatusCode::InvalidArgument
            }
            Self::Peer { .. } | Self::PeerRestarted => StatusCode::Aborted,
            Self::CircuitOpen { .. } => StatusCode::Unavailable,
            Self::Transport(cause) if cause.class.is_retried() => StatusCode::Unavailable,
            Self::Idle { .. } => StatusCode::DeadlineExceeded,
            Self::NoRuntime => StatusCode::FailedPrecondition,
            Self::RetriesExhausted { .. }
            | Self::Transport(_)
            | Self::Protocol { .. }
            | Self::Random(_) => StatusCode::Internal,
        }
    }
}

impl stc::Coded for StreamsError {
    fn code(&self) -> &'static str {
        match self {
            Self::AlreadyExists { .. } => "streams.already_exists",
            Self::NotFound { .. } => "streams.not_found",
            Self::Id { .. } => "streams.id",
            Self::Closed => "streams.closed",
            Self::Peer { .. } => "streams.peer",
            Self::Backpressure { .. } => "streams.backpressure",
            Self::TooMany { .. } => "streams.too_many",
            Self::TooLarge { .. } => "streams.too_large",
            Self::RetriesExhausted { .. } => "streams.retries_exhausted",
            Self::Transport(_) => "streams.transport",
            Self::CircuitOpen { .. } => "streams.circuit_open",
            Self::BudgetSpent { .. } => "streams.budget_spent",
            Self::Idle { .. } => "streams.idle",
            Self::Protocol { .. } => "streams.protocol",
            Self::PeerRestarted => "streams.peer_restarted",
            Self::OutOfRange { .. } => "streams.out_of_range",
            Self::NoRuntime => "streams.no_runtime",
            Self::Random(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Random(error) => error.retry_helps(),
            Self::Backpressure { .. }
            | Self::TooMany { .. }
            | Self::RetriesExhausted { .. }
            | Self::CircuitOpen { .. }
            | Self::BudgetSpent { .. } => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::AlreadyExists { .. } => "choose another id, or close the other one first",
            Self::Backpressure { .. } => "wait: `send` does, `try_send` does not",
            Self::TooMany { .. } => "close what is no longer needed",
            Self::TooLarge { .. } => "split the message, or raise max_message_size on both sides",
            Self::RetriesExhausted { .. } | Self::Transport(_) => {
                "see the cause; then open the stream again"
            }
            Self::CircuitOpen { .. } => "the destination failed repeatedly; it is tried again soon",
            Self::BudgetSpent { .. } => "many streams fail at once; look at the destination",
            Self::Idle { .. } => "send something now and then, or raise `timeout`",
            Self::PeerRestarted => "open the stream again; what was not acknowledged may be lost",
            Self::NoRuntime => "call it inside a tokio runtime",
            Self::NotFound { .. } => "see the open ones with `list_streams`",
            Self::Id { .. } => "choose another id",
            Self::Closed => "make a new one",
            Self::Peer { .. } => "see its words",
            Self::Protocol { .. } => "update the older side",
            Self::OutOfRange { .. } => "see the range in the message",
            Self::Random(error) => return error.hint(),
        })
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Timeout => "timeout",
            Self::ResourceExhausted => "resource exhausted",
        })
    }
}
