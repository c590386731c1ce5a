//! From bytes to sealed segments.

use std::collections::VecDeque;

use bytes::Bytes;
use stc::{Key, aead::Suite, random};

use super::{
    CodecConfig, CodecError, CodecMode, Credit, Segment,
    segment::{Binding, Header, MAX_SEQUENCE},
};
use crate::{Payload, SessionId};

/// Cuts a stream of bytes into segments and seals them. A pure machine: bytes and credit in,
/// segments out.
///
/// With flow control ([`CodecConfig::flow_control`]) segments are made only as far as credit
/// reaches, and [`CodecError::Blocked`] says when it does not. [`Self::send`] and [`Self::finish`]
/// make all segments or none. To go on as credit comes, [`Self::push`] and [`Self::end`] take bytes and
/// the end, and [`Self::poll_segment`] gives one segment after the other; what waits meanwhile is
/// bounded ([`Self::MAX_WAITING`]), beyond that [`CodecError::Full`] pushes back.
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
#[non_exhaustive]
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
    /// [`CodecError::OutOfRange`] and [`CodecError::Random`].
    pub fn new(
        root: &Key,
        session: SessionId,
        stream: u32,
        config: CodecConfig,
    ) -> Result<Self, CodecError> {
        let config = config.checked()?;
        Ok(Self {
            binding: Binding::new(root, session, stream, &config),
            config,
            suite: Suite::preferred(),
            generation: 0,
            start: random::bytes()?,
            next: 0,
            limit: first_limit(&config),
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
    pub fn push(&mut self, data: impl Payload) -> Result<(), CodecError> {
        let data = data.into_bytes();
        self.taken = self.fits(data.len())?;
        if !data.is_empty() {
            self.waiting_bytes += data.len();
            self.waiting.push_back(data);
        }
        Ok(())
    }

    /// Bytes of the stream once `len` more were taken.
    fn fits(&self, len: usize) -> Result<u64, CodecError> {
        if self.finishing {
            return Err(CodecError::Finished);
        }
        let waiting = self.waiting_bytes + self.waiting.len() * Self::PIECE;
        if waiting > 0 && len > 0 && waiting + Self::PIECE + len > Self::MAX_WAITING {
            return Err(CodecError::Full { waiting, limit: Self::MAX_WAITING });
        }
        let got = self.taken.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if let CodecMode::Bounded { length: stated } = self.config.mode
            && got > stated
        {
            return Err(CodecError::Length { stated, got });
        }
        Ok(got)
    }

    /// The stream ends with what was pushed; [`Self::poll_segment`] gives the rest and the end. A
    /// second time it does nothing.
    ///
    /// # Errors
    /// [`CodecError::Length`] when fewer bytes than stated were taken.
    pub fn end(&mut self) -> Result<(), CodecError> {
        if let CodecMode::Bounded { length: stated } = self.config.mode
            && self.taken != stated
        {
            return Err(CodecError::Length { stated, got: self.taken });
        }
        self.finishing = true;
        Ok(())
    }

    /// The next segment. `None` when there is nothing for one: no bytes, or, of stated length, not
    /// enough for a full one.
    ///
    /// # Errors
    /// [`CodecError::Blocked`] when there is, but no credit; [`CodecError::Exhausted`] after 2^32
    /// segments.
    pub fn poll_segment(&mut self) -> Result<Option<Segment>, CodecError> {
        let all_taken = match self.config.mode {
            CodecMode::Live => self.finishing,
            CodecMode::Bounded { length } => self.taken == length,
        };
        let full = self.waiting_bytes >= self.config.segment_size;
        let due = match self.config.mode {
            CodecMode::Live => self.waiting_bytes > 0 || self.finishing,
            CodecMode::Bounded { .. } => full || all_taken,
        };
        if self.ended || !due {
            return Ok(None);
        }
        self.affords(1)?;
        let parts = self.take(self.config.segment_size);
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

    /// Takes bytes and gives back all segments that they make.
    ///
    /// # Errors
    /// [`CodecError::Blocked`] when there is not enough credit, or as [`Self::push`] and
    /// [`Self::poll_segment`]. Nothing was taken then: send the same again when credit came.
    pub fn send(&mut self, data: impl Payload) -> Result<Vec<Segment>, CodecError> {
        let data = data.into_bytes();
        let taken = self.fits(data.len())?;
        self.affords(self.due(self.waiting_bytes + data.len(), taken, self.finishing))?;
        self.push(data)?;
        self.ready()
    }

    /// Ends the stream and gives back what is left: the last segment carries the end marker.
    ///
    /// # Errors
    /// [`CodecError::Blocked`] when there is not enough credit, or as [`Self::end`]. The stream is not
    /// ended then.
    pub fn finish(&mut self) -> Result<Vec<Segment>, CodecError> {
        let before = self.finishing;
        self.end()?;
        if let Err(error) = self.affords(self.due(self.waiting_bytes, self.taken, true)) {
            self.finishing = before;
            return Err(error);
        }
        self.ready()
    }

    /// Takes credit from the decoder: [`super::StreamDecoder::credit`]. Less than before, or for what
    /// was before a reset, is ignored; so credit may be lost or overtaken on its way.
    pub fn grant(&mut self, credit: Credit) {
        if credit.generation == self.generation {
            self.limit = self.limit.max(credit.limit);
        }
    }

    /// Segments that may still be made without more credit; without flow control more than there
    /// are.
    #[must_use]
    pub const fn credit_left(&self) -> u64 {
        self.limit.saturating_sub(self.next)
    }

    /// Whether there is something to be sealed and no credit for it: [`Self::poll_segment`] gives
    /// nothing until credit comes.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.credit_left() == 0 && self.due(self.waiting_bytes, self.taken, self.finishing) > 0
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
        self.limit = first_limit(&self.config);
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

    /// Segments that `waiting` bytes make, of `taken` in all, and the end if `finishing`.
    fn due(&self, waiting: usize, taken: u64, finishing: bool) -> u64 {
        if self.ended {
            return 0;
        }
        let size = self.config.segment_size;
        let (all_taken, segments) = match self.config.mode {
            CodecMode::Live => (finishing, waiting.div_ceil(size)),
            CodecMode::Bounded { length } if taken == length => (true, waiting.div_ceil(size)),
            CodecMode::Bounded { .. } => (false, waiting / size),
        };
        // The end needs a segment, if only an empty one.
        u64::try_from(segments).unwrap_or(u64::MAX).max(u64::from(all_taken))
    }

    /// Whether so many segments may be made.
    fn affords(&self, needed: u64) -> Result<(), CodecError> {
        if needed > MAX_SEQUENCE.saturating_sub(self.next) {
            return Err(CodecError::Exhausted);
        }
        let credit = self.credit_left();
        if needed > credit {
            return Err(CodecError::Blocked { needed, credit });
        }
        Ok(())
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

/// What may be made before any credit came.
fn first_limit(config: &CodecConfig) -> u64 {
    if config.flow_control { u64::from(config.window) } else { u64::MAX }
}
