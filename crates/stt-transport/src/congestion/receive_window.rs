//! The receiver's credit, grown as fast as the sender speeds up.

use std::time::Duration;

/// Decides how large a session's receive window should be.
///
/// A fixed window caps a long link (2 MiB at 100 ms is 20 MiB/s), and a large one costs every
/// session the memory of the few that need it. So the window starts small and doubles whenever at
/// least half of it was used within one round trip: the sender, who at most doubles its rate each
/// round trip, is never held back by it, and a slow one never makes it grow.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveWindow(u32);

impl ReceiveWindow {
    /// Window that a session starts with, in bytes: 2 MiB.
    pub const FIRST: u32 = 2 << 20;
    /// Largest window, in bytes: 64 MiB, which fills 5 Gbit/s at 100 ms.
    pub const MAX: u32 = 64 << 20;

    /// A window of [`Self::FIRST`] bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self(Self::FIRST)
    }

    /// A window of `bytes`, at least 2 and at most [`Self::MAX`].
    #[must_use]
    pub const fn starting_at(bytes: u32) -> Self {
        Self(if bytes > Self::MAX {
            Self::MAX
        } else if bytes < 2 {
            2
        } else {
            bytes
        })
    }

    /// Its size.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// Bytes after whose arrival [`Self::half_used`] is to be told; `None` once nothing can grow.
    #[must_use]
    pub const fn half(self) -> Option<u32> {
        if self.0 < Self::MAX { Some(self.0 / 2) } else { None }
    }

    /// Half of it arrived, which took so long: the new window, if that was within a round trip.
    pub fn half_used(&mut self, took: Duration, rtt: Duration) -> Option<u32> {
        if took > rtt || self.0 >= Self::MAX {
            return None;
        }
        self.0 = self.0.saturating_mul(2).min(Self::MAX);
        Some(self.0)
    }
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_only_for_a_sender_that_needs_it() {
        let rtt = Duration::from_millis(100);
        let mut window = ReceiveWindow::new();
        assert_eq!(window.half(), Some(1 << 20));
        assert_eq!(window.half_used(rtt * 2, rtt), None, "a slow sender");
        assert_eq!(window.half_used(rtt, rtt), Some(4 << 20));
        assert_eq!(window.half(), Some(2 << 20));
        for size in [8, 16, 32, 64] {
            assert_eq!(window.half_used(rtt, rtt), Some(size << 20));
        }
        assert_eq!(window.half(), None);
        assert_eq!(window.half_used(rtt, rtt), None);
    }
}
