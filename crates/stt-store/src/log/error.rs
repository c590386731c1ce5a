//! Why a log refused something.

use super::Position;
use crate::StoreError;

/// Why an operation on a log failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The position belongs to records that this log does not hold: an older copy of its files was
    /// put back, it was made anew, or it was opened more than 250 times since.
    #[error("{asked} is no position of this log; it agrees with it up to {common} at most")]
    EpochChanged {
        /// What was asked for.
        asked: Position,
        /// Up to here, or earlier, both histories are the same.
        common: Position,
    },
    /// Retention has removed the records that were asked for.
    #[error("the records from {asked} to {oldest} were removed by retention")]
    Trimmed {
        /// Offset of the first record asked for.
        asked: u64,
        /// Offset of the first record that is still there.
        oldest: u64,
    },
    /// A record, or the records of one call together, are larger than allowed.
    #[error("{got} bytes were to be appended; {limit} are allowed")]
    TooLarge {
        /// Bytes given.
        got: usize,
        /// Most bytes.
        limit: usize,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl stc::Coded for LogError {
    fn code(&self) -> &'static str {
        match self {
            Self::EpochChanged { .. } => "log.epoch_changed",
            Self::Trimmed { .. } => "log.trimmed",
            Self::TooLarge { .. } => "log.too_large",
            Self::Store(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Store(error) => error.retry_helps(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::EpochChanged { .. } => Some("start again from the common position or earlier"),
            Self::Trimmed { .. } => Some("go on with the oldest record, or keep records longer"),
            Self::TooLarge { .. } => Some("store it in the chamber, and log its id"),
            Self::Store(error) => error.hint(),
        }
    }
}
