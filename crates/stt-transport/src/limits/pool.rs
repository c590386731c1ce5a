//! Bytes that the sessions of a node share, beyond a little that each has for itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A number of bytes to be shared out.
#[derive(Debug)]
pub struct Pool {
    free: AtomicU64,
}

/// What one session has of a pool. It goes back when dropped.
#[derive(Debug)]
pub struct Claim {
    pool: Arc<Pool>,
    bytes: u64,
}

impl Pool {
    /// Nobody has any of it yet.
    pub const fn new(bytes: u64) -> Self {
        Self { free: AtomicU64::new(bytes) }
    }

    /// Bytes that nobody has.
    #[cfg(any(test, feature = "testing"))]
    pub fn free(&self) -> u64 {
        self.free.load(Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        self.free.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(bytes)).is_ok()
    }
}

impl Claim {
    /// Nothing yet.
    pub const fn none(pool: Arc<Pool>) -> Self {
        Self { pool, bytes: 0 }
    }

    /// Holds `bytes` in all from now on. False, and no change, when there is not enough.
    pub fn set(&mut self, bytes: u64) -> bool {
        let enough = match bytes.checked_sub(self.bytes) {
            Some(more) => self.pool.take(more),
            None => {
                self.pool.free.fetch_add(self.bytes - bytes, Relaxed);
                true
            }
        };
        if enough {
            self.bytes = bytes;
        }
        enough
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.pool.free.fetch_add(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_given_out_than_there_is_and_all_of_it_comes_back() {
        let pool = Arc::new(Pool::new(100));
        let (mut a, mut b) = (Claim::none(Arc::clone(&pool)), Claim::none(Arc::clone(&pool)));
        assert!(a.set(60));
        assert!(!b.set(41));
        assert!(b.set(40));
        assert!(a.set(10));
        assert_eq!(pool.free(), 50);
        assert!(b.set(90));
        drop((a, b));
        assert_eq!(pool.free(), 100);
    }
}
