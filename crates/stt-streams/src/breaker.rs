//! The circuit breaker: who fails again and again is left alone for a while.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing, for a while.
    Open,
    /// One probe, whose outcome decides.
    HalfOpen,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    pub(crate) failures: u32,
    pub(crate) open_for: Duration,
}

impl BreakerConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Failures in a row that open it; at least 1. 5.
    #[must_use]
    pub const fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// How long it stays open before a probe. 10 s.
    #[must_use]
    pub const fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(10) }
    }
}

/// The state machine, without a clock of its own.
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    config: BreakerConfig,
    failures: u32,
    opened: Option<Instant>,
    probe: Option<Instant>,
}

impl CircuitBreaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, failures: 0, opened: None, probe: None }
    }

    /// What it lets through at `now`.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match self.opened {
            None => BreakerState::Closed,
            Some(_) if self.probe.is_some() => BreakerState::HalfOpen,
            Some(opened) if now.saturating_duration_since(opened) >= self.config.open_for => {
                BreakerState::HalfOpen
            }
            Some(_) => BreakerState::Open,
        }
    }

    /// Asks to make one call. True obliges to report it by [`on_success`](Self::on_success),
    /// [`on_failure`](Self::on_failure) or [`on_abandon`](Self::on_abandon).
    pub fn admit(&mut self, now: Instant) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::Open => false,
            BreakerState::HalfOpen => {
                let free = self.probe.is_none();
                if free {
                    self.probe = Some(now);
                }
                free
            }
        }
    }

    /// A call succeeded.
    pub fn on_success(&mut self) {
        self.failures = 0;
        self.opened = None;
        self.probe = None;
    }

    /// A call failed.
    pub fn on_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        // A call from before it opened says nothing new while a probe is under way.
        if self.probe.take().is_some() || self.opened.is_none() {
            self.opened = (self.failures >= self.config.failures.max(1)).then_some(now);
        }
    }

    /// A call was dropped before its outcome was known; another may probe.
    pub fn on_abandon(&mut self) {
        self.probe = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_probes_once() {
        let config = BreakerConfig::default();
        let start = Instant::now();
        let mut breaker = CircuitBreaker::new(config);
        for _ in 0..4 {
            assert!(breaker.admit(start));
            breaker.on_failure(start);
        }
        breaker.on_success();
        for _ in 0..5 {
            assert_eq!(breaker.state(start), BreakerState::Closed);
            assert!(breaker.admit(start));
            breaker.on_failure(start);
        }
        assert_eq!(breaker.state(start), BreakerState::Open);
        assert!(!breaker.admit(start + config.open_for - Duration::from_millis(1)));

        let later = start + config.open_for;
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        assert!(breaker.admit(later));
        assert!(!breaker.admit(later), "one probe only");
        breaker.on_failure(later);
        assert_eq!(breaker.state(later), BreakerState::Open);

        let again = later + config.open_for;
        assert!(breaker.admit(again));
        breaker.on_abandon();
        assert!(breaker.admit(again), "a dropped probe frees its place");
        breaker.on_success();
        assert_eq!(breaker.state(again), BreakerState::Closed);
    }
}
