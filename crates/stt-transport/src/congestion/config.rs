//! Settings of the controller, and the factory that the engine asks for one per path.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quinn_proto::congestion::{Controller, ControllerFactory};

use super::Bbr;

/// Builds a [`Bbr`] for each path.
#[derive(Debug)]
pub struct BbrConfig {
    initial_window: u64,
    seed: u64,
    built: AtomicU64,
}

impl BbrConfig {
    /// First window, in bytes: ten packets of 1,472 bytes (RFC 9002, 7.2).
    pub const INITIAL_WINDOW: u64 = 14_720;

    /// `seed` decides only when paths are probed for more bandwidth, so that many sessions do not
    /// do it in step. It need not be secret; give each node its own.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { initial_window: Self::INITIAL_WINDOW, seed, built: AtomicU64::new(0) }
    }

    /// First window of a path, in bytes; at least two packets of 1,200. Default:
    /// [`Self::INITIAL_WINDOW`].
    #[must_use]
    pub const fn with_initial_window(mut self, bytes: u64) -> Self {
        self.initial_window = if bytes < 2_400 { 2_400 } else { bytes };
        self
    }
}

impl Default for BbrConfig {
    /// With a seed of its own.
    fn default() -> Self {
        // The standard library draws the keys of its hash maps from the operating system.
        Self::new(RandomState::new().hash_one(0))
    }
}

impl ControllerFactory for BbrConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        // An odd step visits every 64-bit value, so no two paths share a sequence.
        let nth = self.built.fetch_add(1, Ordering::Relaxed);
        let seed = self.seed.wrapping_add(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Box::new(Bbr::new(now, current_mtu, self.initial_window, seed))
    }
}
