//! What is wrong with bytes that are not those that were stored.

use std::fmt;

use stc::Cause;

use crate::ContentId;

/// How something is damaged; the end of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A part is not there.
    #[error("{0} is missing")]
    Missing(DamagedPart),
    /// A part has fewer bytes than it must have.
    #[error("{0} is too short")]
    TooShort(DamagedPart),
    /// A part is as long as nothing of its kind is.
    #[error("{part} has {have} bytes instead of {expected}")]
    Length {
        /// Which part.
        part: DamagedPart,
        /// Bytes there are.
        have: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// A part has no form that it can have.
    #[error("{0} makes no sense")]
    Malformed(DamagedPart),
    /// A part is of a kind that this program does not know.
    #[error("{0} is one that this program does not know")]
    Unknown(DamagedPart),
    /// A part is not what was written: its tag or its checksum does not fit.
    #[error("{0} does not verify")]
    Unverified(DamagedPart),
    /// It is whole, and belongs in another place.
    #[error("it belongs elsewhere")]
    Misplaced,
    /// It was put in the place of another one while that was read.
    #[error("it was replaced while it was read")]
    Replaced,
    /// A list comes in another order than it must.
    #[error("it is out of order")]
    OutOfOrder,
    /// It points beyond the end of its log.
    #[error("it stands beyond the end of its log")]
    BeyondEnd,
    /// A name does not keep the content that it points to.
    #[error("it does not keep its content")]
    KeepsNothing,
    /// The cipher refused what was to be encrypted.
    #[error("the cipher refused it")]
    Refused,
    /// What a file system or a database said about its own structures.
    #[error("{0}")]
    Reported(#[source] Cause),
}

/// Which part of something is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamagedPart {
    /// All of it.
    Whole,
    /// Its bytes in the index.
    Bytes,
    /// The file that holds it.
    File,
    /// The object that holds it.
    Object,
    /// The bytes at the front.
    Header,
    /// The bytes at the end.
    Footer,
    /// The form that a footer states.
    Form,
    /// The cipher that a footer states.
    Cipher,
    /// The size of chunks that a footer states.
    ChunkSize,
    /// Its hash, which is its id.
    Hash,
    /// The name it lies under.
    Name,
    /// The version it states.
    Version,
    /// The count of what is free.
    FreeSpace,
    /// A chunk, counted from 0.
    Chunk(u64),
    /// A record, by its offset.
    Record(u64),
    /// The content that it points to.
    Content(ContentId),
    /// Some message of a stream.
    Message,
    /// The last message of a stream.
    LastMessage,
}

impl fmt::Display for DamagedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "it",
            Self::Bytes => "its entry in the index",
            Self::File => "its file",
            Self::Object => "its object",
            Self::Header => "its header",
            Self::Footer => "its footer",
            Self::Form => "its form",
            Self::Cipher => "its cipher",
            Self::ChunkSize => "the size of its chunks",
            Self::Hash => "its hash",
            Self::Name => "its name",
            Self::Version => "its version",
            Self::FreeSpace => "the count of its free space",
            Self::Chunk(number) => return write!(f, "chunk {number}"),
            Self::Record(offset) => return write!(f, "record {offset}"),
            Self::Content(id) => return write!(f, "its content {id}"),
            Self::Message => "a message",
            Self::LastMessage => "its last message",
        })
    }
}
