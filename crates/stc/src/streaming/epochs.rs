//! What a receiver remembers: per epoch, the key and which chunks were opened.

use std::collections::{BTreeMap, HashMap};

use crate::aead::AeadKey;

/// Chunks of an epoch: the lower 16 bits of the sequence.
const EPOCH_LEN: usize = 1 << 16;
/// Most senders that are remembered. Each takes 32 bytes besides its epochs.
pub(super) const MAX_SENDERS: usize = 1024;

/// What is known about a chunk before any work was done for it.
pub(super) enum Known<'a> {
    /// Its epoch is in the table, and it was not opened yet.
    Fresh(Place<'a>),
    /// Its epoch is not in the table.
    NewEpoch,
    /// It was opened.
    Seen,
    /// Its epoch was forgotten.
    TooOld,
}

/// Where a chunk of a remembered epoch will be marked once it verified.
pub(super) struct Place<'a> {
    epoch: &'a mut Epoch,
    next: &'a mut u64,
    used: &'a mut u64,
    clock: u64,
    sequence: u32,
}

impl Place<'_> {
    pub(super) const fn key(&self) -> &AeadKey {
        &self.epoch.key
    }

    /// The chunk verified.
    pub(super) fn accept(self) {
        self.epoch.mark(self.sequence);
        *self.next = (*self.next).max(u64::from(self.sequence) + 1);
        *self.used = self.clock;
    }
}

struct Epoch {
    key: AeadKey,
    /// One bit for every chunk: 8 KiB.
    seen: Box<[u64]>,
}

impl Epoch {
    fn bit(sequence: u32) -> (usize, u64) {
        let [_, _, high, low] = sequence.to_be_bytes();
        let low = usize::from(u16::from_be_bytes([high, low]));
        (low / 64, 1 << (low % 64))
    }

    fn has(&self, sequence: u32) -> bool {
        let (word, bit) = Self::bit(sequence);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    fn mark(&mut self, sequence: u32) {
        let (word, bit) = Self::bit(sequence);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }
}

#[derive(Default)]
struct Sender {
    /// Chunks below are refused unless their epoch is in the table.
    floor: u64,
    /// One above the highest that was opened.
    next: u64,
    /// When a chunk of it was last opened.
    used: u64,
    epochs: BTreeMap<u16, Epoch>,
}

/// The bounded table. Only chunks that verified change it.
pub(super) struct Epochs {
    capacity: usize,
    senders: HashMap<u64, Sender>,
    clock: u64,
}

/// The epoch of a chunk.
fn number_of(sequence: u32) -> u16 {
    let [high, low, _, _] = sequence.to_be_bytes();
    u16::from_be_bytes([high, low])
}

impl Epochs {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, senders: HashMap::new(), clock: 0 }
    }

    /// Epochs in the table.
    pub(super) fn len(&self) -> usize {
        self.senders.values().map(|sender| sender.epochs.len()).sum()
    }

    /// What is known of chunk `sequence` of the sender `nonce`.
    pub(super) fn known(&mut self, nonce: u64, sequence: u32) -> Known<'_> {
        let Some(sender) = self.senders.get_mut(&nonce) else { return Known::NewEpoch };
        let Sender { floor, next, used, epochs } = sender;
        match epochs.get_mut(&number_of(sequence)) {
            Some(epoch) if epoch.has(sequence) => Known::Seen,
            Some(epoch) => {
                self.clock += 1;
                Known::Fresh(Place { epoch, next, used, clock: self.clock, sequence })
            }
            None if u64::from(sequence) < *floor => Known::TooOld,
            None => Known::NewEpoch,
        }
    }

    /// Takes in the epoch of a chunk that verified under `key`.
    pub(super) fn accept_new(&mut self, nonce: u64, sequence: u32, key: AeadKey) {
        self.add_sender(nonce);
        // A floor from saved marks may lie inside of the epoch. The one that making room raises
        // says nothing about it.
        let floor = self.senders.get(&nonce).map_or(0, |sender| sender.floor);
        while self.len() >= self.capacity {
            self.evict(nonce);
        }
        self.clock += 1;
        let number = number_of(sequence);
        let mut seen = vec![0_u64; EPOCH_LEN / 64].into_boxed_slice();
        let clock = self.clock;
        let sender = self.senders.entry(nonce).or_default();
        let start = u64::from(number) << 16;
        let below = floor.saturating_sub(start).min(EPOCH_LEN as u64);
        for (word, first) in seen.iter_mut().zip((0_u64..).step_by(64)) {
            *word = match below.saturating_sub(first) {
                0 => 0,
                bits @ 1..64 => (1 << bits) - 1,
                _ => u64::MAX,
            };
        }
        let mut epoch = Epoch { key, seen };
        epoch.mark(sequence);
        sender.next = sender.next.max(u64::from(sequence) + 1);
        sender.used = clock;
        sender.epochs.insert(number, epoch);
    }

    /// Makes room for a sender: the one that was quiet for longest goes, with all that is known.
    fn add_sender(&mut self, nonce: u64) {
        if !self.senders.contains_key(&nonce) && self.senders.len() >= MAX_SENDERS {
            let quiet = self.senders.iter().min_by_key(|(_, sender)| sender.used);
            if let Some(quiet) = quiet.map(|(nonce, _)| *nonce) {
                self.senders.remove(&quiet);
            }
        }
        self.senders.entry(nonce).or_default();
    }

    /// Forgets the oldest epoch of the sender that was quiet for longest; `newcomer` goes last.
    fn evict(&mut self, newcomer: u64) {
        let quiet = self
            .senders
            .iter_mut()
            .filter(|(_, sender)| !sender.epochs.is_empty())
            .min_by_key(|(nonce, sender)| (**nonce == newcomer, sender.used));
        let Some((_, sender)) = quiet else { return };
        if let Some((number, _)) = sender.epochs.pop_first() {
            sender.floor = sender.floor.max((u64::from(number) + 1) << 16);
        }
    }

    /// Nonce, and one above the highest chunk opened, of every sender.
    pub(super) fn marks(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.senders.iter().map(|(nonce, sender)| (*nonce, sender.next.max(sender.floor)))
    }

    /// Refuses chunks of the sender below `floor` from now on.
    pub(super) fn raise(&mut self, nonce: u64, floor: u64) {
        self.add_sender(nonce);
        let sender = self.senders.entry(nonce).or_default();
        sender.floor = sender.floor.max(floor);
        sender.next = sender.next.max(floor);
        // What these epochs remember goes with them, so the floor has to cover it.
        if let Some((number, _)) = sender.epochs.pop_last() {
            sender.floor = sender.floor.max((u64::from(number) + 1) << 16);
            sender.epochs.clear();
        }
    }
}
