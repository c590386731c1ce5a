//! One segment in its file: made, read, and mended after a crash.

use std::{path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    keys::LogKeys,
    position::Epochs,
    segment::{
        FRAME_HEADER_LEN, FRAME_MAGIC, FRAME_MAX, FrameHeader, HEADER_LEN, Raw, SegmentHeader,
        SegmentKeys, decode_header, encode_header,
    },
};
use crate::{
    Damage, DamagedPart, StoreError,
    disk::{Fs, RawFile},
};

/// Bytes that are read at once when looking for what came after damage.
const WINDOW: usize = 1 << 20;

/// A segment that can be read.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) file: Arc<dyn RawFile>,
    pub(super) keys: SegmentKeys,
    pub(super) header: SegmentHeader,
    item: String,
}

/// What a segment was found to hold when it was read to its end.
#[derive(Debug)]
pub(super) struct Scanned {
    /// Bytes up to the end of the last whole frame.
    pub(super) len: u64,
    /// One above the offset of the last record.
    pub(super) end: u64,
    pub(super) epochs: Epochs,
}

/// How a segment names itself in errors.
fn item(path: &Path) -> String {
    format!("the segment {}", path.display())
}

impl SegmentFile {
    /// Makes a segment; it is durable, its name is not.
    pub(super) fn create(
        fs: &Arc<dyn Fs>,
        path: &Path,
        keys: &LogKeys,
        header: SegmentHeader,
    ) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| StoreError::io(item(path), &error);
        let (segment_keys, bytes) = encode_header(keys, &header)?;
        if fs.exists(path).map_err(failed)? {
            // Begun before, when the disk was full: it has no record, or it would not be made anew.
            fs.remove(path).map_err(failed)?;
        }
        let file = fs.create_new(path).map_err(failed)?;
        // Before the first frame: a header that is torn or missing has no record behind it.
        file.write_at(0, &bytes).and_then(|()| file.sync()).map_err(failed)?;
        Ok(Self { file, keys: segment_keys, header, item: item(path) })
    }

    /// Opens a segment; `None` if its header was never finished, so that there is no record in it.
    pub(super) fn open(
        fs: &Arc<dyn Fs>,
        path: &Path,
        keys: &LogKeys,
        base: u64,
        write: bool,
    ) -> Result<Option<Self>, StoreError> {
        let failed = |error: std::io::Error| StoreError::io(item(path), &error);
        let file = fs.open(path, write).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let mut bytes = [0; HEADER_LEN];
        if len >= HEADER_LEN as u64 {
            file.read_at(0, &mut bytes).map_err(failed)?;
        }
        match decode_header(keys, &bytes) {
            Some((keys, header)) if header.base == base => {
                Ok(Some(Self { file, keys, header, item: item(path) }))
            }
            None if len <= HEADER_LEN as u64 => Ok(None),
            _ => Err(StoreError::damaged(item(path), Damage::Unverified(DamagedPart::Header))),
        }
    }

    fn io(&self, error: &std::io::Error) -> StoreError {
        StoreError::io(self.item.clone(), error)
    }

    /// The header of the frame at `at`, in a file of `len` bytes; `None` if there is none.
    pub(super) fn frame_header(
        &self,
        at: u64,
        len: u64,
    ) -> Result<Option<FrameHeader>, StoreError> {
        if at.saturating_add(FRAME_HEADER_LEN as u64) > len {
            return Ok(None);
        }
        let mut bytes = [0; FRAME_HEADER_LEN];
        self.file.read_at(at, &mut bytes).map_err(|error| self.io(&error))?;
        let header = self.keys.decode_frame_header(&bytes);
        Ok(header.filter(|header| {
            at.saturating_add(header.len()) <= len && header.body as usize <= FRAME_MAX + 64
        }))
    }

    /// The records of the frame at `at`; `None` if its body is not what was written.
    pub(super) fn frame_body(
        &self,
        at: u64,
        header: &FrameHeader,
    ) -> Result<Option<Vec<Raw>>, StoreError> {
        let mut body = vec![0; header.body as usize];
        self.file
            .read_at(at + FRAME_HEADER_LEN as u64, &mut body)
            .map_err(|error| self.io(&error))?;
        Ok(self.keys.decode_body(header, body))
    }

    pub(super) fn damaged(&self, offset: u64) -> StoreError {
        StoreError::damaged(self.item.clone(), Damage::Unverified(DamagedPart::Record(offset)))
    }

    /// Reads everything. Bytes at the end that make no frame are what a crash left of a write that
    /// was not acknowledged; the same before a good frame is damage, since every frame was synced
    /// before the next one was written.
    pub(super) fn scan(&self, mut each: impl FnMut(u64, Vec<Raw>)) -> Result<Scanned, StoreError> {
        let len = self.file.len().map_err(|error| self.io(&error))?;
        let mut found = Scanned {
            len: HEADER_LEN as u64,
            end: self.header.base,
            epochs: self.header.epochs.clone(),
        };
        while let Some(header) = self.frame_header(found.len, len)? {
            if header.first != found.end {
                return Err(self.damaged(found.end));
            }
            let Some(records) = self.frame_body(found.len, &header)? else { break };
            found.len += header.len();
            found.end = header.end();
            if header.records > 0 {
                found.epochs.note(header.epoch, header.first);
            }
            each(header.first, records);
        }
        if self.has_frame_after(found.len, len)? {
            return Err(self.damaged(found.end));
        }
        Ok(found)
    }

    /// Whether a good header of a frame begins anywhere behind `from`.
    fn has_frame_after(&self, from: u64, len: u64) -> Result<bool, StoreError> {
        let mut at = from.saturating_add(1);
        while at.saturating_add(FRAME_HEADER_LEN as u64) <= len {
            let size = usize::try_from((len - at).min(WINDOW as u64)).unwrap_or(WINDOW);
            let mut window = vec![0; size];
            self.file.read_at(at, &mut window).map_err(|error| self.io(&error))?;
            let good = window
                .windows(FRAME_HEADER_LEN)
                .filter(|bytes| bytes.starts_with(FRAME_MAGIC))
                .filter_map(<[u8]>::first_chunk)
                .any(|bytes| self.keys.decode_frame_header(bytes).is_some());
            if good {
                return Ok(true);
            }
            at += (size - FRAME_HEADER_LEN + 1) as u64;
        }
        Ok(false)
    }

    /// Cuts what a crash left behind `found`, and makes the rest durable: the process that wrote it
    /// may have died before it could.
    pub(super) fn mend(&self, found: &Scanned) -> Result<(), StoreError> {
        let len = self.file.len().map_err(|error| self.io(&error))?;
        if len > found.len {
            self.file.set_len(found.len).map_err(|error| self.io(&error))?;
        }
        self.file.sync().map_err(|error| self.io(&error))
    }

    /// Writes a frame at `at`; not yet durable. After a failure the file is as long as before, or
    /// the outer error says that nobody knows.
    pub(super) fn write_frame(&self, at: u64, frame: &[u8]) -> Result<(), WriteFailed> {
        let Err(error) = self.file.write_at(at, frame) else { return Ok(()) };
        let error = self.io(&error);
        match self.file.set_len(at) {
            Ok(()) => Err(WriteFailed::Nothing(error)),
            Err(_) => Err(WriteFailed::Unknown(error)),
        }
    }

    /// A frame of `records`.
    pub(super) fn frame<'a>(
        &self,
        first: u64,
        epoch: u64,
        time: u64,
        records: impl Iterator<Item = &'a Bytes> + Clone,
    ) -> Result<Vec<u8>, StoreError> {
        self.keys.encode_frame(first, epoch, time, records)
    }
}

/// What a failed write left.
#[derive(Debug)]
pub(super) enum WriteFailed {
    /// Nothing.
    Nothing(StoreError),
    /// Perhaps a part of the frame.
    Unknown(StoreError),
}
