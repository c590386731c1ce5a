//! The limit on stored bytes.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
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

/// Room for a value that is being written, as long as this lives.
pub(super) struct Reservation {
    quota: Arc<Quota>,
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

    pub(super) fn begin(self: &Arc<Self>) -> Reservation {
        Reservation { quota: self.clone(), bytes: 0 }
    }

    fn reserved(&self) -> MutexGuard<'_, u64> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
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

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.quota.reserved();
        *reserved = reserved.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stc::{Coded, Key};

    use crate::{
        Chamber, ChamberKey, ChamberOptions, ContentId, Keep, MemoryProvider,
        chamber::hook_provider::Hooked, workload::value,
    };

    /// Room for one of the values, but not for two.
    const LEN: usize = 1000;

    #[tokio::test]
    async fn a_put_that_was_given_up_keeps_its_room_until_it_is_done() {
        for streamed in [true, false] {
            for keep in [Keep::Pinned, Keep::Cached, Keep::Named("n".to_owned())] {
                let hooked = Hooked::new(Arc::new(MemoryProvider::new()));
                let hook = hooked.hook.clone();
                let key = ChamberKey::from_key(&Key::from_bytes([3; 32]));
                let options = ChamberOptions::default();
                let chamber = Chamber::on(&key, Arc::new(hooked), options).await.unwrap();
                let limit = chamber.stored_bytes().await.unwrap() + 2 * LEN as u64;
                chamber.set_quota(Some(limit));
                let put = async |seed| {
                    let data = value(seed, LEN);
                    if streamed {
                        chamber.put_reader(&data[..], keep.clone()).await
                    } else {
                        chamber.put_with(data, keep.clone()).await
                    }
                };
                hook.park(0);
                tokio::select! {
                    biased;
                    () = hook.parked.notified() => {}
                    done = put(1) => panic!("{done:?}"),
                }
                let refused = chamber.put(value(2, LEN)).await.unwrap_err();
                assert_eq!(refused.code(), "store.quota");
                hook.gate.notify_one();
                // It goes on without being waited for.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                assert!(chamber.contains(&ContentId::of(&value(1, LEN))).await.unwrap());
                assert!(chamber.stored_bytes().await.unwrap() <= limit);
                // Its room is given back.
                chamber.set_quota(Some(limit + LEN as u64));
                chamber.put(value(2, LEN)).await.unwrap();
                chamber.put(value(3, LEN)).await.unwrap_err();
            }
        }
    }
}
