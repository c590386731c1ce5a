//! Appends: one frame and one sync for everything that waits. Everything here blocks.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    segment::{HEADER_LEN, SegmentHeader},
    segment_file::{SegmentFile, WriteFailed},
    shared::{Shared, Tail},
};
use crate::StoreError;

/// Appends to one log; there is one of it.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// Drawn anew for every opening; never 0, which stands before the first record.
    epoch: u64,
    /// Nobody knows what the disk holds after a sync that failed.
    broken: bool,
    /// Something was written, and no mark of an orderly end behind it.
    dirty: bool,
}

#[derive(Debug)]
struct Active {
    segment: SegmentFile,
    len: u64,
    records: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, tail: Option<Tail>) -> Result<Self, StoreError> {
        let end = shared.end();
        let active = tail.map(|Tail { segment, len }| {
            let records = end.saturating_sub(segment.header.base);
            Active { segment, len, records }
        });
        let epoch = u64::from_be_bytes(stc::random::bytes()?).max(1);
        Ok(Self { shared, active, epoch, broken: false, dirty: false })
    }

    /// Whether a sync failed, so that nothing more is written.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::SyncFailed { item: self.item() });
        }
        Ok(())
    }

    pub(super) fn break_down(&mut self) -> StoreError {
        self.broken = true;
        StoreError::SyncFailed { item: self.item() }
    }

    fn item(&self) -> String {
        format!("a record of the log in {}", self.shared.dir.display())
    }

    /// Makes `records` durable, all or none, and returns the offset of the first.
    pub(super) fn append(&mut self, records: &[Bytes], now: u64) -> Result<u64, StoreError> {
        self.check()?;
        let first = self.shared.end();
        let frame = self.frame(first, records, now)?;
        let (segment, len) = {
            let Some(active) = &mut self.active else { return Err(self.closed()) };
            (&active.segment, &mut active.len)
        };
        match segment.write_frame(*len, &frame) {
            Ok(()) => {}
            Err(WriteFailed::Nothing(error)) => return Err(error),
            Err(WriteFailed::Unknown(error)) => {
                self.broken = true;
                return Err(error);
            }
        }
        if segment.file.sync().is_err() {
            return Err(self.break_down());
        }
        *len += frame.len() as u64;
        let end = first + records.len() as u64;
        let (base, len) = (segment.header.base, *len);
        if let Some(active) = &mut self.active {
            active.records += records.len() as u64;
        }
        self.dirty = true;
        self.shared.note_durable(base, len, self.epoch, first, end);
        Ok(first)
    }

    /// The next frame, for a segment that has room for it.
    fn frame(&mut self, first: u64, records: &[Bytes], now: u64) -> Result<Vec<u8>, StoreError> {
        let needed = super::segment::body_len(records) as u64;
        if self.active.as_ref().is_none_or(|active| self.is_over(active, needed, now)) {
            self.begin_segment(first, now)?;
        }
        let Some(active) = &self.active else { return Err(self.closed()) };
        active.segment.frame(first, self.epoch, now, records.iter())
    }

    fn is_over(&self, active: &Active, needed: u64, now: u64) -> bool {
        let options = &self.shared.options;
        let age =
            options.keep_age.map(|age| u64::try_from(age.as_millis() / 8).unwrap_or(u64::MAX));
        let too_old =
            age.is_some_and(|age| active.segment.header.created.saturating_add(age) < now);
        active.records > 0 && (too_old || active.len + needed > options.segment_bytes)
    }

    fn begin_segment(&mut self, base: u64, now: u64) -> Result<(), StoreError> {
        // If this fails, the next append begins here too, and not in the segment before.
        self.active = None;
        let header = SegmentHeader { base, created: now, epochs: self.shared.epochs() };
        let shared = &self.shared;
        let segment = SegmentFile::create(&shared.fs, &shared.path(base), &shared.keys, header)?;
        shared.sync_dir()?;
        let len = HEADER_LEN as u64;
        shared.note_segment(base, len);
        self.active = Some(Active { segment, len, records: 0 });
        Ok(())
    }

    /// Marks an orderly end: whatever is wrong before the mark is damage, not the rest of a write
    /// that a crash cut off. Best effort.
    pub(super) fn close(&mut self, now: u64) {
        if !self.dirty || self.broken {
            return;
        }
        self.dirty = false;
        let Some(active) = &mut self.active else { return };
        let end = self.shared.end();
        let Ok(mark) = active.segment.frame(end, self.epoch, now, [].iter()) else { return };
        if active.segment.write_frame(active.len, &mark).is_ok()
            && active.segment.file.sync().is_ok()
        {
            active.len += mark.len() as u64;
        } else {
            self.broken = true;
        }
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { item: self.item() }
    }
}
