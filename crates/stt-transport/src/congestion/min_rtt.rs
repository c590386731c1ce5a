//! The shortest round trip of the path, and when it has to be measured anew.

use std::time::{Duration, Instant};

/// How long a shortest round trip is believed before it is measured again with a drained queue
/// (`draft-ietf-ccwg-bbr`: `ProbeRTTInterval`).
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a measured minimum counts at all. The draft says 10 s; while others keep a queue ours is
/// not drained in full, so a true minimum is rarer here and kept longer.
const MEMORY: Duration = Duration::from_secs(30);

/// Windowed minimum of round trips.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinRtt {
    min: Option<(Duration, Instant)>,
    /// The minimum since the last probe, which replaces an expired one.
    recent: Option<(Duration, Instant)>,
}

impl MinRtt {
    pub(super) const fn new() -> Self {
        Self { min: None, recent: None }
    }

    /// `None` before the first sample.
    pub(super) fn get(&self) -> Option<Duration> {
        self.min.map(|(rtt, _)| rtt)
    }

    /// Takes a sample; true if the recent minimum had expired, which calls for a probe.
    pub(super) fn update(&mut self, now: Instant, rtt: Duration) -> bool {
        let expired = |entry: Option<(Duration, Instant)>, after: Duration| {
            entry.is_some_and(|(_, at)| now.saturating_duration_since(at) > after)
        };
        let probe = expired(self.recent, PROBE_INTERVAL);
        if probe || self.recent.is_none_or(|(min, _)| rtt <= min) {
            self.recent = Some((rtt, now));
        }
        if let Some((recent, at)) = self.recent
            && (expired(self.min, MEMORY) || self.min.is_none_or(|(min, _)| recent <= min))
        {
            self.min = Some((recent, at));
        }
        probe
    }

    /// The queue was just drained on purpose: the recent minimum is as fresh as `now`.
    pub(super) fn refreshed(&mut self, now: Instant) {
        if let Some((_, at)) = &mut self.recent {
            *at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_minimum_and_asks_for_a_probe_after_five_seconds() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let rtt = Duration::from_millis;
        let mut min = MinRtt::new();
        assert!(!min.update(at(0), rtt(50)));
        assert!(!min.update(at(1000), rtt(80)));
        assert_eq!(min.get(), Some(rtt(50)));
        assert!(min.update(at(5001), rtt(80)), "the minimum is old");
        assert!(!min.update(at(5002), rtt(80)), "asked once");
        assert_eq!(min.get(), Some(rtt(50)), "still the best known");
        assert!(min.update(at(30_000), rtt(80)));
        assert_eq!(min.get(), Some(rtt(50)), "a drained queue is rare, so it is remembered");
        min.update(at(30_001 + 1000), rtt(90));
        assert_eq!(min.get(), Some(rtt(80)), "a longer route replaces it in the end");
        min.update(at(31_002), rtt(20));
        assert_eq!(min.get(), Some(rtt(20)), "a shorter one at once");
    }
}
