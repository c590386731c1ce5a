//! Who is let in: knocks checked against the keyring, the clock and the memory of used ones.

use std::{
    io,
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
    /// Knocks that this node made for anyone, apart, so that they take no room from those of peers.
    own: ReplayTable,
    log: Option<KnockLog>,
    /// Knocks from the log whose seed the keyring doesn't hold: it may be added later.
    unplaced: Vec<[u8; KNOCK_LEN]>,
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
        let own = ReplayTable::new(window, ReplayTable::CAPACITY, 0, 0);
        let gate = Self {
            node_id,
            keyring,
            derived: Mutex::new(Derived { entries, keys }),
            clock,
            memory: Mutex::new(Memory { table, own, log: None, unplaced: Vec::new() }),
            counters,
        };
        if let Some(Opened { log, knocks, .. }) = opened {
            let keys = gate.keys();
            let mut memory = gate.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.log = Some(log);
            memory.unplaced = knocks;
            memory.place(&keys, now);
            let surplus = memory.unplaced.len().saturating_sub(ReplayTable::CAPACITY);
            memory.unplaced.drain(..surplus);
        }
        Ok(gate)
    }

    /// The seed that `knock` was made with, whenever that was (docs/protocol.md, KNOCK-3).
    pub(crate) fn identify(&self, knock: &[u8]) -> Option<(Arc<SeedKeys>, Seen)> {
        let knock = <[u8; KNOCK_LEN]>::try_from(knock).ok()?;
        self.keys().iter().find_map(|keys| Some((Arc::clone(&keys.seed), keys.open(knock)?)))
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
            Ok(()) if memory.own.holds(&seen) => &self.counters.dropped_replayed,
            Ok(()) => return Some(seed),
            Err(Unfit::Stale) => &self.counters.dropped_stale,
            Err(Unfit::Replayed) => &self.counters.dropped_replayed,
            Err(Unfit::Forgotten) => &self.counters.dropped_forgotten,
            Err(Unfit::Timeless) => &self.counters.dropped_timeless,
        };
        count(counter);
        None
    }

    /// Remembers a knock as used, once its Initial packet authenticated (KNOCK-5).
    pub(crate) fn remember(&self, seen: Seen) {
        self.keep(seen, |memory| &mut memory.table);
    }

    /// Remembers a knock that this node made for anyone: it is not let in when somebody sends it back
    /// (KNOCK-7).
    pub(crate) fn made(&self, seen: Seen) {
        if seen.time > 0 {
            self.keep(seen, |memory| &mut memory.own);
        }
    }

    fn keep(&self, seen: Seen, which: impl FnOnce(&mut Memory) -> &mut ReplayTable) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        which(&mut memory).remember(seen, self.clock.now());
        if let Err(error) = memory.write(&seen) {
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
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.place(&derived.keys, self.clock.now());
        }
        Arc::clone(&derived.keys)
    }
}

impl Memory {
    /// Adds a knock to the log, and takes out what is not needed when that is much.
    fn write(&mut self, seen: &Seen) -> io::Result<()> {
        let Self { table, own, log, unplaced } = self;
        let Some(log) = log else { return Ok(()) };
        let written = log.append(&seen.knock, seen.time == 0);
        let needed = table.len() + own.len() + unplaced.len();
        if log.records().saturating_sub(needed) <= ReplayTable::CAPACITY {
            return written;
        }
        let known = table.entries().chain(own.entries()).map(|seen| seen.knock);
        let needed: Vec<_> = unplaced.iter().copied().chain(known).collect();
        written.and(log.compact(&needed))
    }

    /// Remembers those used knocks that `keys` can read now.
    fn place(&mut self, keys: &[SeedKnocks], now: u32) {
        let Self { table, unplaced, .. } = self;
        unplaced.retain(|knock| {
            let seen = keys.iter().find_map(|keys| keys.open(*knock));
            if let Some(seen) = seen {
                table.remember(seen, now);
            }
            seen.is_none()
        });
    }
}

impl SeedKnocks {
    /// What a knock of this seed, for anyone or for this node, says.
    fn open(&self, knock: [u8; KNOCK_LEN]) -> Option<Seen> {
        let time = self.anyone.open(&knock).or_else(|| self.this_node.open(&knock))?;
        Some(Seen { time, knock })
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

#[cfg(test)]
mod tests {
    use stc::Key;

    use super::*;
    use crate::SharedSeed;

    /// A node may start with one seed and be told of the others while it runs.
    #[test]
    fn a_used_knock_is_remembered_over_a_restart_before_its_seed_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let seed = |byte| SharedSeed::from_key(Key::from_bytes([byte; 32]));
        let start = |keyring: &Arc<Keyring>| {
            let (clock, log) = (Arc::default(), Some(folder.path().join("knocks")));
            let config = GateConfig { clock, window: Duration::from_secs(120), log, timeless: 9 };
            let counters = Arc::<Counters>::default();
            let node = NodeId::from_bytes([9; 32]);
            let gate = Gate::new(node, Arc::clone(keyring), config, Arc::clone(&counters));
            (gate.unwrap(), counters)
        };
        let keyring = Arc::new(Keyring::from(seed(1)));
        keyring.add(&seed(2)).unwrap();
        let second = Arc::clone(&keyring.entries()[1]);
        let knock = |time| KnockKey::new(&second.knock, None).knock([5; 8], time);
        let used = [knock(Clock::System.now() + 60), knock(0)];
        let (gate, _) = start(&keyring);
        for knock in &used {
            assert!(gate.admit(knock).is_some());
            gate.remember(gate.identify(knock).unwrap().1);
        }
        for _ in 0..2 {
            let keyring = Arc::new(Keyring::from(seed(1)));
            let (gate, counters) = start(&keyring);
            assert!(used.iter().all(|knock| gate.admit(knock).is_none()));
            assert_eq!(counters.snapshot().dropped_replayed, 0, "its seed is not known");
            keyring.add(&seed(2)).unwrap();
            assert!(used.iter().all(|knock| gate.admit(knock).is_none()));
            assert_eq!(counters.snapshot().dropped_replayed, 2);
        }
    }
}
