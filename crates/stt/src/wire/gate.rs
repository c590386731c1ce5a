//! Who is let in: knocks checked against the keyring, the clock and the memory of used ones.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    clock::{Clock, boot_time},
    error::WireError,
    knock::{KNOCK_LEN, KnockKey},
    knock_log::{KnockLog, Opened},
    replay::{ReplayTable, Seen, Unfit},
    stats::{Counters, count},
};
use crate::{
    NodeId,
    keyring::{Entries, Keyring, SeedKeys},
};

/// What decides over knocks, beside the keyring.
pub(crate) struct GateConfig {
    pub(crate) clock: Arc<Clock>,
    /// How far a knock's time may be from ours.
    pub(crate) window: Duration,
    /// Where used knocks are kept over a restart.
    pub(crate) log: Option<PathBuf>,
    /// Knocks without a time that are let in, ever. Needs a log.
    pub(crate) timeless: usize,
}

/// The check of every first packet.
pub(crate) struct Gate {
    node_id: NodeId,
    keyring: Arc<Keyring>,
    derived: Mutex<Derived>,
    clock: Arc<Clock>,
    memory: Mutex<Memory>,
    counters: Arc<Counters>,
}

struct Memory {
    table: ReplayTable,
    log: Option<KnockLog>,
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
        config: GateConfig,
        counters: Arc<Counters>,
    ) -> Result<Self, WireError> {
        let GateConfig { clock, window, log, timeless } = config;
        if timeless > 0 && log.is_none() {
            return Err(WireError::NeedsKnockLog);
        }
        let entries = keyring.entries();
        let keys = Arc::new(derive(&entries, node_id));
        let opened = log.map(|path| {
            KnockLog::open(&path)
                .map_err(|error| WireError::KnockLog { path, reason: error.to_string() })
        });
        let opened = opened.transpose()?;
        let now = clock.now();
        // Without a memory of the time before, nothing from that time is let in. A machine that
        // went down may have lost the end of its log.
        let remembered_since = match &opened {
            Some(Opened { existed: true, .. }) => boot_time().unwrap_or(now),
            _ => now,
        };
        let window = u32::try_from(window.as_secs()).unwrap_or(u32::MAX);
        let floor = remembered_since.saturating_sub(1);
        let table = ReplayTable::new(window, ReplayTable::CAPACITY, timeless, floor);
        let gate = Self {
            node_id,
            keyring,
            derived: Mutex::new(Derived { entries, keys }),
            clock,
            memory: Mutex::new(Memory { table, log: None }),
            counters,
        };
        if let Some(Opened { log, knocks, .. }) = opened {
            let seen: Vec<_> = knocks.iter().filter_map(|knock| gate.identify(knock)).collect();
            let mut memory = gate.memory.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, seen) in seen {
                memory.table.remember(seen, now);
            }
            memory.log = Some(log);
        }
        Ok(gate)
    }

    /// The seed that `knock` was made with, whenever that was (docs/protocol.md, KNOCK-3).
    pub(crate) fn identify(&self, knock: &[u8]) -> Option<(Arc<SeedKeys>, Seen)> {
        let knock = <[u8; KNOCK_LEN]>::try_from(knock).ok()?;
        self.keys().iter().find_map(|keys| {
            let time = keys.anyone.open(&knock).or_else(|| keys.this_node.open(&knock))?;
            Some((Arc::clone(&keys.seed), Seen { time, knock }))
        })
    }

    /// The seed of a knock that may be let in now. Counts what may not.
    pub(crate) fn admit(&self, knock: &[u8]) -> Option<Arc<SeedKeys>> {
        // Its mask was that of a seed that we hold, so it was made for another node.
        let Some((seed, seen)) = self.identify(knock) else {
            count(&self.counters.dropped_other_node);
            return None;
        };
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = match memory.table.check(&seen, self.clock.now()) {
            Ok(()) => return Some(seed),
            Err(Unfit::Stale) => &self.counters.dropped_stale,
            Err(Unfit::Replayed) => &self.counters.dropped_replayed,
            Err(Unfit::Timeless) => &self.counters.dropped_timeless,
        };
        count(counter);
        None
    }

    /// Remembers a knock as used, once its Initial packet authenticated (KNOCK-5).
    pub(crate) fn remember(&self, seen: Seen) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { table, log } = &mut *memory;
        table.remember(seen, self.clock.now());
        let Some(log) = log else { return };
        let mut written = log.append(&seen.knock, seen.time == 0);
        if log.records() > 2 * ReplayTable::CAPACITY {
            let needed: Vec<_> = table.entries().map(|seen| seen.knock).collect();
            written = written.and(log.compact(&needed));
        }
        if let Err(error) = written {
            count(&self.counters.knock_log_errors);
            tracing::warn!(%error, "a used knock was not logged: a restart may let it in again");
        }
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
