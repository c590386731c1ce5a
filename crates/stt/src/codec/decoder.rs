//! From sealed segments back to bytes, in order.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use stc::Key;

use super::{
    CodecConfig, CodecError, Credit, Segment,
    segment::{Binding, Header},
};
use crate::{Payload, SessionId};

/// Opens segments that arrive in any order, any number of times or not at all, and gives back the
/// bytes of the stream in order: all that is right, or nothing.
///
/// Holds at most [`CodecConfig::window`] segments of [`CodecConfig::segment_size`] bytes, whatever
/// arrives.
#[derive(Debug)]
pub struct StreamDecoder {
    binding: Binding,
    config: CodecConfig,
    /// Of the encoder's current start; none before the first segment.
    current: Option<(u32, [u8; 16])>,
    /// The next segment to give out.
    next: u64,
    held: BTreeMap<u64, Bytes>,
    held_bytes: usize,
    /// Sequence of the segment with the end marker.
    end: Option<u64>,
    stats: DecoderStats,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is new.
    New,
    /// It was there already, or was skipped.
    Duplicate,
    /// It is new and the first after a reset of the encoder: what was held before is gone.
    Reset,
}

/// What a decoder has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecoderStats {
    /// Segments that were new and right.
    pub segments: u64,
    /// Bytes of the stream in them.
    pub bytes: u64,
    /// Segments that came before one with a smaller number.
    pub out_of_order: u64,
    /// Segments that were there already, or skipped.
    pub duplicates: u64,
    /// Segments that were refused.
    pub refused: u64,
    /// Segments given up by [`StreamDecoder::skip_missing`].
    pub skipped: u64,
    /// Resets of the encoder.
    pub resets: u64,
    /// Segments held now.
    pub held: usize,
    /// Their bytes.
    pub held_bytes: usize,
}

impl StreamDecoder {
    /// A decoder for what [`super::StreamEncoder::new`] makes with the same arguments.
    ///
    /// # Errors
    /// [`CodecError::OutOfRange`].
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
            current: None,
            next: 0,
            held: BTreeMap::new(),
            held_bytes: 0,
            end: None,
            stats: DecoderStats::default(),
        })
    }

    /// Takes a segment.
    ///
    /// # Errors
    /// [`CodecError::Malformed`], [`CodecError::TooLarge`], [`CodecError::Forged`],
    /// [`CodecError::BeyondCredit`] or [`CodecError::Stale`]. Nothing changes then, except for the
    /// count of refused segments.
    pub fn receive_segment(&mut self, segment: impl Payload) -> Result<Arrival, CodecError> {
        let received = self.take(segment.into_bytes());
        match received {
            Ok(Arrival::Duplicate) => self.stats.duplicates += 1,
            Ok(Arrival::New | Arrival::Reset) => self.stats.segments += 1,
            Err(_) => self.stats.refused += 1,
        }
        received
    }

    fn take(&mut self, segment: Bytes) -> Result<Arrival, CodecError> {
        let header = Header::parse(&segment)?;
        let (got, limit) = (segment.len() - Segment::OVERHEAD, self.config.segment_size);
        if got > limit {
            return Err(CodecError::TooLarge { got, limit });
        }
        let starts = match self.current {
            None => true,
            Some((generation, start)) if header.generation == generation => {
                if header.start != start {
                    return Err(CodecError::Stale);
                }
                false
            }
            Some((generation, _)) if header.generation < generation => {
                return Err(CodecError::Stale);
            }
            Some(_) => true,
        };
        let sequence = header.sequence;
        let next = if starts { 0 } else { self.next };
        let limit = next + u64::from(self.config.window);
        if sequence >= limit {
            return Err(CodecError::BeyondCredit { sequence, limit });
        }
        if !starts {
            if sequence < next || self.held.contains_key(&sequence) {
                return Ok(Arrival::Duplicate);
            }
            if self.end.is_some_and(|end| sequence > end || header.last) {
                return Err(CodecError::Stale);
            }
            let beyond = self.held.last_key_value().is_some_and(|(last, _)| *last > sequence);
            if header.last && beyond {
                return Err(CodecError::Stale);
            }
        }
        let data = self.binding.open(&header, segment)?;
        // Only now is the header known to be true.
        let is_reset = starts && self.current.is_some();
        if starts {
            self.begin(header.generation, header.start);
            self.stats.resets += u64::from(is_reset);
        }
        if header.last {
            self.end = Some(sequence);
        }
        self.stats.out_of_order += u64::from(sequence != self.first_missing());
        self.stats.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.held_bytes += data.len();
        self.held.insert(sequence, data);
        Ok(if is_reset { Arrival::Reset } else { Arrival::New })
    }

    /// The bytes of the next segment in order, if it is there. An empty last segment gives nothing.
    pub fn next_bytes(&mut self) -> Option<Bytes> {
        loop {
            let data = self.held.remove(&self.next)?;
            self.next += 1;
            self.held_bytes -= data.len();
            if !data.is_empty() {
                return Some(data);
            }
        }
    }

    /// All bytes that are there in order, which may be none.
    pub fn receive_all(&mut self) -> Bytes {
        let Some(first) = self.next_bytes() else { return Bytes::new() };
        let Some(second) = self.next_bytes() else { return first };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second);
        while let Some(more) = self.next_bytes() {
            all.extend_from_slice(&more);
        }
        all.freeze()
    }

    /// Gives up the segments that are missing before the first one held, and returns how many these
    /// are: for live streams over carriers that lose. 0 when none is missing or nothing is held.
    pub fn skip_missing(&mut self) -> u64 {
        let Some((&first, _)) = self.held.first_key_value() else { return 0 };
        let missing = first - self.next;
        self.next = first;
        self.stats.skipped += missing;
        missing
    }

    /// The credit for the encoder. It grows as bytes are taken out.
    #[must_use]
    pub fn credit(&self) -> Credit {
        let generation = self.current.map_or(0, |(generation, _)| generation);
        Credit { generation, limit: self.next + u64::from(self.config.window) }
    }

    /// Whether every byte up to the end marker was taken out (or skipped).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| self.next > end)
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> DecoderStats {
        DecoderStats { held: self.held.len(), held_bytes: self.held_bytes, ..self.stats }
    }

    /// The smallest number at or after `next` that is not held, found only as far as needed.
    fn first_missing(&self) -> u64 {
        let last = self.held.last_key_value().map(|(last, _)| *last);
        match last {
            None => self.next,
            // Without holes the numbers held are a row from `next`.
            Some(last) => {
                let row = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
                if last + 1 == self.next + row { last + 1 } else { self.next }
            }
        }
    }

    fn begin(&mut self, generation: u32, start: [u8; 16]) {
        self.current = Some((generation, start));
        self.next = 0;
        self.held.clear();
        self.held_bytes = 0;
        self.end = None;
    }
}
