//! A token bucket.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

/// So many units a second, and a burst on top.
///
/// All that is kept is the time at which the bucket would be full again (the "virtual scheduling"
/// form of the generic cell rate algorithm, ITU-T I.371): no timer, no rounding that adds up.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    per_second: NonZeroU64,
    /// Time in which an empty bucket fills.
    burst: Duration,
    /// `None` while nothing was ever taken.
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket of `burst` seconds' worth.
    pub const fn new(per_second: NonZeroU64, burst: Duration) -> Self {
        Self { per_second, burst, full_at: None }
    }

    /// Takes `amount` if so much is there.
    pub fn try_take(&mut self, now: Instant, amount: u64) -> bool {
        let after = self.after(now, amount);
        let fits = after.saturating_duration_since(now) <= self.burst;
        if fits {
            self.full_at = Some(after);
        }
        fits
    }

    /// Takes `amount`, there or not, and says how long to wait before it may be used. Those who ask
    /// are served in the order in which they asked.
    pub fn reserve(&mut self, now: Instant, amount: u64) -> Duration {
        let after = self.after(now, amount);
        self.full_at = Some(after);
        after.saturating_duration_since(now).saturating_sub(self.burst)
    }

    /// Whether all that was taken has flowed in again.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }

    /// When it would be full again if `amount` were taken.
    fn after(&self, now: Instant, amount: u64) -> Instant {
        let nanos = (u128::from(amount) * 1_000_000_000).div_ceil(self.per_second.get().into());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let from = self.full_at.map_or(now, |at| at.max(now));
        // A time that the clock cannot express is as far away as anything.
        from.checked_add(cost).unwrap_or(from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bucket(per_second: u64, burst: Duration) -> TokenBucket {
        TokenBucket::new(NonZeroU64::new(per_second).unwrap(), burst)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (mut bucket, start) = (bucket(10, 2 * SECOND), Instant::now());
        assert_eq!((0..100).filter(|_| bucket.try_take(start, 1)).count(), 20);
        assert!(!bucket.try_take(start + SECOND / 11, 1), "nothing flowed in yet");
        assert!(bucket.try_take(start + SECOND / 10, 1));
        let later = start + SECOND;
        assert_eq!((0..100).filter(|_| bucket.try_take(later, 1)).count(), 9);
        assert!(!bucket.is_full(later));
        assert!(bucket.is_full(later + 2 * SECOND));
    }

    #[test]
    fn what_is_refused_costs_nothing() {
        let (mut bucket, start) = (bucket(1, SECOND), Instant::now());
        assert!(bucket.try_take(start, 1));
        for _ in 0..1_000 {
            assert!(!bucket.try_take(start, 1));
        }
        assert!(bucket.try_take(start + SECOND, 1));
    }

    #[test]
    fn those_who_reserve_wait_in_turn() {
        let (mut bucket, start) = (bucket(1_000, SECOND / 10), Instant::now());
        assert_eq!(bucket.reserve(start, 100), Duration::ZERO, "the burst");
        assert_eq!(bucket.reserve(start, 100), SECOND / 10);
        assert_eq!(bucket.reserve(start, 100), SECOND / 5);
        assert_eq!(bucket.reserve(start + SECOND / 5, 100), SECOND / 10);
    }

    proptest! {
        /// Whatever the pieces and the pauses, never more passes than the rate and one burst.
        #[test]
        fn the_rate_is_never_exceeded(
            rate in 1_u64..2_000_000_000,
            pieces in proptest::collection::vec((1_u64..70_000, 0_u64..50_000_000), 1..200),
        ) {
            let (mut bucket, start) = (bucket(rate, SECOND / 50), Instant::now());
            let (mut now, mut total) = (start, 0_u64);
            for (amount, pause) in pieces {
                now += Duration::from_nanos(pause);
                now += bucket.reserve(now, amount);
                total += amount;
                let seconds = (now - start).as_secs_f64() + 0.02;
                prop_assert!(total as f64 <= rate as f64 * seconds * 1.000_001 + 1.0);
            }
        }
    }
}
