//! Settings of a consumer.

use std::time::Duration;

use super::machine::Limits;
use crate::{StoreError, log::Position, setting_error::within};

/// Most records that can be outstanding: the file of a consumer has room for so many.
pub(super) const OUTSTANDING_LIMIT: usize = 4096;
const BYTES_LIMIT: usize = 1 << 30;
const ACK_WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(24 * 3600);

/// Where a consumer begins that is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerStart {
    /// With the oldest record that is kept.
    #[default]
    Oldest,
    /// With the next record that is appended.
    End,
    /// With the record at this position.
    At(Position),
}

/// Settings of a [`Consumer`](super::Consumer); opening it tells what is out of its range. All
/// handles that have one consumer open use the same ones; later it can be opened with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerOptions {
    pub(super) start: ConsumerStart,
    pub(super) limits: Limits,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        let limits = Limits {
            ack_wait: Duration::from_secs(30),
            handler_max: None,
            max_deliveries: Some(5),
            outstanding: 1024,
            outstanding_bytes: 8 << 20,
        };
        Self { start: ConsumerStart::Oldest, limits }
    }
}

impl ConsumerOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where it begins if there is no consumer of that name yet. Default: the oldest record.
    #[must_use]
    pub const fn start(mut self, start: ConsumerStart) -> Self {
        self.start = start;
        self
    }

    /// How long a record may be neither acknowledged nor extended before it is delivered again.
    /// Default 30 s; 10 ms to 24 h.
    ///
    /// While a [`ConsumerRecord`](super::ConsumerRecord) exists it is extended by itself, so this
    /// matters for [detached](super::ConsumerRecord::detach) ones.
    #[must_use]
    pub const fn ack_wait(mut self, wait: Duration) -> Self {
        self.limits.ack_wait = wait;
        self
    }

    /// For how long a [`ConsumerRecord`](super::ConsumerRecord) is extended by itself, against
    /// handlers that hang. Default: as long as it exists. It counts in steps of the acknowledgement
    /// deadline.
    #[must_use]
    pub const fn handler_max(mut self, max: Duration) -> Self {
        self.limits.handler_max = Some(max);
        self
    }

    /// How often a record is delivered before it becomes a dead letter; `None`: for ever. Default
    /// 5; at least 1.
    #[must_use]
    pub const fn max_deliveries(mut self, max: Option<u32>) -> Self {
        self.limits.max_deliveries = max;
        self
    }

    /// Records that may be read ahead, delivered or waiting for a retry, together. When there are
    /// so many, nothing new is delivered until one is acknowledged. Default 1,024; 1 to 4,096.
    #[must_use]
    pub const fn outstanding(mut self, records: usize) -> Self {
        self.limits.outstanding = records;
        self
    }

    /// Bytes of the records that are outstanding; a single one may be larger. Default 8 MiB;
    /// 1 byte to 1 GiB.
    #[must_use]
    pub const fn outstanding_bytes(mut self, bytes: usize) -> Self {
        self.limits.outstanding_bytes = bytes;
        self
    }

    /// Whether all settings are inside their ranges.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let limits = &self.limits;
        within("ack_wait", limits.ack_wait, &ACK_WAIT)?;
        within("max_deliveries", limits.max_deliveries.unwrap_or(1), &(1..=u32::MAX))?;
        within("outstanding", limits.outstanding, &(1..=OUTSTANDING_LIMIT))?;
        Ok(within("outstanding_bytes", limits.outstanding_bytes, &(1..=BYTES_LIMIT))?)
    }
}
