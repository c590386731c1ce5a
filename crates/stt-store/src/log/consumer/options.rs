//! Settings of a consumer.

use std::time::Duration;

use super::machine::Limits;
use crate::{StoreError, log::Position};

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

/// Settings of a [`Consumer`](super::Consumer). All handles that have one consumer open use the
/// same ones; later it can be opened with others.
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

fn setting<T>(what: String) -> Result<T, StoreError> {
    Err(StoreError::Setting { what })
}

impl ConsumerOptions {
    /// Where it begins if there is no consumer of that name yet. Default: the oldest record.
    #[must_use]
    pub const fn with_start(mut self, start: ConsumerStart) -> Self {
        self.start = start;
        self
    }

    /// How long a record may be neither acknowledged nor extended before it is delivered again.
    /// Default 30 s; 10 ms to 24 h.
    ///
    /// While a [`Delivery`](super::Delivery) exists it is extended by itself, so this matters for
    /// [detached](super::Delivery::detach) ones.
    ///
    /// # Errors
    /// [`StoreError::Setting`] out of range.
    pub fn with_ack_wait(mut self, wait: Duration) -> Result<Self, StoreError> {
        if !ACK_WAIT.contains(&wait) {
            return setting(format!("ack_wait is {wait:?}; 10 ms to 24 h are allowed"));
        }
        self.limits.ack_wait = wait;
        Ok(self)
    }

    /// For how long a [`Delivery`](super::Delivery) is extended by itself, against handlers that
    /// hang. Default: as long as it exists. It counts in steps of the acknowledgement deadline.
    #[must_use]
    pub const fn with_handler_max(mut self, max: Duration) -> Self {
        self.limits.handler_max = Some(max);
        self
    }

    /// How often a record is delivered before it becomes a dead letter; `None`: for ever. Default
    /// 5; at least 1.
    ///
    /// # Errors
    /// [`StoreError::Setting`] for 0.
    pub fn with_max_deliveries(mut self, max: Option<u32>) -> Result<Self, StoreError> {
        if max == Some(0) {
            return setting("max_deliveries is 0; 1 or more are allowed".to_owned());
        }
        self.limits.max_deliveries = max;
        Ok(self)
    }

    /// Records that may be read ahead, delivered or waiting for a retry, together. When there are
    /// so many, nothing new is delivered until one is acknowledged. Default 1,024; 1 to 4,096.
    ///
    /// # Errors
    /// [`StoreError::Setting`] out of range.
    pub fn with_outstanding(mut self, records: usize) -> Result<Self, StoreError> {
        if !(1..=OUTSTANDING_LIMIT).contains(&records) {
            return setting(format!(
                "outstanding is {records}; 1 to {OUTSTANDING_LIMIT} are allowed"
            ));
        }
        self.limits.outstanding = records;
        Ok(self)
    }

    /// Bytes of the records that are outstanding; a single one may be larger. Default 8 MiB;
    /// 1 byte to 1 GiB.
    ///
    /// # Errors
    /// [`StoreError::Setting`] out of range.
    pub fn with_outstanding_bytes(mut self, bytes: usize) -> Result<Self, StoreError> {
        if !(1..=BYTES_LIMIT).contains(&bytes) {
            return setting(format!(
                "outstanding_bytes is {bytes}; 1 to {BYTES_LIMIT} are allowed"
            ));
        }
        self.limits.outstanding_bytes = bytes;
        Ok(self)
    }
}
