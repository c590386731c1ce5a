//! Why a stream's chunk was not sealed or opened.

use crate::{Coded, RecordError, SeedError, random::RandomError};

/// Why a chunk was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// More bytes than a chunk holds.
    #[error("a chunk of {got} bytes was given; {} are the most", super::MAX_CHUNK)]
    TooLarge {
        /// Bytes given.
        got: usize,
    },
    /// The header is not one.
    #[error("the chunk's header is invalid")]
    Header,
    /// Header and ciphertext do not belong together.
    #[error("the chunk has {got} bytes of ciphertext, and its header says {expected}")]
    Length {
        /// Bytes that the header asks for.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// The chunk did not verify: another seed or role, or changed on the way.
    #[error("the chunk did not verify: another seed or role, or changed on the way")]
    Forged,
    /// The chunk was opened before.
    #[error("chunk {sequence} was opened before")]
    Replayed {
        /// Its number.
        sequence: u32,
    },
    /// The chunk is older than what the receiver still remembers.
    #[error("chunk {sequence} is too old to tell whether it was opened before")]
    TooOld {
        /// Its number.
        sequence: u32,
    },
    /// The receiver accepts one sender only, and this is another.
    #[error("the chunk is from another sender than the one expected")]
    OtherSender,
    /// A setting is out of range.
    #[error("{knob} is {got}; allowed are {least} to {most}")]
    OutOfRange {
        /// Which setting.
        knob: &'static str,
        /// Its value.
        got: u64,
        /// Least value.
        least: u64,
        /// Most value.
        most: u64,
    },
    /// Stream metadata that is none, or of another version.
    #[error("this is no stream metadata of this version")]
    Metadata,
    /// Saved marks that cannot be read.
    #[error("the saved marks cannot be used")]
    Marks(#[source] RecordError),
    /// The seed gives no root key.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl Coded for ChunkError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "chunk.too_large",
            Self::Header => "chunk.header",
            Self::Length { .. } => "chunk.length",
            Self::Forged => "chunk.forged",
            Self::Replayed { .. } => "chunk.replayed",
            Self::TooOld { .. } => "chunk.too_old",
            Self::OtherSender => "chunk.other_sender",
            Self::OutOfRange { .. } => "chunk.setting",
            Self::Metadata => "chunk.metadata",
            Self::Marks(error) => error.code(),
            Self::Seed(error) => error.code(),
            Self::Random(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Seed(error) => error.retry_helps(),
            Self::Random(error) => error.retry_helps(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Seed(error) => error.hint(),
            Self::Random(error) => error.hint(),
            Self::TooLarge { .. } => Some("send it as several chunks"),
            _ => None,
        }
    }
}
