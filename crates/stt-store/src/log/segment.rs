//! The bytes of a segment: a header, then frames, each with the records of one sync
//! (`docs/log.md`, "Segments"). No I/O.

use bytes::Bytes;
use stc::{
    Key,
    aead::{Suite, TAG_LEN},
    kdf, random,
};

use super::{
    keys::{LogKeys, open, seal},
    position::{EPOCHS_MAX, Epochs},
};
use crate::StoreError;

/// Bytes of a segment's header.
pub(super) const HEADER_LEN: usize = 4096;
const HEADER_MAGIC: &[u8; 7] = b"STTLSEG";
/// Magic, suite, salt.
const CLEAR_LEN: usize = 40;
const PLAIN_LEN: usize = HEADER_LEN - CLEAR_LEN - TAG_LEN;

/// Bytes of a frame's header.
pub(super) const FRAME_HEADER_LEN: usize = 64;
pub(super) const FRAME_MAGIC: &[u8; 4] = b"SLFR";
const BOUND_LEN: usize = 48;

/// Bytes of the records of one frame at most, their lengths included.
pub(super) const FRAME_MAX: usize = 20 << 20;
/// Records of one frame at most.
pub(super) const FRAME_RECORDS_MAX: usize = 65_536;
/// Bytes that a record takes beside its own.
pub(super) const RECORD_OVERHEAD: usize = 4;

/// What a segment says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Offset of its first record.
    pub(super) base: u64,
    /// When it was begun, in milliseconds since 1970.
    pub(super) created: u64,
    /// Who wrote what came before.
    pub(super) epochs: Epochs,
}

/// Seals and opens the frames of one segment.
#[derive(Debug)]
pub(super) struct SegmentKeys {
    key: Key,
    suite: Suite,
}

/// The header of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    suite: Suite,
    bound: [u8; BOUND_LEN],
    /// Offset of the first record.
    pub(super) first: u64,
    pub(super) epoch: u64,
    pub(super) records: u32,
    /// Bytes that follow the header.
    pub(super) body: u32,
}

impl FrameHeader {
    /// One above the offset of the last record.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.records)
    }

    /// Bytes of header and body.
    pub(super) fn len(&self) -> u64 {
        FRAME_HEADER_LEN as u64 + u64::from(self.body)
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) time: u64,
    pub(super) data: Bytes,
}

fn too_long() -> StoreError {
    StoreError::TooLarge { item: "a frame of the log".to_owned(), limit: FRAME_MAX as u64 }
}

/// Draws the salt of a new segment, and encodes its header.
pub(super) fn encode_header(
    keys: &LogKeys,
    header: &SegmentHeader,
) -> Result<(SegmentKeys, Vec<u8>), StoreError> {
    let (suite, salt) = (Suite::preferred(), random::bytes::<32>()?);
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.extend(HEADER_MAGIC);
    out.push(suite.id());
    out.extend(salt);
    out.extend(header.base.to_be_bytes());
    out.extend(header.created.to_be_bytes());
    let entries = header.epochs.entries();
    out.extend(u32::try_from(entries.len()).map_err(|_| too_long())?.to_be_bytes());
    for (epoch, start) in entries {
        out.extend(epoch.to_be_bytes());
        out.extend(start.to_be_bytes());
    }
    out.resize(CLEAR_LEN + PLAIN_LEN, 0);
    let key = keys.segment(&salt);
    seal(suite, &key, "header", &[suite.id()], &mut out, CLEAR_LEN)?;
    Ok((SegmentKeys { key, suite }, out))
}

/// `None` if it is no header of a segment of this log.
pub(super) fn decode_header(
    keys: &LogKeys,
    bytes: &[u8; HEADER_LEN],
) -> Option<(SegmentKeys, SegmentHeader)> {
    let rest = bytes.strip_prefix(HEADER_MAGIC)?;
    let (suite, rest) = rest.split_first()?;
    let suite = Suite::from_id(*suite)?;
    let (salt, sealed) = rest.split_first_chunk::<32>()?;
    let key = keys.segment(salt);
    let mut sealed = sealed.to_vec();
    let mut plain = &*open(suite, &key, "header", &[suite.id()], &mut sealed)?;
    let (base, created) = (take_u64(&mut plain)?, take_u64(&mut plain)?);
    let count = usize::try_from(take_u32(&mut plain)?).ok().filter(|n| *n <= EPOCHS_MAX)?;
    let entries: Option<Vec<_>> =
        (0..count).map(|_| Some((take_u64(&mut plain)?, take_u64(&mut plain)?))).collect();
    let epochs = Epochs::from_entries(entries?)?;
    Some((SegmentKeys { key, suite }, SegmentHeader { base, created, epochs }))
}

pub(super) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*head))
}

pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*head))
}

/// Bytes that `records` take in a frame.
pub(super) fn body_len(records: &[Bytes]) -> usize {
    records.iter().map(|record| record.len() + RECORD_OVERHEAD).sum()
}

impl SegmentKeys {
    #[cfg(feature = "jetstream")]
    pub(super) const fn new(key: Key, suite: Suite) -> Self {
        Self { key, suite }
    }

    /// A frame with `records`, of which the first stands at `first`; `time` is in milliseconds since
    /// 1970. Each frame has a random salt and so a key of its own: writing on after an older copy
    /// of the segment was put back uses no key and nonce twice.
    pub(super) fn encode_frame<'a>(
        &self,
        first: u64,
        epoch: u64,
        time: u64,
        records: impl Iterator<Item = &'a Bytes> + Clone,
    ) -> Result<Vec<u8>, StoreError> {
        let plain: usize = 8 + records.clone().map(|r| r.len() + RECORD_OVERHEAD).sum::<usize>();
        if plain > FRAME_MAX + 8 {
            return Err(too_long());
        }
        let body = u32::try_from(plain + TAG_LEN).map_err(|_| too_long())?;
        let count = u32::try_from(records.clone().count()).map_err(|_| too_long())?;
        let mut out = Vec::with_capacity(FRAME_HEADER_LEN + plain + TAG_LEN);
        out.extend(FRAME_MAGIC);
        out.extend(body.to_be_bytes());
        out.extend(count.to_be_bytes());
        out.extend([self.suite.id(), 0, 0, 0]);
        out.extend(first.to_be_bytes());
        out.extend(epoch.to_be_bytes());
        out.extend(random::bytes::<16>()?);
        let bound = <[u8; BOUND_LEN]>::try_from(out.as_slice()).map_err(|_| too_long())?;
        out.extend(self.mac(&bound));
        out.extend(time.to_be_bytes());
        for record in records {
            out.extend(u32::try_from(record.len()).map_err(|_| too_long())?.to_be_bytes());
            out.extend_from_slice(record);
        }
        seal(self.suite, &self.key, "frame", &bound, &mut out, FRAME_HEADER_LEN)?;
        Ok(out)
    }

    fn mac(&self, bound: &[u8; BOUND_LEN]) -> [u8; 16] {
        let mut mac = [0; 16];
        kdf::derive_into(&self.key, "frame header", &[bound], &mut mac);
        mac
    }

    /// `None` if it is no header of a frame of this segment.
    pub(super) fn decode_frame_header(
        &self,
        bytes: &[u8; FRAME_HEADER_LEN],
    ) -> Option<FrameHeader> {
        let mut rest = bytes.strip_prefix(FRAME_MAGIC)?;
        let (bound, mac) = bytes.split_first_chunk::<BOUND_LEN>()?;
        let (body, records) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
        let (suite, mut rest) = rest.split_first_chunk::<4>()?;
        let suite = match suite {
            [id, 0, 0, 0] => Suite::from_id(*id)?,
            _ => return None,
        };
        let (first, epoch) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
        // Not in constant time: whoever can write to the disk learns nothing from how long it takes
        // that reading the file would not tell.
        if *mac != self.mac(bound) || first.checked_add(u64::from(records)).is_none() {
            return None;
        }
        Some(FrameHeader { suite, bound: *bound, first, epoch, records, body })
    }

    /// The records of a frame; `None` if its body is not what was sealed.
    pub(super) fn decode_body(&self, header: &FrameHeader, mut body: Vec<u8>) -> Option<Vec<Raw>> {
        let plain = open(header.suite, &self.key, "frame", &header.bound, &mut body)?.len();
        body.truncate(plain);
        let body = Bytes::from(body);
        let mut rest = body.as_ref();
        let time = take_u64(&mut rest)?;
        let mut records = Vec::new();
        for _ in 0..header.records {
            let len = usize::try_from(take_u32(&mut rest)?).ok()?;
            let (record, after) = rest.split_at_checked(len)?;
            records.push(Raw { time, data: body.slice_ref(record) });
            rest = after;
        }
        rest.is_empty().then_some(records)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ChamberKey;

    fn keys() -> LogKeys {
        LogKeys::create(&ChamberKey::from_key(&Key::from_bytes([1; 32]))).unwrap().0
    }

    fn header(epochs: usize) -> SegmentHeader {
        let entries = (0..epochs as u64).map(|n| (n ^ 77, n)).collect();
        SegmentHeader { base: 5, created: 9, epochs: Epochs::from_entries(entries).unwrap() }
    }

    fn frame_header(frame: &[u8]) -> &[u8; FRAME_HEADER_LEN] {
        frame.first_chunk().unwrap()
    }

    #[test]
    fn headers_come_back_and_belong_to_their_log() {
        let (ours, theirs) = (keys(), keys());
        for epochs in [0, 1, EPOCHS_MAX] {
            let (_, bytes) = encode_header(&ours, &header(epochs)).unwrap();
            let bytes: [u8; HEADER_LEN] = bytes.try_into().unwrap();
            assert_eq!(decode_header(&ours, &bytes).unwrap().1, header(epochs));
            assert!(decode_header(&theirs, &bytes).is_none());
        }
    }

    #[test]
    fn the_same_frame_is_never_sealed_alike() {
        let (segment, _) = encode_header(&keys(), &header(0)).unwrap();
        let records = [Bytes::from_static(b"record")];
        let frame = || segment.encode_frame(5, 1, 2, records.iter()).unwrap();
        assert_ne!(frame()[FRAME_HEADER_LEN..], frame()[FRAME_HEADER_LEN..]);
    }

    proptest! {
        #[test]
        fn frames_come_back_and_every_flipped_bit_is_seen(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
            first in any::<u32>(), epoch in any::<u64>(), time in any::<u64>(), flip in any::<u32>(),
        ) {
            let (segment, _) = encode_header(&keys(), &header(0)).unwrap();
            let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
            let first = u64::from(first);
            let mut frame = segment.encode_frame(first, epoch, time, records.iter()).unwrap();
            let found = segment.decode_frame_header(frame_header(&frame)).unwrap();
            prop_assert_eq!((found.first, found.epoch), (first, epoch));
            prop_assert_eq!(found.len(), frame.len() as u64);
            let body = frame[FRAME_HEADER_LEN..].to_vec();
            let read = segment.decode_body(&found, body).unwrap();
            prop_assert!(read.iter().all(|raw| raw.time == time));
            prop_assert_eq!(read.into_iter().map(|raw| raw.data).collect::<Vec<_>>(), records);

            let bit = flip as usize % (frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
            let opened = segment
                .decode_frame_header(frame_header(&frame))
                .and_then(|header| segment.decode_body(&header, frame[FRAME_HEADER_LEN..].to_vec()));
            prop_assert!(opened.is_none());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), FRAME_HEADER_LEN)) {
            let (segment, _) = encode_header(&keys(), &header(0)).unwrap();
            let mut bytes: [u8; FRAME_HEADER_LEN] = bytes.try_into().unwrap();
            prop_assert!(segment.decode_frame_header(&bytes).is_none());
            bytes[..4].copy_from_slice(FRAME_MAGIC);
            prop_assert!(segment.decode_frame_header(&bytes).is_none());
        }
    }
}
