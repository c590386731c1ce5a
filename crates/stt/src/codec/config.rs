//! Sizes, credit and role of a stream of segments.

use super::CodecError;

/// Settings that encoder and decoder should share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecConfig {
    segment_size: usize,
    window: u32,
    role: Option<CodecRole>,
    mode: CodecMode,
    flow_control: bool,
}

/// Whether the length of a stream is known from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

    /// Sets the bytes that a full segment carries, and the most that a decoder accepts, 16 bytes to
    /// 1 MiB. Default: [`Self::DEFAULT_SEGMENT_SIZE`].
    ///
    /// # Errors
    /// [`CodecError::OutOfRange`].
    pub fn with_segment_size(mut self, bytes: usize) -> Result<Self, CodecError> {
        let got = u64::try_from(bytes).unwrap_or(u64::MAX);
        if !(16..=1 << 20).contains(&got) {
            let (what, min, max) = ("segment_size", 16, 1 << 20);
            return Err(CodecError::OutOfRange { what, min, max, got });
        }
        self.segment_size = bytes;
        Ok(self)
    }

    /// Sets how many segments may be under way or held, 1 to 65,536: the credit that an encoder with
    /// flow control starts with, and how many a decoder holds and gives credit for. Default: [`Self::DEFAULT_WINDOW`].
    ///
    /// # Errors
    /// [`CodecError::OutOfRange`].
    pub fn with_window(mut self, segments: u32) -> Result<Self, CodecError> {
        if !(1..=65_536).contains(&segments) {
            let (what, min, max) = ("window", 1, 65_536);
            return Err(CodecError::OutOfRange { what, min, max, got: u64::from(segments) });
        }
        self.window = segments;
        Ok(self)
    }

    /// Sets the role of the encoder's side.
    #[must_use]
    pub const fn with_role(mut self, role: CodecRole) -> Self {
        self.role = Some(role);
        self
    }

    /// Sets whether the length is known. Only the encoder looks at it.
    #[must_use]
    pub const fn with_mode(mut self, mode: CodecMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets whether the encoder waits for credit of a decoder ([`super::StreamDecoder::credit`]).
    /// Default: true. Only the encoder looks at it.
    ///
    /// Without it an encoder makes segments as long as bytes are given to it: for streams without a
    /// way back, and for several decoders at once. What carries the segments has to push back then; a
    /// decoder that is more than its window behind refuses what comes
    /// ([`CodecError::BeyondCredit`]).
    #[must_use]
    pub const fn with_flow_control(mut self, flow_control: bool) -> Self {
        self.flow_control = flow_control;
        self
    }

    /// Bytes that a full segment carries.
    #[must_use]
    pub const fn segment_size(&self) -> usize {
        self.segment_size
    }

    /// Segments that may be under way or held.
    #[must_use]
    pub const fn window(&self) -> u32 {
        self.window
    }

    /// The role of the encoder's side.
    #[must_use]
    pub const fn role(&self) -> Option<CodecRole> {
        self.role
    }

    /// Whether the encoder waits for credit.
    #[must_use]
    pub const fn flow_control(&self) -> bool {
        self.flow_control
    }

    /// Whether the length is known.
    #[must_use]
    pub const fn mode(&self) -> CodecMode {
        self.mode
    }
}

impl Default for CodecConfig {
    fn default() -> Self {
        Self::new()
    }
}
