//! The bytes of a message: a salt that says where its epoch begins, and a frame as in a segment.

use bytes::Bytes;
use stc::{aead::Suite, random};

use crate::{
    StoreError,
    log::{
        keys::LogKeys,
        segment::{FRAME_HEADER_LEN, FrameHeader, Raw, SegmentKeys, take_u64},
    },
};

const SALT_LEN: usize = 32;
/// Bytes of a message beside its records and their lengths: salt, header, time and tag.
pub(super) const MESSAGE_OVERHEAD: usize = SALT_LEN + FRAME_HEADER_LEN + 8 + 16;

/// The records that one opening of the log wrote one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) epoch: u64,
    /// Offset of its first record, and the number of the message with it.
    pub(super) first: u64,
    pub(super) sequence: u64,
    /// The epoch of the record before; 0 if there is none.
    pub(super) before: u64,
    chance: [u8; 8],
}

impl Part {
    pub(super) fn new(first: u64, sequence: u64, before: u64) -> Result<Self, StoreError> {
        let epoch = u64::from_be_bytes(random::bytes()?).max(1);
        Ok(Self { epoch, first, sequence, before, chance: random::bytes()? })
    }

    /// What the key of its messages follows from.
    fn salt(&self) -> [u8; SALT_LEN] {
        let mut salt = [0; SALT_LEN];
        let fields = [self.first, self.sequence, self.before].map(u64::to_be_bytes);
        for (to, from) in salt.chunks_exact_mut(8).zip(fields.iter().chain([&self.chance])) {
            to.copy_from_slice(from);
        }
        salt
    }

    fn keys(&self, keys: &LogKeys) -> SegmentKeys {
        SegmentKeys::new(keys.message(&self.salt()), Suite::preferred())
    }

    /// A message with `records`, of which the first stands at `first`.
    pub(super) fn encode(
        &self,
        keys: &LogKeys,
        first: u64,
        time: u64,
        records: &[Bytes],
    ) -> Result<Bytes, StoreError> {
        let frame = self.keys(keys).encode_frame(first, self.epoch, time, records.iter())?;
        Ok([self.salt().as_slice(), &frame].concat().into())
    }
}

/// A message whose header was proven.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) part: Part,
    pub(super) header: FrameHeader,
    /// Tells this message from every other one.
    pub(super) mark: Mark,
    keys: SegmentKeys,
    body: Bytes,
}

/// The proof of a frame's header, which holds random bytes.
pub(super) type Mark = [u8; 16];

/// The mark of a message.
pub(super) fn mark(message: &[u8]) -> Option<Mark> {
    message.get(SALT_LEN + FRAME_HEADER_LEN - 16..SALT_LEN + FRAME_HEADER_LEN)?.try_into().ok()
}

impl Frame {
    /// `None` if it is no message of this log.
    pub(super) fn decode(keys: &LogKeys, message: &Bytes) -> Option<Self> {
        let (salt, frame) = message.split_first_chunk::<SALT_LEN>()?;
        let (header, body) = frame.split_first_chunk::<FRAME_HEADER_LEN>()?;
        let mut rest = salt.as_slice();
        let (first, sequence) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
        let (before, chance) = (take_u64(&mut rest)?, rest.try_into().ok()?);
        let mut part = Part { epoch: 0, first, sequence, before, chance };
        let keys = part.keys(keys);
        let header = keys.decode_frame_header(header)?;
        part.epoch = header.epoch;
        let is_whole = usize::try_from(header.body).ok() == Some(body.len());
        if !is_whole || header.records == 0 || header.first < first {
            return None;
        }
        Some(Self { part, header, mark: mark(message)?, keys, body: message.slice_ref(body) })
    }

    /// `None` if they are not what was sealed.
    pub(super) fn records(&self) -> Option<Vec<Raw>> {
        self.keys.decode_body(&self.header, self.body.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stc::Key;

    use super::*;
    use crate::ChamberKey;

    fn keys(byte: u8) -> LogKeys {
        LogKeys::create(&ChamberKey::from_key(&Key::from_bytes([byte; 32]))).unwrap().0
    }

    proptest! {
        #[test]
        fn messages_come_back_and_every_flipped_bit_is_seen(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
            first in any::<u32>(), more in any::<u32>(), flip in any::<prop::sample::Index>(),
        ) {
            let keys = keys(1);
            let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
            let part = Part::new(first.into(), 7, 8).unwrap();
            let at = part.first + u64::from(more);
            let message = part.encode(&keys, at, 9, &records).unwrap();
            let sum: usize = records.iter().map(|record| record.len() + 4).sum();
            prop_assert_eq!(message.len(), MESSAGE_OVERHEAD + sum);
            let frame = Frame::decode(&keys, &message).unwrap();
            prop_assert_eq!((frame.part, frame.header.first), (part, at));
            prop_assert_eq!(Some(frame.mark), mark(&message));
            let read = frame.records().unwrap();
            prop_assert_eq!(read.into_iter().map(|raw| raw.data).collect::<Vec<_>>(), records);

            let mut other = message.to_vec();
            let bit = flip.index(other.len() * 8);
            other[bit / 8] ^= 1 << (bit % 8);
            let opened = Frame::decode(&keys, &other.into()).and_then(|frame| frame.records());
            prop_assert!(opened.is_none());
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Frame::decode(&keys(2), &bytes.into()).is_none());
        }
    }

    #[test]
    fn messages_belong_to_their_log() {
        let part = Part::new(0, 1, 0).unwrap();
        let message = part.encode(&keys(1), 0, 0, &[Bytes::from_static(b"x")]).unwrap();
        assert!(Frame::decode(&keys(1), &message).is_none(), "each log has an id of its own");
    }
}
