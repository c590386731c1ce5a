//! Which knocks were used already (docs/protocol.md, KNOCK-4 to KNOCK-6).
//!
//! Bounded: when the table is full, the oldest make room, and their times are refused from then on.
//! Nothing is evicted in a way that would let it be used again. What is refused never reaches now, so
//! nobody is shut out by what others sent.

use std::collections::BTreeSet;

use crate::packet_header::KNOCK_LEN;

/// A knock that was made by a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    /// Its time, in seconds since 1970. First, because the table is ordered by it.
    pub(crate) time: u32,
    pub(crate) knock: [u8; KNOCK_LEN],
}

/// Why a genuine knock is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Its time is further from ours than the window.
    Stale,
    /// It was used already.
    Replayed,
    /// It is of a time before the memory of used ones begins, so it may have been used.
    Forgotten,
    /// It carries no time, and no more of those are let in.
    Timeless,
    /// There is no room to remember it: it is dated ahead, or the whole table is of this second.
    Full,
}

/// The knocks of the window.
pub(crate) struct ReplayTable {
    seen: BTreeSet<Seen>,
    /// Those without a time. They never become stale, so they are kept for ever.
    timeless: BTreeSet<Seen>,
    timeless_capacity: usize,
    /// Knocks of this time and before are of the time before this memory begins.
    start: u32,
    /// Times of used knocks that are no longer remembered.
    forgotten: Times,
    window: u32,
    capacity: usize,
}

impl ReplayTable {
    /// Knocks remembered by default: 64 a second for the default window.
    pub(crate) const CAPACITY: usize = 1 << 14;
    /// Seconds that a clock may be ahead before its knocks count as dated ahead.
    const AHEAD: u32 = 5;

    /// Remembers the knocks of `window` seconds before and after now. Those of `start` and before
    /// are refused. `timeless` knocks of devices without a clock are let in, and then no more.
    pub(crate) const fn new(window: u32, capacity: usize, timeless: usize, start: u32) -> Self {
        Self {
            seen: BTreeSet::new(),
            timeless: BTreeSet::new(),
            timeless_capacity: timeless,
            start,
            forgotten: Times(Vec::new()),
            window,
            capacity,
        }
    }

    /// Whether it remembers the knock.
    pub(crate) fn holds(&self, knock: &Seen) -> bool {
        self.seen.contains(knock) || self.timeless.contains(knock)
    }

    /// Knocks that it remembers.
    pub(crate) fn len(&self) -> usize {
        self.seen.len() + self.timeless.len()
    }

    /// Says anew before which time, by the clock of now, this memory knows nothing.
    pub(crate) const fn begin_at(&mut self, start: u32) {
        self.start = start;
    }

    /// Whether [`Self::admit`] would let the knock in at `now`.
    pub(crate) fn check(&mut self, knock: &Seen, now: u32) -> Result<(), Unfit> {
        if knock.time == 0 {
            return if self.timeless.contains(knock) {
                Err(Unfit::Replayed)
            } else if self.timeless.len() >= self.timeless_capacity {
                Err(Unfit::Timeless)
            } else {
                Ok(())
            };
        }
        if knock.time.abs_diff(now) > self.window {
            return Err(Unfit::Stale);
        }
        self.forget_stale(now);
        if self.seen.contains(knock) {
            return Err(Unfit::Replayed);
        }
        if knock.time <= self.start || self.forgotten.hold(knock.time) {
            return Err(Unfit::Forgotten);
        }
        if self.has_room(knock, now) { Ok(()) } else { Err(Unfit::Full) }
    }

    /// Lets a knock in whose Initial packet authenticated, and remembers it.
    pub(crate) fn admit(&mut self, knock: Seen, now: u32) -> Result<(), Unfit> {
        self.check(&knock, now)?;
        self.remember(knock, now);
        Ok(())
    }

    /// Remembers a knock that was used, whatever its time.
    pub(crate) fn remember(&mut self, knock: Seen, now: u32) {
        if knock.time == 0 {
            self.timeless.insert(knock);
            return;
        }
        self.seen.insert(knock);
        self.forget_stale(now);
        while self.seen.len() > self.capacity {
            // A clock that was set back leaves knocks that are stale now.
            let stale = self.seen.last().is_some_and(|last| self.is_ahead(last, now));
            let taken = if stale { self.seen.pop_last() } else { self.seen.pop_first() };
            let Some(taken) = taken else { return };
            self.forgotten.add(taken.time);
        }
    }

    /// The oldest makes room, but never one of now: its time would be refused from then on. So the
    /// last quarter is kept from those dated ahead, which would lie there for long.
    fn has_room(&self, knock: &Seen, now: u32) -> bool {
        let (held, reserve) = (self.seen.len(), self.capacity / 4);
        if knock.time > now.saturating_add(Self::AHEAD) {
            return held < self.capacity.saturating_sub(reserve);
        }
        held < self.capacity
            || knock.time < now
            || self.seen.first().is_some_and(|oldest| oldest.time < now)
            || self.seen.last().is_some_and(|last| self.is_ahead(last, now))
    }

    const fn is_ahead(&self, knock: &Seen, now: u32) -> bool {
        knock.time > now.saturating_add(self.window)
    }

    fn forget_stale(&mut self, now: u32) {
        let since = now.saturating_sub(self.window);
        while self.seen.first().is_some_and(|oldest| oldest.time < since) {
            let Some(taken) = self.seen.pop_first() else { return };
            self.forgotten.add(taken.time);
        }
    }

    /// What has to survive a restart.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Seen> {
        self.timeless.iter().chain(&self.seen)
    }
}

/// Times, as a few stretches in order. Apart, because a clock that was wrong for a while, and is set
/// back, must not leave the time between refused.
#[derive(Debug, Default)]
struct Times(Vec<(u32, u32)>);

impl Times {
    /// Stretches that are kept apart; the closest become one.
    const MAX: usize = 8;

    fn hold(&self, time: u32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&time))
    }

    fn add(&mut self, time: u32) {
        if self.hold(time) {
            return;
        }
        let at = self.0.partition_point(|(_, last)| *last < time);
        self.0.insert(at, (time, time));
        while let Some((gap, at)) = self.closest()
            && (gap <= 1 || self.0.len() > Self::MAX)
        {
            let (_, end) = self.0.remove(at + 1);
            if let Some((_, last)) = self.0.get_mut(at) {
                *last = end;
            }
        }
    }

    /// The least gap, and which stretch it follows.
    fn closest(&self) -> Option<(u32, usize)> {
        let after = self.0.iter().skip(1);
        let gaps = self.0.iter().zip(after).map(|((_, last), (first, _))| first.abs_diff(*last));
        gaps.zip(0..).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn knock(time: u32, id: u8) -> Seen {
        Seen { time, knock: [id; KNOCK_LEN] }
    }

    #[test]
    fn a_knock_is_let_in_once_and_only_within_the_window() {
        let mut table = ReplayTable::new(120, 10, 0, 0);
        let first = knock(1000, 1);
        assert_eq!(table.check(&first, 1000), Ok(()));
        assert_eq!(table.admit(first, 1000), Ok(()));
        assert_eq!(table.admit(first, 1000), Err(Unfit::Replayed));
        assert_eq!(table.check(&first, 1121), Err(Unfit::Stale));
        for (time, expected) in
            [(879, Err(Unfit::Stale)), (880, Ok(())), (1120, Ok(())), (1121, Err(Unfit::Stale))]
        {
            assert_eq!(table.check(&knock(time, 2), 1000), expected, "{time}");
        }
    }

    #[test]
    fn a_full_table_refuses_the_oldest_rather_than_forget_them() {
        let mut table = ReplayTable::new(120, 3, 0, 0);
        for (time, id) in [(1000, 1), (1001, 2), (1002, 3), (1003, 4)] {
            table.remember(knock(time, id), 1003);
        }
        assert_eq!(table.entries().count(), 3);
        assert_eq!(table.check(&knock(1000, 1), 1003), Err(Unfit::Forgotten));
        assert_eq!(table.check(&knock(1000, 9), 1003), Err(Unfit::Forgotten));
        assert_eq!(table.check(&knock(1001, 2), 1003), Err(Unfit::Replayed));
        assert_eq!(table.check(&knock(1001, 9), 1003), Ok(()));
    }

    #[test]
    fn knocks_without_a_time_are_let_in_once_each_and_only_so_many() {
        let mut table = ReplayTable::new(120, 10, 2, 500);
        for (id, expected) in [(1, Ok(())), (1, Err(Unfit::Replayed)), (2, Ok(()))] {
            assert_eq!(table.admit(knock(0, id), 1000), expected);
        }
        table.remember(knock(1000, 9), 1000);
        assert_eq!(table.check(&knock(0, 3), 9000), Err(Unfit::Timeless));
        assert_eq!(table.check(&knock(0, 1), 9000), Err(Unfit::Replayed));
        assert_eq!(ReplayTable::new(120, 10, 0, 0).check(&knock(0, 1), 7), Err(Unfit::Timeless));
    }

    #[test]
    fn a_knock_that_became_unfit_since_it_was_checked_is_not_let_in() {
        let mut table = ReplayTable::new(120, 3, 1, 0);
        for (time, id) in [(1000, 1), (1001, 2), (1002, 3)] {
            assert_eq!(table.admit(knock(time, id), 1003), Ok(()));
        }
        let late = [knock(1004, 4), knock(1000, 5), knock(0, 6), knock(0, 7)];
        assert!(late.iter().all(|knock| table.check(knock, 1003).is_ok()));
        let admitted = late.map(|knock| table.admit(knock, 1003));
        assert_eq!(admitted, [Ok(()), Err(Unfit::Forgotten), Ok(()), Err(Unfit::Timeless)]);
        for id in 8..20 {
            let _ = table.admit(knock(1000, id), 1003);
            let _ = table.admit(knock(1005, id), 1003);
        }
        assert_eq!(table.entries().filter(|seen| seen.time > 0).count(), 3);
    }

    #[test]
    fn knocks_dated_ahead_shut_nobody_out() {
        let mut table = ReplayTable::new(120, 10, 0, 0);
        let ahead: Vec<_> = (0..11).map(|id| table.admit(knock(1119, id), 1000)).collect();
        assert!(ahead.contains(&Err(Unfit::Full)));
        for now in 1000..1300 {
            assert_eq!(table.admit(knock(now, 50), now), Ok(()), "{now}");
            assert_eq!(table.admit(knock(now, 50), now), Err(Unfit::Replayed), "{now}");
            let _ = table.admit(knock(now + 119, 51), now);
        }
    }

    /// Nothing of this second is given up, or its honest knocks would be refused.
    #[test]
    fn a_flood_within_a_second_is_refused_for_that_second() {
        let mut table = ReplayTable::new(120, 4, 0, 0);
        for id in 0..4 {
            assert_eq!(table.admit(knock(1000, id), 1000), Ok(()));
        }
        assert_eq!(table.admit(knock(1000, 9), 1000), Err(Unfit::Full));
        assert_eq!(table.admit(knock(1001, 9), 1001), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_room() {
        let mut table = ReplayTable::new(120, 4, 0, 0);
        for id in 0..4 {
            assert_eq!(table.admit(knock(9000, id), 9000), Ok(()));
        }
        for id in 0..9 {
            let now = 1000 + u32::from(id);
            assert_eq!(table.admit(knock(now, id), now), Ok(()), "{id}");
        }
        for id in 0..4 {
            assert!(table.check(&knock(9000, id), 9000).is_err(), "{id}");
        }
        assert_eq!(table.check(&knock(9000, 9), 9000), Err(Unfit::Forgotten));
        assert_eq!(table.check(&knock(5000, 9), 5000), Ok(()));
    }

    proptest! {
        /// The law that matters: whatever happens in between, nothing is let in twice. The clock may
        /// go both ways, what is let in is not what was checked last, and some come from a log.
        #[test]
        fn nothing_is_let_in_twice(
            steps in prop::collection::vec((0u32..400, 0u8..4, -2i32..5, 0u8..20), 1..300)
        ) {
            let mut table = ReplayTable::new(50, 8, 0, 0);
            let mut used = BTreeSet::new();
            let mut now = 500u32;
            for (time, id, pause, kind) in steps {
                now = now.saturating_add_signed(if kind == 1 { pause * 100 } else { pause });
                let knock = knock(time + 400, id);
                let checked = table.check(&knock, now);
                if kind == 0 {
                    used.insert(knock);
                    table.remember(knock, now);
                    continue;
                }
                let admitted = table.admit(knock, now);
                prop_assert_eq!(checked, admitted);
                prop_assert!(admitted.is_err() || used.insert(knock));
                prop_assert!(table.len() <= 8);
            }
        }
    }
}
