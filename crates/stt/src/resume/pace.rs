//! How often the peer is told of commits. One COMMITTED frame for each of many messages costs as
//! much as the messages; a late one delays callers of `acknowledged`.

use std::time::Duration;

use tokio::time::Instant;

/// A new window begins so long after the one before.
const WINDOW: Duration = Duration::from_millis(1);
/// In each window so many are told at once.
const AT_ONCE: u32 = 16;
/// So many commits together are told at once in any case.
const MANY: u64 = 64;

/// Whether the task that tells them has to look, when so many were pending before and now.
pub(super) const fn is_news(before: u64, now: u64) -> bool {
    before == 0 && now > 0 || before < MANY && now >= MANY
}

/// One link's.
#[derive(Debug)]
pub(super) struct Pace {
    begun: Instant,
    told: u32,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { begun: now, told: 0 }
    }

    /// Whether the peer is told now that so many positions more are committed, and if not, when.
    pub(super) fn tell(&mut self, pending: u64, now: Instant) -> Result<(), Instant> {
        let end = self.begun + WINDOW;
        if now >= end {
            *self = Self::new(now);
        } else if self.told >= AT_ONCE && pending < MANY {
            return Err(end);
        }
        self.told = self.told.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_told_at_once_and_many_together() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        let mut told = 0;
        let (mut pending, mut longest) = (0, 0);
        // A commit each microsecond, for ten windows.
        for micros in 0..10_000 {
            pending += 1;
            if pace.tell(pending, begun + Duration::from_micros(micros)).is_ok() {
                told += 1;
                longest = longest.max(pending);
                pending = 0;
            }
        }
        assert!(longest <= MANY);
        // 16 at once, then one for 64 of the other 984; the next window begins with what is left.
        assert!((300..=320).contains(&told), "{told}");
    }

    #[test]
    fn nothing_waits_longer_than_a_window() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        for _ in 0..AT_ONCE {
            pace.tell(1, begun).unwrap();
        }
        let until = pace.tell(1, begun).unwrap_err();
        assert_eq!(until, begun + WINDOW);
        pace.tell(1, until).unwrap();
    }
}
