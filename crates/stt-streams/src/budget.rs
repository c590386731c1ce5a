//! The retry budget: how much of what is sent may be retries.

use std::time::Instant;

/// Retries that are always allowed at low load.
const RESERVE: f64 = 20.0;
/// Each first attempt earns this much of a retry.
const PER_ATTEMPT: f64 = 0.1;
/// The reserve fills up by one retry in this many seconds.
const SECONDS_PER_RETRY: f64 = 1.0;
/// Most retries that can be saved up.
const MOST: f64 = 1_000.0;

/// A bucket of retries, one for all streams of a manager.
///
/// A retry is taken before its wait, so that callers in backoff are counted.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    tokens: f64,
    filled: Instant,
}

impl RetryBudget {
    /// A full reserve.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { tokens: RESERVE, filled: now }
    }

    /// A first attempt is made.
    pub fn on_attempt(&mut self) {
        self.tokens = (self.tokens + PER_ATTEMPT).min(MOST);
    }

    /// Takes one retry. False: give up instead.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        if self.tokens < RESERVE {
            self.tokens = (self.tokens + passed / SECONDS_PER_RETRY).min(RESERVE);
        }
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 1,000 callers over a minute against a dead backend: at most a fifth more than the requests.
    #[test]
    fn retries_stay_below_a_fifth_of_the_requests() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        let (mut attempts, callers, retries) = (0, 1_000, 3);
        for caller in 0..callers {
            let now = start + Duration::from_millis(60) * caller;
            budget.on_attempt();
            attempts += 1;
            for _ in 0..retries {
                if !budget.take(now) {
                    break;
                }
                attempts += 1;
            }
        }
        assert!(attempts <= 1_200, "{attempts} attempts for {callers} requests");
    }

    #[test]
    fn low_load_has_all_its_retries() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        for request in 0..100 {
            let now = start + Duration::from_secs(4) * request;
            budget.on_attempt();
            assert!((0..3).all(|_| budget.take(now)));
        }
    }
}
