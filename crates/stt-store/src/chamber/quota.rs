//! The limit on stored bytes.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{StorageProvider, StoreError};

/// No limit.
const NONE: u64 = u64::MAX;

pub(super) struct Quota {
    limit: AtomicU64,
    /// Bytes of values that are being written.
    reserved: Mutex<u64>,
}

/// Room for a value that is being written.
pub(super) struct Reservation<'a> {
    quota: &'a Quota,
    bytes: u64,
}

impl Quota {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { limit: AtomicU64::new(limit.unwrap_or(NONE)), reserved: Mutex::new(0) }
    }

    pub(super) fn set(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(NONE), Ordering::Relaxed);
    }

    pub(super) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != NONE)
    }

    pub(super) const fn begin(&self) -> Reservation<'_> {
        Reservation { quota: self, bytes: 0 }
    }

    fn reserved(&self) -> MutexGuard<'_, u64> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation<'_> {
    /// Reserves what is missing to `total` bytes; as [`Self::grow`].
    pub(super) async fn grow_to(
        &mut self,
        provider: &dyn StorageProvider,
        item: &str,
        total: u64,
    ) -> Result<(), StoreError> {
        match total.saturating_sub(self.bytes) {
            0 => Ok(()),
            missing => self.grow(provider, item, missing).await,
        }
    }

    /// Reserves `bytes` more. Between the commit of a value and the end of its reservation it
    /// counts twice, so that the limit errs towards refusing.
    pub(super) async fn grow(
        &mut self,
        provider: &dyn StorageProvider,
        item: &str,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let Some(limit) = self.quota.limit() else { return Ok(()) };
        let stored = provider.usage().await?.bytes();
        let mut reserved = self.quota.reserved();
        let used = stored.saturating_add(*reserved);
        if used.saturating_add(bytes) > limit {
            let (item, needed) = (item.to_owned(), self.bytes.saturating_add(bytes));
            let used = used.saturating_sub(self.bytes);
            return Err(StoreError::Quota { item, needed, used, limit });
        }
        *reserved = reserved.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut reserved = self.quota.reserved();
        *reserved = reserved.saturating_sub(self.bytes);
    }
}
