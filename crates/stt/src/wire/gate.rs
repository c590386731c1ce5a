//! Who is let in: knocks checked against the keyring, the clock and the memory of used ones.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    knock::{KNOCK_LEN, KnockKey},
    replay::{ReplayTable, Seen, Unfit},
    stats::{Counters, count},
};
use crate::{
    NodeId,
    keyring::{Entries, Keyring, SeedKeys},
};

/// Seconds since 1970, as far as this machine knows.
pub(crate) fn unix_time() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

/// The check of every first packet.
pub(crate) struct Gate {
    node_id: NodeId,
    keyring: Arc<Keyring>,
    derived: Mutex<Derived>,
    table: Mutex<ReplayTable>,
    counters: Arc<Counters>,
}

/// The knock keys of one version of the keyring.
struct Derived {
    entries: Arc<Entries>,
    keys: Arc<Vec<SeedKnocks>>,
}

struct SeedKnocks {
    seed: Arc<SeedKeys>,
    anyone: KnockKey,
    this_node: KnockKey,
}

impl Gate {
    pub(crate) fn new(
        node_id: NodeId,
        keyring: Arc<Keyring>,
        window: Duration,
        counters: Arc<Counters>,
    ) -> Self {
        let entries = keyring.entries();
        let keys = Arc::new(derive(&entries, node_id));
        let window = u32::try_from(window.as_secs()).unwrap_or(u32::MAX);
        // Without a memory of the time before the start, nothing from that time is let in.
        let table = ReplayTable::new(window, ReplayTable::CAPACITY, unix_time().saturating_sub(1));
        Self {
            node_id,
            keyring,
            derived: Mutex::new(Derived { entries, keys }),
            table: Mutex::new(table),
            counters,
        }
    }

    /// The seed that `knock` was made with, whenever that was.
    pub(crate) fn identify(&self, knock: &[u8]) -> Option<(Arc<SeedKeys>, Seen)> {
        let knock = <[u8; KNOCK_LEN]>::try_from(knock).ok()?;
        self.keys().iter().find_map(|keys| {
            let time = keys.anyone.open(&knock).or_else(|| keys.this_node.open(&knock))?;
            Some((Arc::clone(&keys.seed), Seen { time, knock }))
        })
    }

    /// The seed of a knock that may be let in now. Counts what may not.
    pub(crate) fn admit(&self, knock: &[u8]) -> Option<Arc<SeedKeys>> {
        let Some((seed, seen)) = self.identify(knock) else {
            count(&self.counters.dropped_unknown);
            return None;
        };
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.check(&seen, unix_time()) {
            Ok(()) => Some(seed),
            Err(Unfit::Stale) => {
                count(&self.counters.dropped_stale);
                None
            }
            Err(Unfit::Replayed) => {
                count(&self.counters.dropped_replayed);
                None
            }
        }
    }

    /// Remembers a knock as used, once its Initial packet authenticated.
    pub(crate) fn remember(&self, seen: Seen) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.remember(seen, unix_time());
    }

    fn keys(&self) -> Arc<Vec<SeedKnocks>> {
        let entries = self.keyring.entries();
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&derived.entries, &entries) {
            derived.keys = Arc::new(derive(&entries, self.node_id));
            derived.entries = entries;
        }
        Arc::clone(&derived.keys)
    }
}

fn derive(entries: &Entries, node_id: NodeId) -> Vec<SeedKnocks> {
    let knocks = |seed: &Arc<SeedKeys>| SeedKnocks {
        seed: Arc::clone(seed),
        anyone: KnockKey::new(&seed.knock, None),
        this_node: KnockKey::new(&seed.knock, Some(node_id)),
    };
    entries.iter().map(knocks).collect()
}
