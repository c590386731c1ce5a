//! Bytes that went through the keys of a session, counted where each packet passes anyway.
//!
//! A tally wakes whoever waits for an amount, so that an idle session costs nothing.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::Notify;

/// Counts what the keys of one session did.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes received and verified.
    pub(crate) opened: Tally,
    /// Bytes encrypted.
    pub(crate) sealed: Tally,
    /// The connection id of the last packet that verified.
    last_id: AtomicU64,
}

/// A number of bytes that somebody may wait for.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    total: AtomicU64,
    /// Wake at this total; zero when nobody waits.
    mark: AtomicU64,
    wake: Notify,
}

impl Meter {
    /// Waits until nothing has verified for `time` or longer, up to twice that.
    pub(crate) async fn silence(&self, time: Duration) {
        loop {
            let before = self.opened.total();
            tokio::time::sleep(time).await;
            if self.opened.total() == before {
                return;
            }
        }
    }

    /// Whether the last packet that verified had another connection id.
    pub(crate) fn is_new_id(&self, id: [u8; 8]) -> bool {
        let id = u64::from_be_bytes(id);
        self.last_id.load(Relaxed) != id && self.last_id.swap(id, Relaxed) != id
    }
}

impl Tally {
    /// Adds `bytes`.
    pub(crate) fn add(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let total = self.total.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let mark = self.mark.load(Relaxed);
        if mark != 0 && total >= mark {
            self.mark.store(0, Relaxed);
            self.wake.notify_one();
        }
    }

    /// The number of bytes until now.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Wakes who waits at the next byte already.
    #[cfg(test)]
    pub(crate) fn wake_soon(&self) {
        self.mark.store(1, Relaxed);
    }

    /// Waits until there are `bytes` more. One may wait at a time.
    pub(crate) async fn more(&self, bytes: u64) {
        let start = self.total.load(Relaxed);
        self.mark.store(start.saturating_add(bytes).max(1), Relaxed);
        self.wake.notified().await;
    }
}
