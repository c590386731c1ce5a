//! Why an envelope was not made or not opened.

use std::io;

use crate::{Coded, random::RandomError, stretch::StretchError};

/// Why bytes are not an envelope. Nothing secret was needed to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The first bytes are not those of an envelope.
    #[error("this is not an STC envelope")]
    NotAnEnvelope,
    /// A format from another time.
    #[error("the envelope has format version {got}; this program reads version 1")]
    Version {
        /// Version found.
        got: u8,
    },
    /// A field of the header lies outside of its range.
    #[error("the envelope's header is invalid: {field} is {value}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The header wants a stretch outside of what is allowed.
    #[error("the envelope asks for a stretch that is not allowed")]
    Cost(#[source] StretchError),
    /// The bytes end inside of the header.
    #[error("the envelope's header needs {needed} bytes, and there are {got}")]
    HeaderTooShort {
        /// Bytes that the header has.
        needed: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// Metadata has bytes after its last slot.
    #[error("the metadata has {extra} bytes too many")]
    HeaderTooLong {
        /// Bytes after the end.
        extra: usize,
    },
}

impl Coded for EnvelopeError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotAnEnvelope => "envelope.not_one",
            Self::Version { .. } => "envelope.version",
            Self::Field { .. } => "envelope.field",
            Self::Cost(_) => "envelope.cost",
            Self::HeaderTooShort { .. } => "envelope.header_too_short",
            Self::HeaderTooLong { .. } => "envelope.header_too_long",
        }
    }

    fn retry_helps(&self) -> bool {
        false
    }
}

/// Why an envelope did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The header is not one.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No slot belongs to this seed, password and context data, or the header was changed. Which
    /// of these, and which slot came closest, is not told, and not known.
    #[error("nothing in this envelope opens with this seed, password and context data")]
    NothingOpens,
    /// A chunk is not what was sealed.
    #[error("chunk {chunk} was changed, moved or cut off")]
    Chunk {
        /// Index of the chunk, from 0.
        chunk: u64,
    },
    /// The envelope ends too early.
    #[error("the envelope ends {missing} bytes too early")]
    Truncated {
        /// Bytes that are missing at least.
        missing: u64,
    },
    /// There are bytes after the end.
    #[error("there are bytes after the end of the envelope")]
    Trailing,
    /// The trailers do not fit: something outside of the opened region was changed.
    #[error("the envelope was changed outside of the part that you can read")]
    Trailer,
    /// The content of a slot is not in the form that this version writes.
    #[error("the content of the slot has an unknown form")]
    Content,
    /// The text is not UTF-8.
    #[error("the content is marked as text and is none")]
    NotText,
    /// A range that is not inside of the content.
    #[error("bytes {start} to {end} were asked for, and the content has {len}")]
    Range {
        /// First byte asked for.
        start: u64,
        /// Byte after the last one asked for.
        end: u64,
        /// Length of the content.
        len: u64,
    },
    /// The password could not be stretched.
    #[error("the password could not be stretched")]
    Stretch(#[from] StretchError),
    /// The envelope asks for more memory than the caller allows.
    #[error("the envelope asks for a stretch of {kib} KiB; {allowed} are allowed here")]
    TooDear {
        /// Memory that the header asks for.
        kib: u64,
        /// Memory that the caller allows.
        allowed: u64,
    },
    /// Reading or writing failed.
    #[error("could not {what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Coded for OpenError {
    fn code(&self) -> &'static str {
        match self {
            Self::Envelope(error) => error.code(),
            Self::NothingOpens => "envelope.nothing_opens",
            Self::Chunk { .. } => "envelope.chunk",
            Self::Truncated { .. } => "envelope.truncated",
            Self::Trailing => "envelope.trailing",
            Self::Trailer => "envelope.trailer",
            Self::Content => "envelope.content",
            Self::NotText => "envelope.not_text",
            Self::Range { .. } => "envelope.range",
            Self::Stretch(error) => error.code(),
            Self::TooDear { .. } => "envelope.too_dear",
            Self::Io { .. } => "envelope.io",
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Stretch(error) => error.retry_helps(),
            Self::Io { .. } => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NothingOpens => Some("check the password, the seed and the context data"),
            Self::Chunk { .. } | Self::Truncated { .. } | Self::Trailing | Self::Trailer => {
                Some("the copy may be incomplete or damaged; fetch it again")
            }
            Self::NotText => Some("read it as bytes"),
            _ => None,
        }
    }
}

/// Why an envelope was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Neither a seed nor a password: anybody could open it.
    #[error("there is neither a seed nor a password, so anybody could open the envelope")]
    NoSecret,
    /// A password without a single byte.
    #[error("a password is empty")]
    EmptyPassword,
    /// Two contents would open under the same password.
    #[error("two contents of one envelope have the same password")]
    SamePassword,
    /// More decoys than an envelope can hide.
    #[error("{got} decoys were asked for; an envelope hides at most {max}", max = super::MAX_REAL - 1)]
    TooManyDecoys {
        /// Decoys asked for.
        got: usize,
    },
    /// Slots besides the real one need to know how long the content is.
    #[error("decoys need content whose length is known beforehand; a pipe has none")]
    UnknownLength,
    /// The content was longer or shorter than its announced length.
    #[error("the content changed its length while it was read: {expected} bytes were announced")]
    LengthChanged {
        /// Bytes announced.
        expected: u64,
    },
    /// The content's file was written to while it was read.
    #[error("the content changed while it was read")]
    Changed,
    /// More content than the format can number.
    #[error("the content is too long for chunks of {chunk_len} bytes")]
    TooLong {
        /// Bytes in a chunk.
        chunk_len: u32,
    },
    /// Chunks are smaller or larger than the format allows.
    #[error(
        "chunks of {got} bytes were asked for; allowed are {} to {}",
        super::CHUNK_LEN.start(),
        super::CHUNK_LEN.end()
    )]
    ChunkLen {
        /// Bytes asked for.
        got: u32,
    },
    /// The cipher refused, which no content within the limits makes it do.
    #[error("the cipher refused to seal")]
    Cipher,
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The password could not be stretched.
    #[error("the password could not be stretched")]
    Stretch(#[from] StretchError),
    /// Reading or writing failed.
    #[error("could not {what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Coded for SealError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoSecret => "seal.no_secret",
            Self::EmptyPassword => "seal.empty_password",
            Self::SamePassword => "seal.same_password",
            Self::TooManyDecoys { .. } => "seal.too_many_decoys",
            Self::UnknownLength => "seal.unknown_length",
            Self::LengthChanged { .. } => "seal.length_changed",
            Self::Changed => "seal.changed",
            Self::TooLong { .. } => "seal.too_long",
            Self::ChunkLen { .. } => "seal.chunk_len",
            Self::Cipher => "seal.cipher",
            Self::Random(error) => error.code(),
            Self::Stretch(error) => error.code(),
            Self::Io { .. } => "seal.io",
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Random(error) => error.retry_helps(),
            Self::Stretch(error) => error.retry_helps(),
            Self::LengthChanged { .. } | Self::Changed | Self::Io { .. } => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSecret => Some("give a password, or make the context from a seed"),
            Self::SamePassword => Some("give every decoy a password of its own"),
            Self::LengthChanged { .. } | Self::Changed => {
                Some("wait until nothing writes to it, and run it again")
            }
            Self::UnknownLength => Some("write the content to a file first"),
            _ => None,
        }
    }
}

impl From<crate::aead::Forged> for SealError {
    fn from(_: crate::aead::Forged) -> Self {
        Self::Cipher
    }
}
