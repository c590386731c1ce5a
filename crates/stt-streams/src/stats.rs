//! What streams and their managers count.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use crate::{BreakerState, Trigger};

/// A stream's statistics; the fields and their JSON are a public format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ManagedStats {
    /// Its id.
    pub id: String,
    /// Messages that wait now, in the direction that has more.
    pub buffer_size: usize,
    /// Most messages that may wait.
    pub max_buffer: usize,
    /// Retries since it was created.
    pub retry_count: u32,
    /// Time of the last message, RFC 3339.
    pub last_activity: String,
    /// Whether there is backpressure.
    pub backpressure: bool,
    /// Whether it has a peer that answers.
    pub healthy: bool,
    /// Time since it was created, as `5m30s`.
    pub uptime: String,
}

/// What a stream counts beyond [`ManagedStats`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamMetrics {
    /// Messages sent, repetitions not counted.
    pub sent: u64,
    /// Messages that arrived.
    pub received: u64,
    /// Messages that the application acknowledged.
    pub consumed: u64,
    /// Messages that a lossy stream dropped.
    pub dropped: u64,
    /// Bytes that it holds for its peer.
    pub outbound_bytes: usize,
    /// Bytes that it holds for its application.
    pub inbound_bytes: usize,
    /// What there is too much of now.
    pub backpressure: Option<Trigger>,
    /// Time in backpressure since it was created.
    pub backpressure_time: Duration,
    /// Transient failures.
    pub transient_errors: u64,
    /// Permanent failures.
    pub permanent_errors: u64,
    /// Timeouts.
    pub timeout_errors: u64,
    /// Messages refused because something was exhausted.
    pub resource_errors: u64,
    /// The circuit breaker of its destination, if it calls one.
    pub breaker: Option<BreakerState>,
}

/// Statistics of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServiceStats {
    /// Streams that have not ended.
    pub active_streams: usize,
    /// Subscribers to events of all kinds.
    pub subscribers: usize,
    /// Each stream's statistics by its id.
    pub streams: BTreeMap<String, ManagedStats>,
}

/// RFC 3339, to the second.
pub(crate) fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

/// `1h2m3s`; whole seconds.
pub(crate) fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_documented() {
        assert_eq!(uptime(Duration::from_secs(330)), "5m30s");
        assert_eq!(uptime(Duration::from_secs(7)), "7s");
        assert_eq!(uptime(Duration::from_secs(90_061)), "25h1m1s");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_672_574_400);
        assert_eq!(timestamp(at), "2023-01-01T12:00:00Z");
    }
}
