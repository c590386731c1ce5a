//! What time it is, for knocks.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where a node's time comes from.
#[derive(Debug, Default)]
pub(crate) enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// None of its own: the node takes the time of the first peer that it connects to, and until
    /// then its knocks carry none. Such knocks are let in by responders that allow it
    /// (docs/protocol.md, KNOCK-7).
    Learned(Mutex<Learned>),
    /// Set by a test.
    #[cfg(test)]
    Manual(std::sync::Arc<std::sync::atomic::AtomicU32>),
}

/// What a device without a clock knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Learned {
    /// A peer's time, and when it was told.
    told: Option<(u32, Moment)>,
    /// Attempts in a row that nobody answered.
    unanswered: u32,
}

/// Attempts without an answer after which a learned time is no longer trusted: one alone says
/// little, and a knock without a time takes one of few places at the responder.
const DOUBTFUL: u32 = 3;

/// A point of a time that goes on while the machine sleeps, where the system has such.
#[derive(Clone, Copy, Debug)]
struct Moment {
    #[cfg(target_os = "linux")]
    boot: Duration,
    #[cfg(not(target_os = "linux"))]
    at: std::time::Instant,
}

impl Moment {
    fn now() -> Self {
        #[cfg(target_os = "linux")]
        {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            Self { boot: Duration::try_from(time).unwrap_or_default() }
        }
        #[cfg(not(target_os = "linux"))]
        Self { at: std::time::Instant::now() }
    }

    fn elapsed(self) -> Duration {
        #[cfg(target_os = "linux")]
        {
            Self::now().boot.saturating_sub(self.boot)
        }
        #[cfg(not(target_os = "linux"))]
        self.at.elapsed()
    }
}

impl Clock {
    /// The clock of a device that has none.
    pub(crate) fn learned() -> Self {
        Self::Learned(Mutex::default())
    }

    /// Seconds since 1970, or 0 when nobody knows.
    pub(crate) fn now(&self) -> u32 {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
            }
            Self::Learned(learned) => {
                let learned = *learned.lock().unwrap_or_else(PoisonError::into_inner);
                learned.told.map_or(0, |(time, at)| {
                    let since = u32::try_from(at.elapsed().as_secs()).unwrap_or(u32::MAX);
                    time.saturating_add(since)
                })
            }
            #[cfg(test)]
            Self::Manual(time) => time.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// A peer that proved itself says that it is `time`. It is believed while nothing else is
    /// known.
    pub(crate) fn learn(&self, time: u32) {
        if let Self::Learned(learned) = self {
            let mut learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
            learned.unanswered = 0;
            learned.told.get_or_insert((time, Moment::now()));
        }
    }

    /// Nobody answered. The time that was learned may be wrong by now: after a few of these it is
    /// learned anew.
    pub(crate) fn unanswered(&self) {
        if let Self::Learned(learned) = self {
            let mut learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
            learned.unanswered += 1;
            if learned.unanswered >= DOUBTFUL {
                *learned = Learned::default();
            }
        }
    }
}

/// When this machine was started, in seconds since 1970, where the system tells.
pub(crate) fn boot_time() -> Option<u32> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learned_clock_stands_at_zero_until_it_is_told() {
        let clock = Clock::learned();
        assert_eq!(clock.now(), 0);
        clock.learn(1_800_000_000);
        clock.learn(5);
        assert!((1_800_000_000..1_800_000_100).contains(&clock.now()));
        assert!(Clock::System.now() > 1_700_000_000);
    }

    /// A machine may stop its clock while it sleeps, or have been told nonsense.
    #[test]
    fn a_time_with_which_nobody_answers_is_learned_anew() {
        let clock = Clock::learned();
        clock.learn(5);
        clock.unanswered();
        clock.unanswered();
        clock.learn(1_800_000_000);
        assert!((5..100).contains(&clock.now()), "who answers confirms it");
        for _ in 0..3 {
            assert!(clock.now() > 0);
            clock.unanswered();
        }
        assert_eq!(clock.now(), 0);
        clock.learn(1_800_000_000);
        assert!(clock.now() >= 1_800_000_000);
        Clock::System.unanswered();
        assert!(Clock::System.now() > 1_700_000_000);
    }
}
