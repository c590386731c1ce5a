//! Why a protocol's stream could not do what was asked.

use std::io;

use crate::{StreamError, session::code, stream::label::Label};

/// Why opening, handling, or using a protocol's stream failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A label has 1 to 64 bytes.
    #[error("a label has 1 to 64 bytes, not {len}")]
    Label {
        /// The bytes that it has.
        len: usize,
    },
    /// The peer knows no streams with labels: it is of the first version.
    #[error("the peer knows no streams with labels, so not the protocol '{label}' either")]
    Unsupported {
        /// The label, other than ASCII escaped.
        label: String,
    },
    /// The peer has no handler for the label.
    #[error("nobody handles the protocol '{label}' at the peer")]
    Unknown {
        /// The label, other than ASCII escaped.
        label: String,
    },
    /// This side or the peer has as many streams for the label as there may be.
    #[error("there are too many streams of the protocol '{label}'")]
    TooMany {
        /// The label, other than ASCII escaped.
        label: String,
    },
    /// This node has a handler for the label already.
    #[error("the protocol '{label}' has a handler already")]
    Taken {
        /// The label, other than ASCII escaped.
        label: String,
    },
    /// This node has as many handlers as it may.
    #[error("the node has {max} protocol handlers, which is the most it may have")]
    TooManyHandlers {
        /// The limit.
        max: usize,
    },
    /// The stream itself.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl ProtocolError {
    /// What `error` means on a stream of `label`.
    pub(crate) fn explain(label: Label, error: StreamError) -> Self {
        let StreamError::Reset { code, .. } = &error else { return Self::Stream(error) };
        let is = |known: u32| *code == u64::from(known);
        let label = || label.to_string();
        if is(code::HEADER) {
            Self::Unsupported { label: label() }
        } else if is(code::UNKNOWN_LABEL) {
            Self::Unknown { label: label() }
        } else if is(code::TOO_MANY) {
            Self::TooMany { label: label() }
        } else {
            Self::Stream(error)
        }
    }
}

impl stc::Coded for ProtocolError {
    fn code(&self) -> &'static str {
        match self {
            Self::Label { .. } => "protocol.label",
            Self::Unsupported { .. } => "protocol.unsupported",
            Self::Unknown { .. } => "protocol.unknown",
            Self::TooMany { .. } => "protocol.too_many",
            Self::Taken { .. } => "protocol.taken",
            Self::TooManyHandlers { .. } => "protocol.too_many_handlers",
            Self::Stream(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::TooMany { .. } => true,
            Self::Stream(error) => error.retry_helps(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Label { .. } => Some("choose a short name, like \"chat/1\""),
            Self::Unsupported { .. } => Some("update the other side"),
            Self::Unknown { .. } => Some("call Node::handle_protocol with this label at the peer"),
            Self::TooMany { .. } => Some("end streams that are done"),
            Self::Taken { .. } => Some("drop the guard of the handler before"),
            Self::TooManyHandlers { .. } => Some("drop the guards of handlers that are done"),
            Self::Stream(error) => error.hint(),
        }
    }
}

impl From<ProtocolError> for io::Error {
    fn from(error: ProtocolError) -> Self {
        let kind = match error {
            ProtocolError::Stream(error) => return error.into(),
            ProtocolError::Label { .. } => io::ErrorKind::InvalidInput,
            ProtocolError::Unsupported { .. } => io::ErrorKind::Unsupported,
            ProtocolError::Unknown { .. } => io::ErrorKind::ConnectionRefused,
            ProtocolError::TooMany { .. } | ProtocolError::TooManyHandlers { .. } => {
                io::ErrorKind::WouldBlock
            }
            ProtocolError::Taken { .. } => io::ErrorKind::AddrInUse,
        };
        Self::new(kind, error)
    }
}
