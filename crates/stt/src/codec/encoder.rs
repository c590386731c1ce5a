//! From bytes to sealed segments.

use std::collections::VecDeque;

use bytes::Bytes;
use stc::{Key, aead::Suite, random};

use super::{
    CodecConfig, CodecError, CodecMode, Credit, Segment,
    segment::{Binding, Header, MAX_SEQUENCE},
};
use crate::SessionId;

/// Cuts a stream of bytes into segments and seals them. A pure machine: bytes and credit in,
/// segments out.
///
/// Segments are made only as far as credit reaches; what waits for credit is bounded
/// ([`Self::MAX_WAITING`]), beyond that [`CodecError::Full`] pushes back.
#[derive(Debug)]
pub struct StreamEncoder {
    binding: Binding,
    config: CodecConfig,
    suite: Suite,
    generation: u32,
    start: [u8; 16],
    /// The next segment, and the first without credit.
    next: u64,
    limit: u64,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// Bytes taken since the start.
    taken: u64,
    finishing: bool,
    ended: bool,
    stats: EncoderStats,
}

/// What an encoder has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncoderStats {
    /// Segments made.
    pub segments: u64,
    /// Bytes of the stream in them.
    pub bytes: u64,
    /// Bytes that wait for credit.
    pub waiting: usize,
    /// Resets.
    pub resets: u32,
}

impl StreamEncoder {
    /// Bytes that may wait for credit, [`Self::PIECE`] more for each piece that was pushed; when
    /// nothing waits, any number is taken.
    pub const MAX_WAITING: usize = 4 << 20;
    /// What a piece counts beside its bytes: about what the handle on them takes in memory.
    pub const PIECE: usize = 64;

    /// An encoder for one stream of one session. `root` is a key that both sides have, for example
    /// `session.export("my application")`.
    ///
    /// # Errors
    /// [`CodecError::Random`].
    pub fn new(
        root: &Key,
        session: SessionId,
        stream: u32,
        config: CodecConfig,
    ) -> Result<Self, CodecError> {
        Ok(Self {
            binding: Binding::new(root, session, stream, &config),
            config,
            suite: Suite::preferred(),
            generation: 0,
            start: random::bytes()?,
            next: 0,
            limit: u64::from(config.window()),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            taken: 0,
            finishing: false,
            ended: false,
            stats: EncoderStats::default(),
        })
    }

    /// Takes bytes; [`Self::poll_segment`] gives them back sealed.
    ///
    /// # Errors
    /// [`CodecError::Full`], [`CodecError::Finished`], or [`CodecError::Length`]. Nothing was taken
    /// then.
    pub fn push(&mut self, data: impl Into<Bytes>) -> Result<(), CodecError> {
        let data = data.into();
        if self.finishing {
            return Err(CodecError::Finished);
        }
        let waiting = self.waiting_bytes + self.waiting.len() * Self::PIECE;
        if waiting > 0 && !data.is_empty() && waiting + Self::PIECE + data.len() > Self::MAX_WAITING
        {
            return Err(CodecError::Full { waiting, limit: Self::MAX_WAITING });
        }
        let got = self.taken.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if let CodecMode::Bounded { length: stated } = self.config.mode()
            && got > stated
        {
            return Err(CodecError::Length { stated, got });
        }
        self.taken = got;
        if !data.is_empty() {
            self.waiting_bytes += data.len();
            self.waiting.push_back(data);
        }
        Ok(())
    }

    /// The next segment, if there are bytes for one and credit. `None` says to wait for either.
    ///
    /// # Errors
    /// [`CodecError::Exhausted`] after 2^32 segments.
    pub fn poll_segment(&mut self) -> Result<Option<Segment>, CodecError> {
        let all_taken = match self.config.mode() {
            CodecMode::Live => self.finishing,
            CodecMode::Bounded { length } => self.taken == length,
        };
        let full = self.waiting_bytes >= self.config.segment_size();
        let due = match self.config.mode() {
            CodecMode::Live => self.waiting_bytes > 0 || self.finishing,
            CodecMode::Bounded { .. } => full || all_taken,
        };
        if self.ended || !due || self.next >= self.limit {
            return Ok(None);
        }
        if self.next >= MAX_SEQUENCE {
            return Err(CodecError::Exhausted);
        }
        let parts = self.take(self.config.segment_size());
        let last = all_taken && self.waiting_bytes == 0;
        let header = Header {
            suite: self.suite,
            last,
            generation: self.generation,
            sequence: self.next,
            start: self.start,
        };
        let bytes = self.binding.seal(&header, &parts)?;
        let carried: usize = parts.iter().map(Bytes::len).sum();
        self.next += 1;
        self.ended = last;
        self.stats.segments += 1;
        self.stats.bytes += u64::try_from(carried).unwrap_or(u64::MAX);
        Ok(Some(Segment { sequence: header.sequence, last, bytes }))
    }

    /// [`Self::push`], then every segment that credit allows now. More come from
    /// [`Self::poll_segment`] after [`Self::grant`].
    ///
    /// # Errors
    /// As both.
    pub fn send(&mut self, data: impl Into<Bytes>) -> Result<Vec<Segment>, CodecError> {
        self.push(data)?;
        self.ready()
    }

    /// Ends the stream: the last segment carries the end marker.
    ///
    /// # Errors
    /// [`CodecError::Length`] when fewer bytes than stated were taken, else as
    /// [`Self::poll_segment`].
    pub fn finish(&mut self) -> Result<Vec<Segment>, CodecError> {
        if let CodecMode::Bounded { length: stated } = self.config.mode()
            && self.taken != stated
        {
            return Err(CodecError::Length { stated, got: self.taken });
        }
        self.finishing = true;
        self.ready()
    }

    /// Takes credit from the decoder: [`super::StreamDecoder::credit`]. Less than before, or for what
    /// was before a reset, is ignored; so credit may be lost or overtaken on its way.
    pub fn grant(&mut self, credit: Credit) {
        if credit.generation == self.generation {
            self.limit = self.limit.max(credit.limit);
        }
    }

    /// Segments that may still be made without more credit.
    #[must_use]
    pub const fn credit_left(&self) -> u64 {
        self.limit.saturating_sub(self.next)
    }

    /// Whether the segment with the end marker was made.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.ended
    }

    /// Begins anew: what waits is dropped, numbers start at 0 under another key, and the decoder
    /// drops what it holds when it sees the first new segment.
    ///
    /// # Errors
    /// [`CodecError::Random`], or [`CodecError::Exhausted`] after 2^32 resets.
    pub fn reset(&mut self) -> Result<(), CodecError> {
        let generation = self.generation.checked_add(1).ok_or(CodecError::Exhausted)?;
        self.start = random::bytes()?;
        self.generation = generation;
        self.next = 0;
        self.limit = u64::from(self.config.window());
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.taken = 0;
        self.finishing = false;
        self.ended = false;
        self.stats.resets += 1;
        self.binding.forget();
        Ok(())
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> EncoderStats {
        EncoderStats { waiting: self.waiting_bytes, ..self.stats }
    }

    fn ready(&mut self) -> Result<Vec<Segment>, CodecError> {
        std::iter::from_fn(|| self.poll_segment().transpose()).collect()
    }

    fn take(&mut self, mut bytes: usize) -> Vec<Bytes> {
        let mut parts = Vec::new();
        while bytes > 0
            && let Some(front) = self.waiting.front_mut()
        {
            let part = front.split_to(bytes.min(front.len()));
            if front.is_empty() {
                self.waiting.pop_front();
            }
            bytes -= part.len();
            self.waiting_bytes -= part.len();
            parts.push(part);
        }
        parts
    }
}
