//! What is being received in this process: one transfer at a time for each name, and a newer one
//! can take the place of one from which nothing comes any more.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::record::Offer;

/// How long nothing has to come before a newer transfer takes the place of one.
const QUIET: Duration = Duration::from_millis(1_500);

static ALL: Mutex<BTreeMap<PathBuf, Arc<Active>>> = Mutex::new(BTreeMap::new());

fn all() -> MutexGuard<'static, BTreeMap<PathBuf, Arc<Active>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Active {
    /// What it receives: only an attempt at the same takes its place.
    offer: Offer,
    /// When the peer last sent something; `None` while this side is at work.
    heard: Mutex<Option<Instant>>,
    replaced: Notify,
}

impl Active {
    fn heard(&self) -> MutexGuard<'_, Option<Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to receive under a name, given back when dropped.
pub(super) struct Claim {
    target: PathBuf,
    active: Arc<Active>,
}

impl Claim {
    /// Takes it. `None` when another transfer has it. If that one receives the same offer and is
    /// quiet, it is told to end, and the next try may succeed.
    pub(super) fn take(target: &Path, offer: &Offer) -> Option<Self> {
        let mut all = all();
        if let Some(other) = all.get(target) {
            let is_quiet = other.heard().is_some_and(|at| at.elapsed() >= QUIET);
            if is_quiet && other.offer == *offer {
                other.replaced.notify_one();
            }
            return None;
        }
        let active = Arc::new(Active {
            offer: offer.clone(),
            heard: Mutex::new(None),
            replaced: Notify::new(),
        });
        all.insert(target.to_owned(), Arc::clone(&active));
        Some(Self { target: target.to_owned(), active })
    }

    /// Something came, and more is waited for.
    pub(super) fn heard(&self) {
        *self.active.heard() = Some(Instant::now());
    }

    /// Nothing is waited for: this side is at work.
    pub(super) fn working(&self) {
        *self.active.heard() = None;
    }

    /// Waits until a newer transfer takes its place.
    pub(super) async fn replaced(&self) {
        self.active.replaced.notified().await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        all().remove(&self.target);
    }
}
