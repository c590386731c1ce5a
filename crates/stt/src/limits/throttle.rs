//! Bandwidth: a token bucket that tasks wait at.

use std::{
    num::NonZeroU64,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use stt_transport::internal::TokenBucket;
use tokio::sync::Notify;

use super::now;

/// How far a rate may be ahead of the clock: enough for the runtime's timers, which are of whole
/// milliseconds.
const BURST: Duration = Duration::from_millis(20);
/// Pieces that bytes are cut into: a hundredth of a second's worth, within bounds.
const PIECE: (u64, u64) = (1 << 10, 64 << 10);

/// A limit of bytes a second that may be set, changed and lifted at any time. While there is none it
/// costs one load.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Zero for none.
    per_second: AtomicU64,
    bucket: Mutex<Option<TokenBucket>>,
    changed: Notify,
}

impl Throttle {
    pub(crate) fn new(per_second: Option<NonZeroU64>) -> Self {
        let throttle = Self::default();
        throttle.set(per_second);
        throttle
    }

    /// Whoever waits begins anew under the new rate.
    pub(crate) fn set(&self, per_second: Option<NonZeroU64>) {
        *self.lock() = per_second.map(|rate| TokenBucket::new(rate, BURST));
        self.per_second.store(per_second.map_or(0, NonZeroU64::get), Relaxed);
        self.changed.notify_waiters();
    }

    pub(crate) fn get(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.per_second.load(Relaxed))
    }

    /// The largest piece that should pass at once; `None` when there is no limit.
    pub(crate) fn piece(&self) -> Option<usize> {
        let piece = (self.get()?.get() / 100).clamp(PIECE.0, PIECE.1);
        usize::try_from(piece).ok()
    }

    /// Waits until `bytes` may go.
    pub(crate) async fn pass(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        while self.get().is_some() {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let Some(wait) = self.lock().as_mut().map(|bucket| bucket.reserve(now(), bytes)) else {
                return;
            };
            if wait.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => return,
                () = changed => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<TokenBucket>> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn without_a_limit_nothing_waits_and_a_lifted_one_lets_everybody_go() {
        let throttle = Arc::new(Throttle::default());
        assert_eq!(throttle.piece(), None);
        throttle.pass(usize::MAX).await;
        // At a byte a second this would take until tomorrow.
        throttle.set(NonZeroU64::new(1));
        assert_eq!(throttle.piece(), Some(1 << 10));
        let waiting = Arc::clone(&throttle);
        let waiting = tokio::spawn(async move { waiting.pass(100_000).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        throttle.set(None);
        waiting.await.unwrap();
    }
}
