//! The bytes that all streams of a manager hold together.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Half of the limit for each direction. Outbound never exceeds its half. Inbound stops being read
/// at its half, except that each stream may always hold a small share, so that one which nobody
/// reads does not stop the others.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: usize,
    share: usize,
    outbound: AtomicUsize,
    inbound: AtomicUsize,
}

impl Ledger {
    pub(crate) fn new(limit: usize, streams: usize) -> Self {
        Self {
            limit,
            share: limit / 4 / streams.max(1),
            outbound: AtomicUsize::new(0),
            inbound: AtomicUsize::new(0),
        }
    }

    pub(crate) fn take_outbound(&self, bytes: usize) -> bool {
        let taken = self.outbound.fetch_update(Relaxed, Relaxed, |held| {
            held.checked_add(bytes).filter(|sum| *sum <= self.limit / 2)
        });
        taken.is_ok()
    }

    /// Whether a tenth of the outbound half is free.
    pub(crate) fn has_room(&self) -> bool {
        self.outbound.load(Relaxed) <= self.limit / 20 * 9
    }

    pub(crate) fn give_outbound(&self, bytes: usize) {
        self.outbound.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn add_inbound(&self, bytes: usize) {
        self.inbound.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn give_inbound(&self, bytes: usize) {
        self.inbound.fetch_sub(bytes, Relaxed);
    }

    /// Whether a stream that holds `own` bytes may take in another frame.
    pub(crate) fn may_read(&self, own: usize) -> bool {
        own <= self.share || self.inbound.load(Relaxed) < self.limit / 2
    }

    pub(crate) fn held(&self) -> usize {
        self.outbound.load(Relaxed).saturating_add(self.inbound.load(Relaxed))
    }
}
