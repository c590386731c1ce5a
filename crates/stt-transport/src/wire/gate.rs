//! Who is let in: knocks checked against the keyring, the clock and the memory of used ones.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    clock::{Clock, boot_time},
    error::WireError,
    knock::KnockKey,
    knock_log::{KnockLog, Opened},
    replay_table::{ReplayTable, Seen, Unfit},
    stats::{Counters, count},
};
use crate::{
    id::NodeId,
    keyring::{Entries, Keyring, SeedKeys},
    packet_header::KNOCK_LEN,
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

/// Records of the log whose seeds are not known that are kept, 20 MiB: nobody can tell which of
/// them carry no time, and those must not be forgotten. One seed's life leaves some 50,000 at most.
const MAX_UNPLACED: usize = 1 << 20;

/// The check of every first packet.
pub(crate) struct Gate {
    node_id: NodeId,
    keyring: Arc<Keyring>,
    derived: Mutex<Derived>,
    clock: Arc<Clock>,
    memory: Mutex<Memory>,
    counters: Arc<Counters>,
    start: Start,
}

/// When the memory of used knocks begins.
struct Start {
    /// By the clock as it was then, with what happened before the start of this node that it has in
    /// its log.
    time: u32,
    /// When this node started, by both clocks.
    wall: u32,
    at: Instant,
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
                .map_err(|error| WireError::KnockLog { path, reason: error.into() })
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
        let start =
            Start { time: remembered_since.saturating_sub(1), wall: now, at: Instant::now() };
        let table = ReplayTable::new(window, ReplayTable::CAPACITY, timeless, start.time);
        let own = ReplayTable::new(window, ReplayTable::CAPACITY, 0, 0);
        let gate = Self {
            node_id,
            keyring,
            derived: Mutex::new(Derived { entries, keys }),
            clock,
            memory: Mutex::new(Memory { table, own, log: None, unplaced: Vec::new() }),
            counters,
            start,
        };
        if let Some(Opened { log, knocks, .. }) = opened {
            let keys = gate.keys();
            let mut memory = gate.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.log = Some(log);
            memory.unplaced = knocks;
            memory.place(&keys, now);
            let surplus = memory.unplaced.len().saturating_sub(MAX_UNPLACED);
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
    pub(crate) fn check(&self, knock: &[u8]) -> Option<Arc<SeedKeys>> {
        self.decide(knock, Memory::check)
    }

    /// As [`Self::check`], and the knock is used from now on, whatever becomes of it (KNOCK-5). For
    /// what authenticated. Of two at once that hold the same knock one is let in.
    pub(crate) fn admit(&self, knock: &[u8]) -> Option<Arc<SeedKeys>> {
        self.decide(knock, |memory, seen, now| {
            memory.check(seen, now)?;
            memory.table.admit(*seen, now)?;
            self.write(memory, seen);
            Ok(())
        })
    }

    fn decide(
        &self,
        knock: &[u8],
        fits: impl FnOnce(&mut Memory, &Seen, u32) -> Result<(), Unfit>,
    ) -> Option<Arc<SeedKeys>> {
        // Its mask was that of a seed that we hold, so it was made for another node.
        let Some((seed, seen)) = self.identify(knock) else {
            count(&self.counters.dropped_other_node);
            return None;
        };
        let now = self.clock.now();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.table.begin_at(self.start.by_the_clock(now));
        let counter = match fits(&mut memory, &seen, now) {
            Ok(()) => return Some(seed),
            Err(Unfit::Stale) => &self.counters.dropped_stale,
            Err(Unfit::Replayed) => &self.counters.dropped_replayed,
            Err(Unfit::Forgotten) => &self.counters.dropped_forgotten,
            Err(Unfit::Timeless) => &self.counters.dropped_timeless,
            Err(Unfit::Full) => &self.counters.dropped_full,
        };
        count(counter);
        None
    }

    /// Remembers a knock that this node made for anyone: it is not let in when somebody sends it back
    /// (KNOCK-7).
    pub(crate) fn made(&self, seen: Seen) {
        if seen.time > 0 {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.own.remember(seen, self.clock.now());
            self.write(&mut memory, &seen);
        }
    }

    fn write(&self, memory: &mut Memory, seen: &Seen) {
        if let Err(error) = memory.write(seen) {
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

impl Start {
    /// A clock that was set back since makes the start earlier by as much: what was let in since is
    /// remembered, whatever the clock says.
    fn by_the_clock(&self, now: u32) -> u32 {
        let since = u32::try_from(self.at.elapsed().as_secs()).unwrap_or(u32::MAX);
        match self.wall.saturating_add(since).saturating_sub(now) {
            // Both clocks have whole seconds here.
            0..=2 => self.time,
            back => self.time.saturating_sub(back),
        }
    }
}

impl Memory {
    fn check(&mut self, seen: &Seen, now: u32) -> Result<(), Unfit> {
        if self.own.holds(seen) { Err(Unfit::Replayed) } else { self.table.check(seen, now) }
    }

    /// Adds a knock to the log, and takes out what is not needed when that is much.
    fn write(&mut self, seen: &Seen) -> io::Result<()> {
        let Self { table, own, log, unplaced } = self;
        let Some(log) = log else { return Ok(()) };
        let written = log.append(&seen.knock, seen.time == 0);
        let needed = table.len() + own.len() + unplaced.len();
        if log.records().saturating_sub(needed) <= ReplayTable::CAPACITY {
            return written;
        }
        let known = own.entries().chain(table.entries());
        // Those without a time come last: what is too much is forgotten from the front.
        let (timeless, timed): (Vec<Seen>, Vec<Seen>) =
            known.copied().partition(|seen| seen.time == 0);
        let known = timed.into_iter().chain(timeless).map(|seen| seen.knock);
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
            assert!(gate.check(knock).is_some());
            assert!(gate.admit(knock).is_some());
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

    fn alone(clock: Clock, log: Option<PathBuf>) -> (Gate, KnockKey, Arc<Counters>) {
        let seed = SharedSeed::from_key(Key::from_bytes([1; 32]));
        let keyring = Arc::new(Keyring::from(seed));
        let key = KnockKey::new(&keyring.entries()[0].knock, None);
        let (clock, window) = (Arc::new(clock), Duration::from_secs(120));
        let config = GateConfig { clock, window, log, timeless: 0 };
        let counters = Arc::<Counters>::default();
        let node = NodeId::from_bytes([9; 32]);
        (Gate::new(node, keyring, config, Arc::clone(&counters)).unwrap(), key, counters)
    }

    /// Twice: a start writes the log anew.
    #[test]
    fn a_log_of_old_knocks_opens_however_long_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("knocks");
        let now = Clock::System.now();
        let (_, key, _) = alone(Clock::System, None);
        let many = u32::try_from(ReplayTable::CAPACITY).unwrap() + 1;
        let knocks: Vec<_> = (0..many)
            .map(|at| {
                key.knock([at.to_be_bytes(); 2].concat().try_into().unwrap(), now - 3615 - at)
            })
            .collect();
        std::fs::write(&path, knocks.as_flattened()).unwrap();
        for _ in 0..2 {
            let path = path.clone();
            let (done, waiting) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let (gate, key, _) = alone(Clock::System, Some(path));
                let fresh =
                    [true, false].map(|_| gate.admit(&key.knock([7; 8], now + 3)).is_some());
                let _ = done.send(fresh);
            });
            let fresh = waiting.recv_timeout(Duration::from_secs(60)).unwrap();
            assert!(!fresh[1]);
        }
    }

    #[test]
    fn of_many_at_once_with_one_knock_one_is_let_in() {
        let (gate, key, counters) = alone(Clock::System, None);
        let knock = key.knock([7; 8], Clock::System.now() + 3);
        let admitted = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| gate.admit(&knock))).collect();
            tries.into_iter().filter_map(|each| each.join().unwrap()).count()
        });
        assert_eq!((admitted, counters.snapshot().dropped_replayed), (1, 7));
    }

    /// A machine without a clock of its own asks for the time a minute after its start.
    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let (before, after) = (1_800_028_800, 1_800_000_000);
        let time = Arc::new(before.into());
        let (gate, key, _) = alone(Clock::Manual(Arc::clone(&time)), None);
        let early = key.knock([1; 8], before);
        assert!(gate.admit(&early).is_some());
        time.store(after, std::sync::atomic::Ordering::Relaxed);
        let knock = key.knock([2; 8], after);
        assert!(gate.admit(&key.knock([3; 8], after - 30)).is_none(), "before the start");
        assert!(gate.admit(&knock).is_some());
        assert!(gate.admit(&knock).is_none());
        time.store(before, std::sync::atomic::Ordering::Relaxed);
        assert!(gate.admit(&early).is_none());
    }

    /// They may come back years later.
    #[test]
    fn timeless_knocks_of_seeds_that_are_away_are_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("knocks");
        let seed = |byte| SharedSeed::from_key(Key::from_bytes([byte; 32]));
        let away = Keyring::from(seed(2));
        let key = KnockKey::new(&away.entries()[0].knock, None);
        let timeless = key.knock([9; 8], 0);
        let now = Clock::System.now();
        let many = u32::try_from(ReplayTable::CAPACITY).unwrap() + 1;
        let nonce = |at: u32| [at.to_be_bytes(); 2].concat().try_into().unwrap();
        let timed = (0..many).map(|at| key.knock(nonce(at), now - 3));
        let knocks: Vec<_> = [timeless].into_iter().chain(timed).collect();
        std::fs::write(&path, knocks.as_flattened()).unwrap();
        for _ in 0..2 {
            let keyring = Arc::new(Keyring::from(seed(1)));
            let (clock, log) = (Arc::default(), Some(path.clone()));
            let config = GateConfig { clock, window: Duration::from_secs(120), log, timeless: 9 };
            let node = NodeId::from_bytes([9; 32]);
            let gate = Gate::new(node, Arc::clone(&keyring), config, Arc::default()).unwrap();
            keyring.add(&seed(2)).unwrap();
            assert!(gate.admit(&timeless).is_none());
        }
    }
}
