//! Acknowledgements come in lumps: how much more than the path's rate they deliver at once.

use std::time::Instant;

/// Round trips that an excess is remembered for (`draft-ietf-ccwg-bbr`: `ExtraAckedFilterLen`).
const WINDOW_ROUNDS: u64 = 10;

/// Largest excess of acknowledged bytes over what the estimated bandwidth explains. The window is
/// this much larger, so that a sender does not wait for the next lump with an idle path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aggregation {
    start: Instant,
    acked: u64,
    max: f64,
    max_before: f64,
    turned: u64,
}

impl Aggregation {
    pub(super) const fn new(now: Instant) -> Self {
        Self { start: now, acked: 0, max: 0.0, max_before: 0.0, turned: 0 }
    }

    /// Bytes.
    pub(super) const fn get(&self) -> f64 {
        self.max.max(self.max_before)
    }

    /// `bytes` were acknowledged at `now`, in round trip `round`, with `window` allowed in flight.
    pub(super) fn update(
        &mut self,
        now: Instant,
        round: u64,
        bytes: u64,
        bandwidth: f64,
        window: u64,
    ) {
        if round.saturating_sub(self.turned) >= WINDOW_ROUNDS / 2 {
            self.turned = round;
            self.max_before = self.max;
            self.max = 0.0;
        }
        let explained =
            |since: Instant| bandwidth * now.saturating_duration_since(since).as_secs_f64();
        if self.acked as f64 <= explained(self.start) {
            self.start = now;
            self.acked = 0;
        }
        self.acked = self.acked.saturating_add(bytes);
        let excess = (self.acked as f64 - explained(self.start)).min(window as f64);
        self.max = self.max.max(excess);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lumps_are_measured_and_forgotten() {
        let start = Instant::now();
        let mut aggregation = Aggregation::new(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        for round in 0..10 {
            // 10,000 bytes every 10 ms, at once, on a path of 1 MB/s.
            aggregation.update(at(10 * round + 10), round, 10_000, 1e6, 1 << 20);
        }
        assert!((9_000.0..=20_000.0).contains(&aggregation.get()), "{}", aggregation.get());
        for step in 0..2_000 {
            aggregation.update(at(200 + step), 10 + step / 100, 900, 1e6, 1 << 20);
        }
        assert!(aggregation.get() <= 2_000.0, "{}", aggregation.get());
    }

    #[test]
    fn never_more_than_the_window() {
        let start = Instant::now();
        let mut aggregation = Aggregation::new(start);
        aggregation.update(start, 0, u64::MAX, 1.0, 5_000);
        assert_eq!(aggregation.get(), 5_000.0);
    }
}
