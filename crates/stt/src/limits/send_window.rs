//! How much a session may have handed to the engine and not yet acknowledged.
//!
//! The engine keeps such bytes in memory. A window of two congestion windows never holds a session
//! back; so it starts small, follows the congestion window, and takes what it needs beyond its start
//! from a pool of the whole node. A session that has become quiet gives that back when another one
//! needs it.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use stt_transport::internal::{Claim, Pool};

/// What every session has, unless its limit is lower.
const FLOOR: u64 = 256 << 10;

/// The window of one session.
#[derive(Debug)]
pub(crate) struct SendWindow {
    floor: u64,
    max: u64,
    window: AtomicU64,
    /// Bytes written since the window was last looked at.
    wrote: AtomicU64,
    /// Something was written since the last sweep.
    busy: AtomicBool,
    claim: Mutex<Claim>,
}

/// What became of a wish for a larger window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grown {
    /// It is that large now.
    To(u64),
    /// It stays.
    Not,
    /// The node's pool does not have so much.
    Refused,
}

impl SendWindow {
    /// The window that a session with this limit starts with.
    pub(crate) fn first(max: u64) -> u64 {
        max.min(FLOOR)
    }

    pub(crate) fn new(max: u64, pool: Arc<Pool>) -> Self {
        let floor = Self::first(max);
        Self {
            floor,
            max,
            window: AtomicU64::new(floor),
            wrote: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            claim: Mutex::new(Claim::none(pool)),
        }
    }

    /// The largest piece that should be written at once: a sixteenth of the window.
    pub(crate) fn piece(&self) -> usize {
        usize::try_from(self.window.load(Relaxed) / 16).unwrap_or(usize::MAX).max(1)
    }

    /// `bytes` were written. True when it is time to look at the congestion window: after a quarter
    /// of the window.
    pub(crate) fn wrote(&self, bytes: usize) -> bool {
        let window = self.window.load(Relaxed);
        if window >= self.max {
            self.busy.store(true, Relaxed);
            return false;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.wrote.fetch_add(bytes, Relaxed).saturating_add(bytes) < window / 4 {
            return false;
        }
        self.wrote.store(0, Relaxed);
        self.busy.store(true, Relaxed);
        true
    }

    /// Grows with the congestion window.
    pub(crate) fn follow(&self, congestion_window: u64) -> Grown {
        let mut claim = self.claim();
        let window = self.window.load(Relaxed);
        let wanted = congestion_window.saturating_mul(2).clamp(self.floor, self.max);
        // By half at least, or every acknowledgement would move it.
        if wanted < window.saturating_add(window / 2).min(self.max) || wanted <= window {
            return Grown::Not;
        }
        if !claim.set(wanted - self.floor) {
            return Grown::Refused;
        }
        self.window.store(wanted, Relaxed);
        Grown::To(wanted)
    }

    /// Gives back what it has of the pool, if nothing much was written since the last call: the
    /// window from now on.
    pub(crate) fn give_back(&self) -> Option<u64> {
        if self.busy.swap(false, Relaxed) {
            return None;
        }
        let mut claim = self.claim();
        if self.window.load(Relaxed) == self.floor {
            return None;
        }
        claim.set(0);
        self.window.store(self.floor, Relaxed);
        Some(self.floor)
    }

    fn claim(&self) -> MutexGuard<'_, Claim> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn it_follows_the_congestion_window_up_to_its_limit() {
        let pool = Arc::new(Pool::new(100 * MIB));
        let window = SendWindow::new(8 * MIB, Arc::clone(&pool));
        assert!(!window.wrote(1_000));
        assert!(window.wrote(64 << 10));
        assert_eq!(window.follow(14_720), Grown::Not);
        assert_eq!(window.follow(MIB), Grown::To(2 * MIB));
        assert_eq!(window.follow(MIB + 1), Grown::Not);
        assert_eq!(window.follow(90 * MIB), Grown::To(8 * MIB));
        assert!(!window.wrote(100 << 20), "there is nothing to look for any more");
        assert_eq!(pool.free(), 92 * MIB + FLOOR);
        drop(window);
        assert_eq!(pool.free(), 100 * MIB);
    }

    #[test]
    fn the_quiet_give_back_what_the_busy_need() {
        let pool = Arc::new(Pool::new(4 * MIB));
        let [quiet, busy] = [(); 2].map(|()| SendWindow::new(64 * MIB, Arc::clone(&pool)));
        assert!(quiet.wrote(1 << 20));
        assert_eq!(quiet.follow(2 * MIB), Grown::To(4 * MIB));
        assert_eq!(busy.follow(2 * MIB), Grown::Refused);
        assert_eq!(quiet.give_back(), None, "it wrote just now");
        assert_eq!(quiet.give_back(), Some(FLOOR));
        assert_eq!(busy.follow(2 * MIB), Grown::To(4 * MIB));
    }

    #[test]
    fn a_limit_below_the_start_is_kept() {
        let window = SendWindow::new(1_000, Arc::new(Pool::new(u64::MAX)));
        assert_eq!(SendWindow::first(1_000), 1_000);
        assert!(!window.wrote(1_000_000));
    }
}
