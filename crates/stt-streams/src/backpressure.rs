//! When a stream is told to wait.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trigger {
    /// As many messages wait as `backpressure_limit` allows.
    Pending,
    /// The buffer is full: `buffer_size` messages wait or are under way.
    Buffer,
    /// The peer has not consumed what fills its window.
    Window,
    /// The memory limit of the stream or its manager is reached.
    Memory,
    /// This side's application takes messages more slowly than they arrive.
    SlowConsumer,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "too many messages wait to be sent",
            Self::Buffer => "the buffer is full",
            Self::Window => "the window is exhausted",
            Self::Memory => "the memory limit is reached",
            Self::SlowConsumer => "the consumer is slower than the producer",
        })
    }
}

/// A switch that remembers what put it on and for how long it was on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pressure {
    on: Option<(Trigger, Instant)>,
    total: Duration,
}

impl Pressure {
    pub(crate) fn trigger(&self) -> Option<Trigger> {
        self.on.map(|(trigger, _)| trigger)
    }

    /// True if it was off.
    pub(crate) fn set(&mut self, trigger: Trigger, now: Instant) -> bool {
        let was_off = self.on.is_none();
        let since = self.on.map_or(now, |(_, since)| since);
        self.on = Some((trigger, since));
        was_off
    }

    /// True if it was on.
    pub(crate) fn clear(&mut self, now: Instant) -> bool {
        let Some((_, since)) = self.on.take() else { return false };
        self.total += now.saturating_duration_since(since);
        true
    }

    pub(crate) fn total(&self, now: Instant) -> Duration {
        let current =
            self.on.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since));
        self.total + current
    }
}

/// Notices a consumer that takes less than arrives, three intervals in a row, while much waits.
#[derive(Clone, Debug)]
pub(crate) struct RateWatch {
    begun: Instant,
    arrived: u64,
    taken: u64,
    behind: u32,
    slow: bool,
}

impl RateWatch {
    const INTERVAL: Duration = Duration::from_secs(1);
    const INTERVALS: u32 = 3;

    pub(crate) fn new(now: Instant) -> Self {
        Self { begun: now, arrived: 0, taken: 0, behind: 0, slow: false }
    }

    pub(crate) fn on_arrival(&mut self) {
        self.arrived += 1;
    }

    pub(crate) fn on_taken(&mut self) {
        self.taken += 1;
    }

    /// When to look again, if something is to be seen.
    pub(crate) fn deadline(&self, waiting: usize) -> Option<Instant> {
        (waiting > 0 || self.slow).then(|| self.begun + Self::INTERVAL)
    }

    /// `Some` when the verdict changed. `waiting` messages were not taken yet, `much` is many.
    pub(crate) fn look(&mut self, now: Instant, waiting: usize, much: usize) -> Option<bool> {
        if now.saturating_duration_since(self.begun) < Self::INTERVAL {
            return None;
        }
        // A full window stops arrivals, so much that waits untouched counts as falling behind.
        let falls = waiting >= much.max(1) && self.arrived.max(1) > self.taken;
        self.behind = if falls { self.behind.saturating_add(1) } else { 0 };
        (self.begun, self.arrived, self.taken) = (now, 0, 0);
        let slow =
            if self.slow { waiting >= (much / 2).max(1) } else { self.behind >= Self::INTERVALS };
        let changed = slow != self.slow;
        self.slow = slow;
        changed.then_some(slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_slow_after_three_intervals_and_recovers_below_half() {
        let mut now = Instant::now();
        let mut watch = RateWatch::new(now);
        let mut verdicts = Vec::new();
        for waiting in [60, 70, 80, 90, 40, 20] {
            watch.on_arrival();
            now += RateWatch::INTERVAL;
            verdicts.push(watch.look(now, waiting, 50));
        }
        assert_eq!(verdicts, [None, None, Some(true), None, None, Some(false)]);
    }

    #[test]
    fn pressure_adds_up_its_time() {
        let start = Instant::now();
        let mut pressure = Pressure::default();
        assert!(pressure.set(Trigger::Pending, start));
        assert!(!pressure.set(Trigger::Buffer, start + Duration::from_secs(1)));
        assert!(pressure.clear(start + Duration::from_secs(2)));
        assert!(!pressure.clear(start + Duration::from_secs(3)));
        assert_eq!(pressure.total(start + Duration::from_secs(9)), Duration::from_secs(2));
    }
}
