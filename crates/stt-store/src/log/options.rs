//! Settings of a log.

use std::time::Duration;

use crate::{StoreError, setting_error::within};

/// Most bytes after which the next segment is begun.
const SEGMENT_LIMIT: u64 = 1 << 30;
/// Longest record that can be allowed.
pub(super) const RECORD_LIMIT: usize = 16 << 20;

/// Settings of a [`Log`](super::Log), which tells what is out of its range when it is opened. A log
/// can be opened with others later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    pub(super) segment_bytes: u64,
    pub(super) record_max: usize,
    pub(super) keep_bytes: Option<u64>,
    pub(super) keep_age: Option<Duration>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, record_max: 1 << 20, keep_bytes: None, keep_age: None }
    }
}

impl LogOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes after which the next segment file is begun. Default 64 MiB; 64 KiB to 1 GiB.
    ///
    /// Retention removes whole segments, and opening after a crash reads the last one.
    #[must_use]
    pub const fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Longest record in bytes. Default 1 MiB; 1 to 16 MiB.
    #[must_use]
    pub const fn record_max(mut self, bytes: usize) -> Self {
        self.record_max = bytes;
        self
    }

    /// Removes the oldest segments while all of them together have more than so many bytes, the
    /// one being written excepted. Default: everything is kept.
    ///
    /// Records go whether a consumer has seen them or not; one that has not is told
    /// ([`LogError::Trimmed`](super::LogError::Trimmed)).
    #[must_use]
    pub const fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = Some(bytes);
        self
    }

    /// Removes segments of which every record is older. Default: everything is kept.
    ///
    /// A segment is also ended after an eighth of this time, when something is appended, so that
    /// records go at most that much too late; the segment being written never goes.
    #[must_use]
    pub const fn keep_age(mut self, age: Duration) -> Self {
        self.keep_age = Some(age);
        self
    }

    /// Whether all settings are inside their ranges.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        within("segment_bytes", self.segment_bytes, &(64 << 10..=SEGMENT_LIMIT))?;
        Ok(within("record_max", self.record_max, &(1..=RECORD_LIMIT))?)
    }
}
