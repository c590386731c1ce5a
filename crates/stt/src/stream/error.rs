//! Why a stream could not do what was asked.

use crate::{CloseReason, SessionId};

/// Why sending or receiving on a stream failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The message is longer than the stream's `max_frame_size`. Nothing of it was sent; the stream
    /// goes on.
    #[error("the message has {len} bytes, this stream takes at most {max}")]
    FrameTooLarge {
        /// Its length in bytes.
        len: u64,
        /// The stream's `max_frame_size`.
        max: u64,
    },
    /// This direction was closed here before.
    #[error("stream {id} is closed for sending")]
    Closed {
        /// Its number.
        id: u32,
    },
    /// The peer gave up this direction.
    #[error("the peer gave up stream {id} (code {code})")]
    Reset {
        /// Its number.
        id: u32,
        /// The application's code.
        code: u64,
    },
    /// Messages were asked of a direction that carries raw bytes, or the other way round.
    #[error("this direction of stream {id} carries {}", if *raw { "raw bytes, not messages" } else { "messages, not raw bytes" })]
    Kind {
        /// Its number.
        id: u32,
        /// Whether it carries raw bytes.
        raw: bool,
    },
    /// The peer's bytes are no valid messages.
    #[error("the peer broke a rule on stream {id}: {rule}")]
    Protocol {
        /// Its number.
        id: u32,
        /// Which rule.
        rule: &'static str,
    },
    /// A message with a deadline found no place before it passed, because too many were on their way.
    #[error("a message on stream {id} was not sent within {} ms", within.as_millis())]
    Late {
        /// Its number.
        id: u32,
        /// The time that it had.
        within: std::time::Duration,
    },
    /// There are as many streams in this session as there may be.
    #[error("the session has {max} streams open, which is the most it may have")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The stream's queue is full: the peer does not read, or the path is slow.
    #[error("the queue of stream {id} is full")]
    Full {
        /// Its number.
        id: u32,
    },
    /// A repair-coded message is longer than can be sent that way.
    #[error("a message of {len} bytes is longer than the {max} that fit into datagrams here")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// Most bytes on this path.
        max: usize,
    },
    /// The path carries no datagram that is large enough for a part of a repair-coded message.
    #[error("the path carries datagrams of {got} bytes, {need} are needed")]
    PathTooNarrow {
        /// Bytes that a datagram may have.
        got: usize,
        /// Bytes that are needed.
        need: usize,
    },
    /// This node has no live session with this id.
    #[error("there is no session {id}")]
    UnknownSession {
        /// The id.
        id: SessionId,
    },
    /// The session is over.
    #[error("the session is over: {0}")]
    SessionEnded(#[source] CloseReason),
}

impl StreamError {
    /// Codes of all variants, as `docs/errors.md` lists them.
    pub const CODES: &'static [&'static str] = &[
        "stream.frame_too_large",
        "stream.closed",
        "stream.reset",
        "stream.kind",
        "stream.protocol",
        "stream.late",
        "stream.too_many",
        "stream.full",
        "delivery.too_long",
        "delivery.path_too_narrow",
        "stream.unknown_session",
        "stream.session_ended",
    ];
}

impl stc::Coded for StreamError {
    fn code(&self) -> &'static str {
        match self {
            Self::FrameTooLarge { .. } => "stream.frame_too_large",
            Self::Closed { .. } => "stream.closed",
            Self::Reset { .. } => "stream.reset",
            Self::Kind { .. } => "stream.kind",
            Self::Protocol { .. } => "stream.protocol",
            Self::Late { .. } => "stream.late",
            Self::TooMany { .. } => "stream.too_many",
            Self::Full { .. } => "stream.full",
            Self::TooLong { .. } => "delivery.too_long",
            Self::PathTooNarrow { .. } => "delivery.path_too_narrow",
            Self::UnknownSession { .. } => "stream.unknown_session",
            Self::SessionEnded(_) => "stream.session_ended",
        }
    }

    fn retry_helps(&self) -> bool {
        matches!(
            self,
            Self::TooMany { .. }
                | Self::Full { .. }
                | Self::Late { .. }
                | Self::PathTooNarrow { .. }
        )
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::FrameTooLarge { .. } => Some(
                "split the message, or open the stream with a larger max_frame_size on both sides",
            ),
            Self::TooMany { .. } => Some("close streams that are done"),
            Self::Full { .. } => Some("try again later, or use `send`, which waits"),
            Self::TooLong { .. } => Some("split the message, or send it on a reliable stream"),
            Self::PathTooNarrow { .. } => Some("use a reliable stream on this path"),
            Self::UnknownSession { .. } => Some("connect again, and use the id of that session"),
            Self::SessionEnded(_) => Some("connect again"),
            _ => None,
        }
    }
}

impl From<StreamError> for std::io::Error {
    fn from(error: StreamError) -> Self {
        use std::io::ErrorKind;
        let kind = match &error {
            StreamError::Closed { .. } => ErrorKind::BrokenPipe,
            StreamError::Reset { .. } => ErrorKind::ConnectionReset,
            StreamError::SessionEnded(_) => ErrorKind::ConnectionAborted,
            StreamError::TooMany { .. } | StreamError::Full { .. } => ErrorKind::WouldBlock,
            StreamError::Late { .. } => ErrorKind::TimedOut,
            _ => ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
