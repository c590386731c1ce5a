//! How managed streams behave.

use std::time::Duration;

use crate::StreamsError;

/// What a message is charged beyond its bytes, so that empty ones are not free.
pub const MESSAGE_OVERHEAD: usize = 64;

/// Settings of a stream, each with its range and its default.
///
/// [`StreamManager`](crate::StreamManager) checks them; a value outside its range is
/// [`StreamsError::OutOfRange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    pub(crate) buffer_size: usize,
    pub(crate) max_retries: u32,
    pub(crate) retry_delay: Duration,
    pub(crate) backpressure_limit: usize,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) memory_limit: usize,
    pub(crate) max_message_size: usize,
    pub(crate) auto_acknowledge: bool,
    pub(crate) lossy: bool,
}

impl StreamConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Highest ceiling of a wait between retries.
    pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

    /// Messages that the stream holds for its peer: those that wait and those that were sent and
    /// are not consumed yet. Also the first window. 1 to 1,000,000; 1,000.
    #[must_use]
    pub const fn buffer_size(mut self, messages: usize) -> Self {
        self.buffer_size = messages;
        self
    }

    /// Retries of one failed operation. 0 to 100; 3.
    #[must_use]
    pub const fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Ceiling of the first wait before a retry; each further ceiling is twice as high, up to
    /// [`StreamConfig::MAX_RETRY_DELAY`]. The wait is drawn evenly below it. 1 ms to 30 s; 1 s.
    #[must_use]
    pub const fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// Messages that may wait to be sent before there is backpressure, which ends below half. 1 to
    /// `buffer_size`; 100. The places above are for messages on their way, and for a batch.
    #[must_use]
    pub const fn backpressure_limit(mut self, messages: usize) -> Self {
        self.backpressure_limit = messages;
        self
    }

    /// Time between heartbeats. 10 ms to 1 h; 30 s.
    #[must_use]
    pub const fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// Time without a message in either direction after which the stream ends; heartbeats do not
    /// count. 10 ms to 30 days; 5 min.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Bytes that the stream may hold, half for each direction, each message charged
    /// [`MESSAGE_OVERHEAD`] more. 1 KiB to 4 GiB; 16 MiB.
    #[must_use]
    pub const fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Longest message in bytes. 1 to `memory_limit / 2 - MESSAGE_OVERHEAD`; 1 MiB.
    #[must_use]
    pub const fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Whether taking a message out acknowledges it. Yes; otherwise
    /// [`acknowledge`](crate::BidirectionalStream::acknowledge) does.
    #[must_use]
    pub const fn auto_acknowledge(mut self, yes: bool) -> Self {
        self.auto_acknowledge = yes;
        self
    }

    /// Whether old messages that wait may be dropped for new ones under backpressure. No.
    #[must_use]
    pub const fn lossy(mut self, yes: bool) -> Self {
        self.lossy = yes;
        self
    }

    /// Longest message in bytes, as it is set.
    #[must_use]
    pub const fn longest_message(&self) -> usize {
        self.max_message_size
    }

    /// Whether all settings are inside their ranges.
    ///
    /// # Errors
    /// [`StreamsError::OutOfRange`] for the first that is outside its range.
    pub fn check(&self) -> Result<(), StreamsError> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let longest = count(self.memory_limit / 2).saturating_sub(count(MESSAGE_OVERHEAD));
        for (what, got, min, max) in [
            ("buffer_size", count(self.buffer_size), 1, 1_000_000),
            ("max_retries", u64::from(self.max_retries), 0, 100),
            ("retry_delay in ms", ms(self.retry_delay), 1, 30_000),
            ("backpressure_limit", count(self.backpressure_limit), 1, count(self.buffer_size)),
            ("heartbeat_interval in ms", ms(self.heartbeat_interval), 10, 3_600_000),
            ("timeout in ms", ms(self.timeout), 10, 30 * 86_400_000),
            ("memory_limit", count(self.memory_limit), 1 << 10, 4 << 30),
            ("max_message_size", count(self.max_message_size), 1, longest),
        ] {
            if got < min || got > max {
                return Err(StreamsError::OutOfRange { what, min, max, got });
            }
        }
        Ok(())
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            buffer_size: 1_000,
            max_retries: 3,
            retry_delay: Duration::from_secs(1),
            backpressure_limit: 100,
            heartbeat_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(300),
            memory_limit: 16 << 20,
            max_message_size: 1 << 20,
            auto_acknowledge: true,
            lossy: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_field_is_checked() {
        let fine = StreamConfig::default();
        assert_eq!(fine.check(), Ok(()));
        let broken = [
            StreamConfig { buffer_size: 0, ..fine.clone() },
            StreamConfig { max_retries: 101, ..fine.clone() },
            StreamConfig { retry_delay: Duration::ZERO, ..fine.clone() },
            StreamConfig { backpressure_limit: 1_001, ..fine.clone() },
            StreamConfig { heartbeat_interval: Duration::ZERO, ..fine.clone() },
            StreamConfig { timeout: Duration::ZERO, ..fine.clone() },
            StreamConfig { memory_limit: 0, ..fine.clone() },
            StreamConfig { max_message_size: 8 << 20, ..fine.clone() },
        ];
        for config in broken {
            assert!(matches!(config.check(), Err(StreamsError::OutOfRange { .. })), "{config:?}");
        }
    }
}
