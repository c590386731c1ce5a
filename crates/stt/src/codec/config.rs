//! Sizes, credit and role of a stream of segments.

use super::CodecError;

/// Settings that encoder and decoder should share. What is out of its range is told by
/// [`super::StreamEncoder::new`] and [`super::StreamDecoder::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecConfig {
    pub(super) segment_size: usize,
    pub(super) window: u32,
    pub(super) role: Option<CodecRole>,
    pub(super) mode: CodecMode,
    pub(super) flow_control: bool,
}

/// Whether the length of a stream is known from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecMode {
    /// It is not: what is given to the encoder becomes segments at once, full or not, and the end
    /// comes when `finish` is called.
    #[default]
    Live,
    /// It is: segments are full except for the last, which carries the end marker by itself.
    Bounded {
        /// Bytes of the stream.
        length: u64,
    },
}

/// Which end of a session an encoder is. Given on both sides (the encoder's role to both), it stops
/// segments that are sent back to where they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecRole {
    /// The side that connected.
    Initiator,
    /// The other side.
    Responder,
}

impl CodecConfig {
    /// Bytes that a full segment carries, when nothing else is said: 64 KiB.
    pub const DEFAULT_SEGMENT_SIZE: usize = 64 << 10;
    /// Segments that may be under way or held, when nothing else is said.
    pub const DEFAULT_WINDOW: u32 = 64;

    /// The defaults: live, no role.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            segment_size: Self::DEFAULT_SEGMENT_SIZE,
            window: Self::DEFAULT_WINDOW,
            role: None,
            mode: CodecMode::Live,
            flow_control: true,
        }
    }

    /// Bytes that a full segment carries, and the most that a decoder accepts, 16 bytes to 1 MiB.
    /// Default: [`Self::DEFAULT_SEGMENT_SIZE`].
    #[must_use]
    pub const fn segment_size(mut self, bytes: usize) -> Self {
        self.segment_size = bytes;
        self
    }

    /// How many segments may be under way or held, 1 to 65,536: the credit that an encoder with
    /// flow control starts with, and how many a decoder holds and gives credit for. Default:
    /// [`Self::DEFAULT_WINDOW`].
    #[must_use]
    pub const fn window(mut self, segments: u32) -> Self {
        self.window = segments;
        self
    }

    /// The role of the encoder's side. Default: none.
    #[must_use]
    pub const fn role(mut self, role: CodecRole) -> Self {
        self.role = Some(role);
        self
    }

    /// Whether the length is known. Only the encoder looks at it. Default: [`CodecMode::Live`].
    #[must_use]
    pub const fn mode(mut self, mode: CodecMode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether the encoder waits for credit of a decoder ([`super::StreamDecoder::credit`]).
    /// Default: true. Only the encoder looks at it.
    ///
    /// Without it an encoder makes segments as long as bytes are given to it: for streams without a
    /// way back, and for several decoders at once. What carries the segments has to push back then; a
    /// decoder that is more than its window behind refuses what comes
    /// ([`CodecError::BeyondCredit`]).
    #[must_use]
    pub const fn flow_control(mut self, flow_control: bool) -> Self {
        self.flow_control = flow_control;
        self
    }

    /// Whether all settings are inside their ranges.
    pub(super) fn checked(self) -> Result<Self, CodecError> {
        let size = u64::try_from(self.segment_size).unwrap_or(u64::MAX);
        let checks =
            [("segment_size", size, 16, 1 << 20), ("window", u64::from(self.window), 1, 65_536)];
        for (what, got, min, max) in checks {
            if !(min..=max).contains(&got) {
                return Err(CodecError::OutOfRange { what, min, max, got });
            }
        }
        Ok(self)
    }
}

impl Default for CodecConfig {
    fn default() -> Self {
        Self::new()
    }
}
