//! How much of a processor one peer's bytes may take.

use std::time::{Duration, Instant};

/// Work counts so many times as long as it takes: a quarter of a processor on average.
const WEIGHT: u32 = 4;
/// So far may it be ahead of that.
const AHEAD: Duration = Duration::from_millis(200);
/// Work that took longer lets others have their turn before more.
const TURN: Duration = Duration::from_micros(50);

/// What is done for one peer, in a task of its own.
#[derive(Debug, Default)]
pub(crate) struct Effort {
    /// Until when the time is used up.
    until: Option<Instant>,
}

impl Effort {
    /// Whether there is time for more. What cannot wait is lost otherwise.
    pub(crate) fn has_time(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until.saturating_duration_since(now) <= AHEAD)
    }

    /// Work began then and took so long.
    pub(crate) fn spent(&mut self, began: Instant, took: Duration) {
        let from = self.until.map_or(began, |until| until.max(began));
        self.until = Some(from + took * WEIGHT);
    }

    /// Gives others their turn after work that took so long: reading waits only where there is
    /// nothing to read.
    pub(crate) async fn give_way(took: Duration) {
        if took > TURN {
            tokio::task::yield_now().await;
        } else {
            tokio::task::consume_budget().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    };

    use super::*;

    #[test]
    fn a_quarter_of_the_time_is_spent_at_most_and_a_little_is_always_fine() {
        let (mut effort, began) = (Effort::default(), Instant::now());
        let (mut now, mut worked) = (began, Duration::ZERO);
        while now < began + Duration::from_secs(10) {
            let took = Duration::from_millis(1);
            if effort.has_time(now) {
                effort.spent(now, took);
                worked += took;
            }
            now += took;
        }
        let most = Duration::from_secs(10) / WEIGHT + AHEAD;
        assert!((most - AHEAD..=most).contains(&worked), "{worked:?}");
        let mut effort = Effort::default();
        for _ in 0..1_000 {
            assert!(effort.has_time(now));
            effort.spent(now, Duration::from_millis(1));
            now += Duration::from_millis(10);
        }
    }

    #[tokio::test]
    async fn work_without_a_pause_lets_others_have_their_turns() {
        let turns = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
            }
        });
        for (took, least) in [(Duration::from_nanos(100), 50), (TURN * 2, 9_000)] {
            let before = turns.load(Relaxed);
            for _ in 0..10_000 {
                Effort::give_way(took).await;
            }
            assert!(turns.load(Relaxed) - before >= least, "{turns:?}");
        }
        other.abort();
    }
}
