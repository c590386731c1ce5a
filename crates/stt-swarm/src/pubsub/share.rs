//! Who may go on when a topic is over its limit: each publisher has a share. No clocks of its own.

use std::time::{Duration, Instant};

use super::{
    rate::{BURST, MessageRate, Meter},
    topics::Limits,
};

/// Who was heard in this time has a share.
pub(crate) const ACTIVE: Duration = Duration::from_secs(2);
/// How often they are counted.
const COUNT_EACH: Duration = Duration::from_millis(250);

/// What is taken of all publishers of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    all: Meter,
    /// What was taken although the limit was reached: as much again, at most.
    beyond: Meter,
    active: u32,
    counted: Instant,
}

/// What is taken of one publisher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    own: Meter,
    share: Meter,
    heard: Option<Instant>,
}

impl Taken {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { own: Meter::new(now), share: Meter::new(now), heard: None }
    }

    /// Whether it has a share of its topic.
    pub(crate) fn is_active(&self, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now.saturating_duration_since(heard) < ACTIVE)
    }
}

impl Shared {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { all: Meter::new(now), beyond: Meter::new(now), active: 0, counted: now }
    }

    /// Whether something of a publisher is taken: it is below its own limit, and all together are
    /// below theirs or it is below its share. `of_one` is nothing if it was not heard before.
    pub(crate) fn takes(&self, of_one: Option<&Taken>, now: Instant) -> bool {
        if of_one.is_some_and(|one| !one.own.has_room(now, BURST)) {
            return false;
        }
        self.all.has_room(now, BURST)
            || (self.beyond.has_room(now, BURST)
                && of_one.is_none_or(|one| one.share.has_room(now, BURST)))
    }

    /// Counts those that have a share, now and then.
    pub(crate) fn count(&mut self, now: Instant, active: impl FnOnce() -> usize) {
        if now.saturating_duration_since(self.counted) >= COUNT_EACH {
            self.active = u32::try_from(active()).unwrap_or(u32::MAX);
            self.counted = now;
        }
    }

    /// Takes a message of `len` bytes.
    pub(crate) fn take(&mut self, of_one: &mut Taken, limits: Limits, len: usize, now: Instant) {
        if !of_one.is_active(now) {
            self.active = self.active.saturating_add(1);
        }
        let all = limits.topic;
        if !self.all.has_room(now, BURST) {
            self.beyond.take(all, len, now);
        }
        of_one.heard = Some(now);
        of_one.own.take(limits.publisher, len, now);
        let share = MessageRate {
            messages: (all.messages / self.active.max(1)).max(1),
            bytes: (all.bytes / self.active.max(1)).max(1),
        };
        of_one.share.take(share, len, now);
        // Who took what nobody else wanted has its share again soon after others come.
        of_one.share.forgive(now, ACTIVE);
        self.all.take(all, len, now);
        self.all.forgive(now, ACTIVE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        publisher: MessageRate { messages: 100, bytes: 1_000_000 },
        topic: MessageRate { messages: 200, bytes: 2_000_000 },
    };

    /// Messages taken of each of some publishers that say so many a second, in ten seconds.
    fn taken(rates: &[u32]) -> Vec<u32> {
        let start = Instant::now();
        let mut shared = Shared::new(start);
        let mut publishers: Vec<(Option<Taken>, u32)> = vec![(None, 0); rates.len()];
        for millis in 0..10_000 {
            let now = start + Duration::from_millis(millis);
            for (at, rate) in rates.iter().map(|rate| u64::from(*rate)).enumerate() {
                let due = rate * (millis + 1) / 1_000 - rate * millis / 1_000;
                for _ in 0..due {
                    if !shared.takes(publishers[at].0.as_ref(), now) {
                        continue;
                    }
                    let known = publishers.iter().filter_map(|(taken, _)| *taken);
                    let active = known.filter(|taken| taken.is_active(now)).count();
                    shared.count(now, || active);
                    let (of_one, count) = &mut publishers[at];
                    let of_one = of_one.get_or_insert(Taken::new(now));
                    shared.take(of_one, LIMITS, 100, now);
                    *count += 1;
                }
            }
        }
        publishers.into_iter().map(|(_, count)| count).collect()
    }

    #[test]
    fn alone_each_has_its_own_limit() {
        let taken = taken(&[1_000]);
        assert!((1_000..=1_101).contains(&taken[0]), "{taken:?}");
    }

    #[test]
    fn two_floods_leave_a_third_its_share_and_all_together_keep_to_the_limit() {
        let taken = taken(&[1_000, 1_000, 50]);
        assert_eq!(taken[2], 500, "{taken:?}");
        assert!(taken.iter().sum::<u32>() < 2_700, "{taken:?}");
        assert!(taken[0] > 500 && taken[1] > 500, "{taken:?}");
    }

    #[test]
    fn many_publishers_together_take_no_more_than_twice_the_limit() {
        let taken = taken(&[100; 50]);
        assert!(taken.iter().sum::<u32>() < 4_500, "{taken:?}");
    }
}
