//! What time it is, for knocks.

use std::{
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
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
    Learned(Mutex<Option<Learned>>),
    /// Set by a test.
    #[cfg(test)]
    Manual(std::sync::Arc<std::sync::atomic::AtomicU32>),
}

/// A peer's time, and when it was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learned {
    time: u32,
    at: Instant,
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
                learned.map_or(0, |Learned { time, at }| {
                    let since = u32::try_from(at.elapsed().as_secs()).unwrap_or(u32::MAX);
                    time.saturating_add(since)
                })
            }
            #[cfg(test)]
            Self::Manual(time) => time.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// A peer that proved itself says that it is `time`. Only the first one is believed.
    pub(crate) fn learn(&self, time: u32) {
        if let Self::Learned(learned) = self {
            learned
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| Learned { time, at: Instant::now() });
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
}
