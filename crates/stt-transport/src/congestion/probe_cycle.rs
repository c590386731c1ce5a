//! When to probe the path for more bandwidth.

use std::time::{Duration, Instant};

/// Longest wait between probes, in round trips: how soon a Reno flow of 63 packets would have
/// probed again (`draft-ietf-ccwg-bbr`, "BBRIsRenoCoexistenceProbeTime").
const MAX_ROUNDS: u64 = 63;

/// Shortest wait between probes by the clock; up to a second more is drawn for each.
const MIN_WAIT: Duration = Duration::from_secs(2);

/// The timing of the probing cycle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    random: u64,
    started: Instant,
    round: u64,
    wait: Duration,
    rounds: u64,
}

impl Cycle {
    pub(super) const fn new(now: Instant, seed: u64) -> Self {
        Self { random: seed, started: now, round: 0, wait: MIN_WAIT, rounds: MAX_ROUNDS }
    }

    /// A cycle starts: draws how long it will last.
    pub(super) fn start(&mut self, now: Instant, round: u64) {
        self.started = now;
        self.wait = MIN_WAIT + Duration::from_millis(self.draw() % 1000);
        self.round = round.saturating_sub(self.draw() % 2);
    }

    /// Whether it is time to probe; `packets` is how many fit in the path.
    pub(super) fn is_over(&self, now: Instant, round: u64, packets: u64) -> bool {
        now.saturating_duration_since(self.started) >= self.wait
            || round.saturating_sub(self.round) >= packets.clamp(1, self.rounds)
    }

    /// SplitMix64: a few spread-out numbers, nothing secret.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_by_clock_or_by_rounds() {
        let start = Instant::now();
        let mut cycle = Cycle::new(start, 7);
        cycle.start(start, 100);
        assert!(!cycle.is_over(start + MIN_WAIT - Duration::from_millis(1), 110, 1000));
        assert!(cycle.is_over(start + MIN_WAIT + Duration::from_secs(1), 110, 1000));
        assert!(cycle.is_over(start, 100 + MAX_ROUNDS, 1000));
        assert!(cycle.is_over(start, 104, 4), "a thin path is probed sooner");
    }
}
