//! Settings of resumable sessions.

use std::{sync::Arc, time::Duration};

use stt_store::log::LogOptions;

use super::{
    ResumeError, entry,
    frame::{MAX_BATCH, OVERHEAD},
    machine::Bounds,
};
use crate::IntoAddress;

const BYTES: std::ops::RangeInclusive<usize> = 1024..=1 << 30;
const SESSIONS: std::ops::RangeInclusive<usize> = 1..=65_536;
const LIFETIME: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(30 * 24 * 3600);

/// Settings of a [`Continuity`](super::Continuity), which tells what is out of its range when it is
/// made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeOptions {
    pub(super) lifetime: Duration,
    pub(super) bounds: Bounds,
    pub(super) max_message: usize,
    pub(super) max_sessions: usize,
    pub(super) max_sessions_per_peer: usize,
}

impl Default for ResumeOptions {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(24 * 3600),
            bounds: Bounds { outbox: 8 << 20, inbox: 1 << 20 },
            max_message: 1 << 20,
            max_sessions: 256,
            max_sessions_per_peer: 16,
        }
    }
}

fn check<T: PartialOrd + std::fmt::Debug>(
    what: &'static str,
    value: T,
    range: &std::ops::RangeInclusive<T>,
) -> Result<(), ResumeError> {
    if range.contains(&value) {
        return Ok(());
    }
    let range = format!("{:?} to {:?}", range.start(), range.end());
    Err(ResumeError::OutOfRange { what, got: format!("{value:?}"), range })
}

/// Longest record of a log, in bytes.
const RECORD: usize = 16 << 20;
/// Records that are not messages are shorter.
const LEAST_RECORD: usize = 8192;
/// Bytes of a segment of the log.
const SEGMENT: u64 = 4 << 20;
/// Longest address that is kept.
const ADDRESS: usize = 1024;

/// An address as its text, which a disk can keep.
pub(super) fn checked_address(address: impl IntoAddress) -> Result<String, ResumeError> {
    let address =
        address.into_address().map_err(|error| ResumeError::Connect(Arc::new(error.into())))?;
    let text = address.to_string();
    check("bytes of an address", text.len(), &(1..=ADDRESS))?;
    Ok(text)
}

impl ResumeOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a suspended session waits for its peer. Default 24 h; 10 ms to 30 days.
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Bytes of messages that a session keeps until the peer committed them, each charged 128 more;
    /// a single message may be larger. Default 8 MiB; 1 KiB to 1 GiB.
    #[must_use]
    pub const fn unacknowledged_bytes(mut self, bytes: usize) -> Self {
        self.bounds.outbox = bytes;
        self
    }

    /// Bytes of messages that arrived and that the application has not taken, each charged 128
    /// more; beyond it nothing more is read, and one message or 64 KiB may be held beyond it.
    /// Default 1 MiB; 1 KiB to 1 GiB.
    #[must_use]
    pub const fn unread_bytes(mut self, bytes: usize) -> Self {
        self.bounds.inbox = bytes;
        self
    }

    /// The longest message, in bytes; both ends should mean the same. Default 1 MiB; 1 KiB to 1
    /// GiB, and some bytes less than 16 MiB of sessions that a disk keeps.
    #[must_use]
    pub const fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sessions that peers may have here. Default 256; 1 to 65,536.
    #[must_use]
    pub const fn max_sessions(mut self, max: usize) -> Self {
        self.max_sessions = max;
        self
    }

    /// Sessions that one peer may have here. Default 16; 1 to 65,536.
    #[must_use]
    pub const fn max_sessions_per_peer(mut self, max: usize) -> Self {
        self.max_sessions_per_peer = max;
        self
    }

    /// Whether all of them are inside their ranges.
    pub(super) fn check(&self) -> Result<(), ResumeError> {
        check("lifetime", self.lifetime, &LIFETIME)?;
        check("unacknowledged_bytes", self.bounds.outbox, &BYTES)?;
        check("unread_bytes", self.bounds.inbox, &BYTES)?;
        check("max_message", self.max_message, &BYTES)?;
        check("max_sessions", self.max_sessions, &SESSIONS)?;
        check("max_sessions_per_peer", self.max_sessions_per_peer, &SESSIONS)
    }

    /// What a log of these sessions takes.
    ///
    /// # Errors
    /// [`ResumeError::OutOfRange`] for messages that are longer than a record may be.
    pub(super) fn log_options(&self) -> Result<LogOptions, ResumeError> {
        let most = RECORD - entry::OVERHEAD;
        check("max_message of sessions that a disk keeps", self.max_message, &(1024..=most))?;
        let record = (self.max_message + entry::OVERHEAD).max(LEAST_RECORD);
        Ok(LogOptions::new().segment_bytes(SEGMENT).record_max(record))
    }

    /// The longest frame on a link.
    pub(super) fn max_frame(&self) -> u64 {
        (self.max_message + OVERHEAD).max(MAX_BATCH) as u64
    }
}
