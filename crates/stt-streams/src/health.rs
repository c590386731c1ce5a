//! How well a set of streams does, in one word.

use serde::Serialize;

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamsHealth {
    /// At least 9 of 10 streams are healthy, or there are none. gRPC: SERVING.
    Healthy,
    /// At least half of them. gRPC: SERVING.
    Degraded,
    /// Fewer. gRPC: `NOT_SERVING`.
    Unhealthy,
    /// The service is not running. gRPC: `NOT_SERVING`.
    Unknown,
}

impl StreamsHealth {
    /// The verdict on `healthy` of `total` streams.
    #[must_use]
    pub fn of(healthy: usize, total: usize) -> Self {
        let (healthy, total) = (healthy.saturating_mul(10), total.saturating_mul(10));
        if healthy >= total / 10 * 9 {
            Self::Healthy
        } else if healthy >= total / 2 {
            Self::Degraded
        } else {
            Self::Unhealthy
        }
    }

    /// Whether gRPC's health service answers SERVING.
    #[must_use]
    pub fn is_serving(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }
}

/// The answer to a health check; the fields and their JSON are a public format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// The verdict.
    pub status: StreamsHealth,
    /// Streams, without those that were closed.
    pub total_streams: usize,
    /// Those that did not fail and whose peers answer.
    pub healthy_streams: usize,
    /// Subscribers to events of all kinds.
    pub subscribers: usize,
    /// When it was asked, RFC 3339.
    pub timestamp: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thresholds_are_nine_tenths_and_half() {
        use StreamsHealth::{Degraded, Healthy, Unhealthy};
        let cases = [(0, 0, Healthy), (10, 10, Healthy), (9, 10, Healthy), (8, 10, Degraded)];
        let more = [(5, 10, Degraded), (4, 10, Unhealthy), (0, 1, Unhealthy), (1, 1, Healthy)];
        for (healthy, total, status) in cases.into_iter().chain(more) {
            assert_eq!(StreamsHealth::of(healthy, total), status, "{healthy} of {total}");
        }
    }
}
