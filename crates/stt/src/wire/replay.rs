//! Which knocks were used already (docs/protocol.md, KNOCK-4 to KNOCK-6).
//!
//! Bounded: when the table is full, its floor rises, and what lies below the floor is refused.
//! Nothing is evicted in a way that would let it be used again.

use std::collections::BTreeSet;

use super::knock::KNOCK_LEN;

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
}

/// The knocks of the window.
pub(crate) struct ReplayTable {
    seen: BTreeSet<Seen>,
    /// Those without a time. They never become stale, so they are kept for ever.
    timeless: BTreeSet<Seen>,
    timeless_capacity: usize,
    /// Knocks of this time and before are refused.
    floor: u32,
    window: u32,
    capacity: usize,
}

impl ReplayTable {
    /// Knocks remembered by default: 64 a second for the default window.
    pub(crate) const CAPACITY: usize = 1 << 14;

    /// Remembers the knocks of `window` seconds before and after now. Those of `floor` and before
    /// are refused. `timeless` knocks of devices without a clock are let in, and then no more.
    pub(crate) const fn new(window: u32, capacity: usize, timeless: usize, floor: u32) -> Self {
        Self {
            seen: BTreeSet::new(),
            timeless: BTreeSet::new(),
            timeless_capacity: timeless,
            floor,
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

    /// Whether the knock may be let in at `now`.
    pub(crate) fn check(&self, knock: &Seen, now: u32) -> Result<(), Unfit> {
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
        if self.seen.contains(knock) {
            return Err(Unfit::Replayed);
        }
        if knock.time <= self.floor {
            return Err(Unfit::Forgotten);
        }
        Ok(())
    }

    /// Remembers a knock whose Initial packet authenticated.
    pub(crate) fn remember(&mut self, knock: Seen, now: u32) {
        if knock.time == 0 {
            self.timeless.insert(knock);
            return;
        }
        self.raise_floor(now.saturating_sub(self.window).saturating_sub(1));
        self.seen.insert(knock);
        while self.seen.len() > self.capacity {
            if let Some(oldest) = self.seen.first() {
                self.raise_floor(oldest.time);
            }
        }
    }

    /// Refuses everything up to `floor` from now on, and forgets it.
    fn raise_floor(&mut self, floor: u32) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        match floor.checked_add(1) {
            Some(time) => self.seen = self.seen.split_off(&Seen { time, knock: [0; KNOCK_LEN] }),
            None => self.seen.clear(),
        }
    }

    /// What has to survive a restart.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Seen> {
        self.timeless.iter().chain(&self.seen)
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
        table.remember(first, 1000);
        assert_eq!(table.check(&first, 1000), Err(Unfit::Replayed));
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
            assert_eq!(table.check(&knock(0, id), 1000), expected);
            table.remember(knock(0, id), 1000);
        }
        table.remember(knock(1000, 9), 1000);
        assert_eq!(table.check(&knock(0, 3), 9000), Err(Unfit::Timeless));
        assert_eq!(table.check(&knock(0, 1), 9000), Err(Unfit::Replayed));
        assert_eq!(ReplayTable::new(120, 10, 0, 0).check(&knock(0, 1), 7), Err(Unfit::Timeless));
    }

    proptest! {
        /// The law that matters: whatever happens in between, nothing is let in twice.
        #[test]
        fn nothing_is_let_in_twice(
            steps in prop::collection::vec((0u32..400, 0u8..4, 0u32..3), 1..300)
        ) {
            let mut table = ReplayTable::new(50, 8, 0, 0);
            let mut let_in = BTreeSet::new();
            let mut now = 500;
            for (time, id, pause) in steps {
                now += pause;
                let knock = knock(time + 400, id);
                if table.check(&knock, now).is_ok() {
                    prop_assert!(let_in.insert(knock));
                    table.remember(knock, now);
                }
            }
        }
    }
}
