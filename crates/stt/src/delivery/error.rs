//! What can go wrong with delivery.

/// Why a setting was refused, a message not sent, or a packet not taken.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// A number is out of its range.
    #[error("{what} must be {min} to {max}, not {got}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
        /// The value that was given.
        got: f64,
    },
    /// The message is longer than can be sent this way.
    #[error("a message of {got} bytes is longer than the {max} that fit into datagrams here")]
    TooLong {
        /// Bytes of the message.
        got: usize,
        /// Most bytes at this datagram size.
        max: usize,
    },
    /// The path carries no datagram large enough for a header and two bytes.
    #[error("the path carries datagrams of {got} bytes, {need} are needed")]
    PathTooNarrow {
        /// Bytes that a datagram may have.
        got: usize,
        /// Bytes that are needed.
        need: usize,
    },
    /// A packet contradicts itself, a bound, or another packet of its message.
    #[error("a packet of a repair-coded message is malformed")]
    Malformed,
    /// The repair coder refused: its own error, which our checks should have prevented.
    #[error("the repair coder refused the message")]
    Coder,
}

impl stc::Coded for DeliveryError {
    fn code(&self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "delivery.out_of_range",
            Self::TooLong { .. } => "delivery.too_long",
            Self::PathTooNarrow { .. } => "delivery.path_too_narrow",
            Self::Malformed => "delivery.malformed",
            Self::Coder => "delivery.coder",
        }
    }

    fn retry_helps(&self) -> bool {
        matches!(self, Self::PathTooNarrow { .. })
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OutOfRange { .. } => Some("choose a value inside the range"),
            Self::TooLong { .. } => Some("split the message, or send it on a reliable stream"),
            Self::PathTooNarrow { .. } => Some("use a reliable stream on this path"),
            Self::Malformed | Self::Coder => None,
        }
    }
}

/// Checks that `got` is in `min..=max`.
pub(super) fn in_range(
    what: &'static str,
    got: f64,
    min: f64,
    max: f64,
) -> Result<f64, DeliveryError> {
    if (min..=max).contains(&got) {
        Ok(got)
    } else {
        Err(DeliveryError::OutOfRange { what, min, max, got })
    }
}
