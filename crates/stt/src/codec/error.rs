//! What can go wrong with segments.

/// Why bytes were not taken, or a segment refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A setting is out of its range.
    #[error("{what} must be {min} to {max}, not {got}")]
    OutOfRange {
        /// Which setting.
        what: &'static str,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
        /// The value that was given.
        got: u64,
    },
    /// More bytes wait for credit than may: none of the new ones were taken.
    #[error("{waiting} bytes wait for credit already, {limit} may")]
    Full {
        /// Bytes that wait, and 64 for each piece in which they came.
        waiting: usize,
        /// Most bytes that may.
        limit: usize,
    },
    /// There are bytes, or the end, to be sealed, and no credit for them. Nothing was taken or made.
    #[error("{needed} segments are to be made, and there is credit for {credit}")]
    Blocked {
        /// Segments that are to be made.
        needed: u64,
        /// Segments for which there is credit.
        credit: u64,
    },
    /// The stream was finished: no more bytes are taken.
    #[error("the stream was finished")]
    Finished,
    /// A stream of stated length got more, or was finished with less.
    #[error("the stream has a stated length of {stated} bytes, and would have {got}")]
    Length {
        /// Bytes that were stated.
        stated: u64,
        /// Bytes that it would have.
        got: u64,
    },
    /// The bytes are no segment, or one of another version.
    #[error("the bytes are no segment of a stream")]
    Malformed,
    /// The segment carries more than this decoder allows.
    #[error("the segment carries {got} bytes, {limit} are allowed")]
    TooLarge {
        /// Bytes that it carries.
        got: usize,
        /// Most bytes that are allowed.
        limit: usize,
    },
    /// The segment did not verify: another key, session, stream or role, or changed on the way.
    #[error(
        "the segment did not verify: wrong key, session, stream or role, or changed on the way"
    )]
    Forged,
    /// The segment is further ahead than the credit allows.
    #[error("segment {sequence} is beyond the credit, which ends before {limit}")]
    BeyondCredit {
        /// Its number.
        sequence: u64,
        /// The first number without credit.
        limit: u64,
    },
    /// The segment belongs to a stream that was reset since, or comes after the end.
    #[error("the segment belongs to what was reset or ended")]
    Stale,
    /// The numbers are used up: reset the encoder.
    #[error("the segments of this start are used up")]
    Exhausted,
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] stc::random::RandomError),
}

impl stc::Coded for CodecError {
    fn code(&self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "codec.out_of_range",
            Self::Full { .. } => "codec.full",
            Self::Blocked { .. } => "codec.blocked",
            Self::Finished => "codec.finished",
            Self::Length { .. } => "codec.length",
            Self::Malformed => "codec.malformed",
            Self::TooLarge { .. } => "codec.too_large",
            Self::Forged => "codec.forged",
            Self::BeyondCredit { .. } => "codec.beyond_credit",
            Self::Stale => "codec.stale",
            Self::Exhausted => "codec.exhausted",
            Self::Random(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Blocked { .. } | Self::BeyondCredit { .. } => true,
            Self::Random(error) => error.retry_helps(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Full { .. } => Some("wait for credit from the decoder's side"),
            Self::Blocked { .. } => Some(
                "pass the decoder's credit to the encoder, or make that one without flow control",
            ),
            Self::BeyondCredit { .. } => Some("take what the decoder has, and pass its credit on"),
            Self::Forged => {
                Some("use the same key, session, stream and opposite ends on both sides")
            }
            Self::Exhausted | Self::Finished => Some("reset the encoder to begin anew"),
            Self::TooLarge { .. } => Some("use the same segment size on both sides"),
            _ => None,
        }
    }
}
