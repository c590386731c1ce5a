//! A connection's receive credit, grown to what the path can use.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{engine::Connection, meter::Meter};
use crate::{
    congestion::ReceiveWindow,
    limits::{Claim, Pool},
};

/// A window that is not half used within this time goes back to its first size.
const QUIET: Duration = Duration::from_secs(30);
/// The least that a session starts with, when a node has very many.
const LEAST: u32 = 64 << 10;

/// What the credit of a node's sessions may be.
#[derive(Clone, Debug)]
pub(crate) struct Growth {
    /// What one session starts with while there are few.
    first: u32,
    /// What all may have beyond their start.
    pool: Arc<Pool>,
    bytes: u64,
}

impl Growth {
    pub(crate) fn new(first: u32, bytes: u64) -> Self {
        Self { first, pool: Arc::new(Pool::new(bytes)), bytes }
    }

    /// What a session starts with when there are `sessions` of them: so little that all starts
    /// together are not much more than all growth.
    pub(crate) fn first(&self, sessions: usize) -> u32 {
        let sessions = u64::try_from(sessions).unwrap_or(u64::MAX).saturating_add(1);
        let share = self.bytes / sessions.saturating_mul(8);
        u32::try_from(share).unwrap_or(u32::MAX).clamp(LEAST.min(self.first), self.first)
    }
}

/// Grows the credit of `connection`, which has `first`, by the rule of [`ReceiveWindow`], as far as
/// the node has any to give, and takes it back when it is not used. Ends with the connection.
pub(crate) async fn grow(connection: Connection, meter: Arc<Meter>, first: u32, growth: Growth) {
    let mut window = ReceiveWindow::starting_at(first);
    let mut claim = Claim::none(growth.pool);
    loop {
        let half = window.half().unwrap_or(ReceiveWindow::MAX / 2);
        let (start, before) = (Instant::now(), window);
        tokio::select! {
            () = meter.opened.more(half.into()) => {}
            () = tokio::time::sleep(QUIET), if window.bytes() > first => {
                window = ReceiveWindow::starting_at(first);
                claim.set(0);
                connection.set_receive_window(first);
                continue;
            }
            _ = connection.closed() => return,
        }
        if let Some(grown) = window.half_used(start.elapsed(), connection.rtt()) {
            if claim.set(u64::from(grown - first)) {
                connection.set_receive_window(grown);
            } else {
                window = before;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_start_with_less_where_there_are_many() {
        let growth = Growth::new(2 << 20, 1 << 30);
        assert_eq!(growth.first(0), 2 << 20);
        assert_eq!(growth.first(63), 2 << 20);
        assert_eq!(growth.first(1_023), 128 << 10);
        assert_eq!(growth.first(10_000), LEAST);
        let all: u64 = (0..16_384).map(|sessions| u64::from(growth.first(sessions))).sum();
        assert!(all < (3 << 30) / 2, "{all}");
        assert_eq!(Growth::new(16 << 10, 0).first(5), 16 << 10);
    }
}
