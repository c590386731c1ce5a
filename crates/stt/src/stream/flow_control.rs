//! How far a sender may go before the receiver has read.
//!
//! QUIC's own flow control counts what its receiver buffers, and reading promptly (which the holes
//! of a lossy path demand) gives all of it back at once. So the promise to a slow reader is kept
//! here (docs/streams.md, STREAM-6 and STREAM-7): each direction of a stream has a limit, the offset its sender may write up to, which moves
//! as the application reads. A reader that stops holds up its own stream and no other.

use std::time::{Duration, Instant};

/// Bytes that a sender may write before it heard of any credit.
pub(crate) const INITIAL_WINDOW: u64 = 1 << 20;
/// Largest window of one stream: 1 Gbit/s for half a second.
pub(crate) const MAX_WINDOW: u64 = 64 << 20;

/// The receiver's side: decides when to raise the limit.
#[derive(Debug)]
pub(crate) struct ReceiveCredit {
    window: u64,
    limit: u64,
    consumed: u64,
    raised_at: Option<Instant>,
}

impl Default for ReceiveCredit {
    fn default() -> Self {
        Self { window: INITIAL_WINDOW, limit: INITIAL_WINDOW, consumed: 0, raised_at: None }
    }
}

impl ReceiveCredit {
    /// The offset up to which the sender may write.
    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// The most that may wait here unread.
    pub(crate) const fn window(&self) -> u64 {
        self.window
    }

    /// The application took `bytes`. True when half the window is used up, so that it is time for
    /// [`Self::raise`]; asked apart so that the clock is read only then.
    pub(crate) fn consume(&mut self, bytes: usize) -> bool {
        self.consumed = self.consumed.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.limit.saturating_sub(self.consumed) <= self.window / 2
    }

    /// Moves the limit a window beyond what was consumed and returns it.
    ///
    /// The window doubles when half of it went by within two round trips, as long as `spare` bytes
    /// of the session's budget allow it: then the window, not the reader, was the bottleneck.
    pub(crate) fn raise(&mut self, now: Instant, round_trip: Duration, spare: u64) -> u64 {
        let quick = self
            .raised_at
            .is_none_or(|at| now.saturating_duration_since(at) < round_trip.saturating_mul(2));
        if quick && self.window < MAX_WINDOW && spare >= self.window {
            self.window *= 2;
        }
        self.raised_at = Some(now);
        self.limit = self.limit.max(self.consumed.saturating_add(self.window));
        self.limit
    }
}

/// The sender's side: how much may still be written.
#[derive(Debug)]
pub(crate) struct SendCredit {
    limit: u64,
    written: u64,
}

impl Default for SendCredit {
    fn default() -> Self {
        Self { limit: INITIAL_WINDOW, written: 0 }
    }
}

impl SendCredit {
    /// Bytes that may be written now.
    pub(crate) fn available(&self) -> usize {
        usize::try_from(self.limit.saturating_sub(self.written)).unwrap_or(usize::MAX)
    }

    /// Notes that `bytes` were written.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// The receiver moved the limit. Limits that go back are late news and ignored.
    pub(crate) fn raise(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    #[test]
    fn a_reader_that_stops_stops_the_sender_after_one_window() {
        let mut sender = SendCredit::default();
        assert_eq!(sender.available() as u64, INITIAL_WINDOW);
        sender.spend(usize::try_from(INITIAL_WINDOW).unwrap());
        assert_eq!(sender.available(), 0);
        sender.raise(INITIAL_WINDOW + 5);
        assert_eq!(sender.available(), 5);
        sender.raise(3);
        assert_eq!(sender.available(), 5);
    }

    #[test]
    fn the_window_grows_while_it_is_the_bottleneck() {
        let mut credit = ReceiveCredit::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            while !credit.consume(100_000) {}
            credit.raise(now, RTT, u64::MAX);
            now += RTT;
        }
        assert_eq!(credit.window(), MAX_WINDOW);
        assert_eq!(credit.limit(), credit.consumed + MAX_WINDOW);
    }

    #[test]
    fn a_slow_reader_keeps_a_small_window() {
        let mut credit = ReceiveCredit::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            while !credit.consume(100_000) {}
            credit.raise(now, RTT, u64::MAX);
            now += RTT * 10;
        }
        assert_eq!(credit.window(), INITIAL_WINDOW * 2);
    }

    #[test]
    fn the_budget_of_the_session_stops_the_growth() {
        let mut credit = ReceiveCredit::default();
        while !credit.consume(100_000) {}
        credit.raise(Instant::now(), RTT, INITIAL_WINDOW - 1);
        assert_eq!(credit.window(), INITIAL_WINDOW);
    }
}
