//! How much is taken in a second. No clocks of its own.

use std::time::{Duration, Instant};

/// Messages and bytes a second. After a quiet time, a second's worth is taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRate {
    /// Messages a second, from 1.
    pub messages: u32,
    /// Their bytes a second, from 1. A single longer message passes, and is waited for afterwards.
    pub bytes: u32,
}

/// How long a limit may be overdrawn: others' messages come as the network lets them, in bursts.
pub(crate) const BURST: Duration = Duration::from_secs(1);
/// The same for one's own, less, so that others with the same limit take what was sent.
pub(crate) const OWN_BURST: Duration = Duration::from_millis(500);

/// What was taken: for messages and for bytes, until when that takes at the rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    messages: Instant,
    bytes: Instant,
}

fn cost(units: u64, of_a_second: u32) -> Duration {
    // Rounded up, so that no limit lets one more through.
    let nanos = units.saturating_mul(1_000_000_000).div_ceil(u64::from(of_a_second.max(1)));
    Duration::from_nanos(nanos)
}

impl Meter {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { messages: now, bytes: now }
    }

    /// Whether anything may be taken now.
    pub(crate) fn has_room(&self, now: Instant, burst: Duration) -> bool {
        let ahead = self.messages.max(self.bytes).saturating_duration_since(now);
        ahead < burst
    }

    /// Takes a message of `len` bytes.
    pub(crate) fn take(&mut self, rate: MessageRate, len: usize, now: Instant) {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.messages = self.messages.max(now) + cost(1, rate.messages);
        self.bytes = self.bytes.max(now) + cost(len, rate.bytes);
    }

    /// Forgets what it would take longer than `most` to wait for.
    pub(crate) fn forgive(&mut self, now: Instant, most: Duration) {
        self.messages = self.messages.min(now + most);
        self.bytes = self.bytes.min(now + most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_passes_at_once_and_then_as_much_as_the_rate() {
        let rate = MessageRate { messages: 10, bytes: 1_000 };
        let start = Instant::now();
        let taken = |meter: &mut Meter, len: usize, now: Instant| {
            let mut taken = 0;
            while meter.has_room(now, BURST) {
                meter.take(rate, len, now);
                taken += 1;
            }
            taken
        };
        let mut meter = Meter::new(start);
        assert_eq!(taken(&mut meter, 1, start), 10);
        assert_eq!(taken(&mut meter, 1, start + Duration::from_millis(500)), 5);
        assert_eq!(taken(&mut meter, 1, start + Duration::from_secs(60)), 10);
        let mut meter = Meter::new(start);
        let odd = MessageRate { messages: 15, bytes: u32::MAX };
        let mut taken_of_odd = 0;
        while meter.has_room(start, BURST) {
            meter.take(odd, 1, start);
            taken_of_odd += 1;
        }
        assert_eq!(taken_of_odd, 15);
        // By bytes, and one message that is longer than a second's worth.
        let mut meter = Meter::new(start);
        assert_eq!(taken(&mut meter, 250, start), 4);
        let mut meter = Meter::new(start);
        assert_eq!(taken(&mut meter, 5_000, start), 1);
        assert!(!meter.has_room(start + Duration::from_millis(3_999), BURST));
        assert!(meter.has_room(start + Duration::from_millis(4_001), BURST));
    }
}
