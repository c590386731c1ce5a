//! Bytes that went through the keys of a session, counted where each packet passes anyway.
//!
//! It wakes whoever waits for an amount, so that an idle session costs nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::Notify;

/// Counts the protected bytes of one session.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    opened: AtomicU64,
    sealed: AtomicU64,
    /// Wake when this much was opened; zero when nobody waits.
    opened_mark: AtomicU64,
    wake: Notify,
}

impl Meter {
    /// Bytes were received and verified.
    pub(crate) fn opened(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let total = self.opened.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let mark = self.opened_mark.load(Relaxed);
        if mark != 0 && total >= mark {
            self.opened_mark.store(0, Relaxed);
            self.wake.notify_one();
        }
    }

    /// Bytes were encrypted.
    pub(crate) fn sealed(&self, bytes: usize) {
        self.sealed.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Relaxed);
    }

    /// Waits until `bytes` more were received.
    pub(crate) async fn opened_more(&self, bytes: u64) {
        let start = self.opened.load(Relaxed);
        self.opened_mark.store(start.saturating_add(bytes).max(1), Relaxed);
        self.wake.notified().await;
    }
}
