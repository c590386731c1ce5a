//! Records that nobody could handle.

use bytes::Bytes;

use crate::{
    Damage, DamagedPart, StoreError,
    log::{
        Position, Record,
        segment::{take_u32, take_u64},
    },
};

/// Version of the encoding.
const VERSION: u8 = 1;
/// Longest reason, in bytes.
pub(super) const REASON_MAX: usize = 1024;
/// Bytes that a dead letter takes beside the record.
pub(in crate::log) const OVERHEAD: usize = 64 + super::cursor::NAME_MAX + REASON_MAX;

/// A record that was delivered too often, or that a handler has rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Name of the consumer.
    pub consumer: String,
    /// Where the record stood in the log.
    pub position: Position,
    /// When the record was appended, in milliseconds since 1970.
    pub time: u64,
    /// How often it was delivered.
    pub deliveries: u32,
    /// What was wrong the last time; at most 1,024 bytes.
    pub reason: String,
    /// The record.
    pub data: Bytes,
}

impl DeadLetter {
    /// Reads a record of the [log of dead letters](crate::log::Log::dead_letters).
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is no dead letter.
    pub fn from_record(record: &Record) -> Result<Self, StoreError> {
        Self::decode(&record.data).ok_or_else(|| {
            let item = format!("the dead letter {}", record.position);
            StoreError::damaged(item, Damage::Malformed(DamagedPart::Whole))
        })
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(OVERHEAD + self.data.len());
        out.push(VERSION);
        out.extend(self.position.epoch.to_be_bytes());
        out.extend(self.position.offset.to_be_bytes());
        out.extend(self.time.to_be_bytes());
        out.extend(self.deliveries.to_be_bytes());
        for text in [&self.consumer, cut(&self.reason)] {
            out.extend(u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
            out.extend(text.as_bytes());
        }
        out.extend_from_slice(&self.data);
        out.into()
    }

    fn decode(data: &Bytes) -> Option<Self> {
        let mut rest = data.as_ref();
        if *rest.split_off_first()? != VERSION {
            return None;
        }
        let position = Position { epoch: take_u64(&mut rest)?, offset: take_u64(&mut rest)? };
        let (time, deliveries) = (take_u64(&mut rest)?, take_u32(&mut rest)?);
        let mut text = || {
            let len = usize::try_from(take_u32(&mut rest)?).ok()?;
            String::from_utf8(rest.split_off(..len)?.to_vec()).ok()
        };
        let (consumer, reason) = (text()?, text()?);
        let data = data.slice_ref(rest);
        Some(Self { consumer, position, time, deliveries, reason, data })
    }
}

/// As much of `text` as a dead letter holds.
pub(super) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(REASON_MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_letter_comes_back(reason in ".{0,2000}", data in prop::collection::vec(any::<u8>(), 0..99)) {
            let mut letter = DeadLetter {
                consumer: "c".to_owned(),
                position: Position { epoch: 1, offset: 2 },
                time: 3,
                deliveries: 4,
                reason,
                data: data.into(),
            };
            let encoded = letter.encode();
            prop_assert!(encoded.len() <= OVERHEAD + letter.data.len());
            let found = DeadLetter::decode(&encoded);
            letter.reason = cut(&letter.reason).to_owned();
            prop_assert_eq!(found, Some(letter));
        }

        #[test]
        fn nothing_makes_it_panic(mut data in prop::collection::vec(any::<u8>(), 0..99)) {
            if let Some(first) = data.first_mut() {
                *first = VERSION;
            }
            let _ = DeadLetter::decode(&data.into());
        }
    }
}
