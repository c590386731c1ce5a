//! Reading records in order. Everything here blocks.

use std::sync::Arc;

use super::{
    LogError, Position, Record,
    segment::{FrameHeader, HEADER_LEN, Raw},
    segment_file::SegmentFile,
    shared::Shared,
};
use crate::{Damage, DamagedPart, StoreError};

/// Reads on from where it stands; it remembers the place in the file.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    segment: SegmentFile,
    base: u64,
    /// Where the frame that begins with the record `next` lies.
    at: u64,
    next: u64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, place: None }
    }

    /// The records from `offset` on that are durable: whole frames until they have `max_bytes`, at
    /// least one frame; none at the end of the log.
    pub(super) fn read(
        &mut self,
        offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let (mut out, mut bytes, mut next) = (Vec::new(), 0usize, offset);
        while out.len() < max_records && bytes < max_bytes {
            let Some(base) = self.shared.segment_of(next)? else { break };
            let (first, records) = self.frame_with(base, next)?;
            let from = next;
            for (at, raw) in (first..).zip(records).skip_while(|(at, _)| *at < from) {
                if out.len() == max_records || (bytes >= max_bytes && !out.is_empty()) {
                    break;
                }
                bytes += raw.data.len();
                let epoch = self.shared.position(at + 1).epoch;
                let position = Position { epoch, offset: at };
                out.push(Record { position, time: raw.time, data: raw.data });
                next = at + 1;
            }
        }
        Ok(out)
    }

    /// The frame that holds the record at `offset`, which is in the segment at `base`.
    fn frame_with(&mut self, base: u64, offset: u64) -> Result<(u64, Vec<Raw>), LogError> {
        let found = self.find(base, offset);
        if found.is_err() {
            self.place = None;
            // Removed while it was being read.
            self.shared.segment_of(offset)?;
        }
        Ok(found?)
    }

    fn find(&mut self, base: u64, offset: u64) -> Result<(u64, Vec<Raw>), StoreError> {
        let end = self.shared.segment_end(base);
        let place = match self.place.take() {
            Some(place) if place.base == base && place.next <= offset => place,
            _ => {
                let path = self.shared.path(base);
                let segment =
                    SegmentFile::open(&self.shared.fs, &path, &self.shared.keys, base, false)?
                        .ok_or_else(|| {
                            let item = format!("the segment {}", path.display());
                            StoreError::damaged(item, Damage::Missing(DamagedPart::Header))
                        })?;
                Place { segment, base, at: HEADER_LEN as u64, next: base }
            }
        };
        let place = self.place.insert(place);
        let len = place.segment.file.len();
        let len = len.map_err(|error| self.shared.io(&error))?;
        loop {
            let damaged = || place.segment.damaged(place.next);
            let header: FrameHeader =
                place.segment.frame_header(place.at, len)?.ok_or_else(damaged)?;
            if header.first != place.next || header.end() > end {
                return Err(damaged());
            }
            if offset < header.end() {
                let records = place.segment.frame_body(place.at, &header)?;
                return Ok((header.first, records.ok_or_else(damaged)?));
            }
            place.at += header.len();
            place.next = header.end();
        }
    }
}
