//! What can go wrong with frames.

/// Why a handler was not registered, or a frame not dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// The type belongs to STT.
    #[error("frame type 0x{frame_type:02x} is reserved: applications have 0x80 to 0xff")]
    Reserved {
        /// The type.
        frame_type: u8,
    },
    /// The type has a handler already.
    #[error("frame type 0x{frame_type:02x} has a handler already")]
    Taken {
        /// The type.
        frame_type: u8,
    },
    /// There is no byte, so no type.
    #[error("a frame has at least one byte, its type")]
    Empty,
    /// The handler panicked. The frame is gone, the handler stays registered.
    #[error("the handler of frame type 0x{frame_type:02x} panicked")]
    Panicked {
        /// The type.
        frame_type: u8,
    },
}

impl stc::Coded for DispatchError {
    fn code(&self) -> &'static str {
        match self {
            Self::Reserved { .. } => "dispatch.reserved",
            Self::Taken { .. } => "dispatch.taken",
            Self::Empty => "dispatch.empty",
            Self::Panicked { .. } => "dispatch.panicked",
        }
    }

    fn retry_helps(&self) -> bool {
        false
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Reserved { .. } => Some("choose a type from 0x80 to 0xff"),
            Self::Taken { .. } => Some("unregister the old handler first"),
            Self::Empty | Self::Panicked { .. } => None,
        }
    }
}
