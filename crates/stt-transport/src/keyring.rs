//! The seeds a node knows: the current one, the next, and the previous while it is phased out.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use stc::{Coded, Key, kdf};

use crate::{
    header_mask::Masks,
    seed::{SeedWarning, SharedSeed},
};

/// The seeds by which a node knows its peers, shared and changed while it runs.
///
/// The first is used to connect; all of them are accepted from others. So a group moves from one seed
/// to the next without a pause: everybody adds the next one, then everybody makes it the current one,
/// then everybody retires the first.
///
/// Several nodes of a process may share one.
pub struct Keyring {
    ring: RwLock<Ring>,
}

struct Ring {
    entries: Arc<Entries>,
    /// Seeds that sessions still use after they were retired.
    retired: Vec<Weak<SeedKeys>>,
    next_slot: u8,
}

/// Names a seed without telling anything about it to those who don't hold it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeedId([u8; 8]);

/// Why the keyring was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// There is no room for another seed.
    #[error("the keyring holds {max} seeds already; retire one first")]
    Full {
        /// How many it can hold.
        max: usize,
    },
    /// No such seed.
    #[error("the keyring holds no such seed")]
    Unknown,
    /// The last seed cannot be retired.
    #[error("the last seed of a keyring cannot be retired; add another one first")]
    Last,
}

impl Coded for KeyringError {
    fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "keyring.full",
            Self::Unknown => "keyring.unknown",
            Self::Last => "keyring.last",
        }
    }

    fn retry_helps(&self) -> bool {
        false
    }
}

/// One version of the keyring, current seed first.
pub(crate) type Entries = Vec<Arc<SeedKeys>>;

/// What follows from one seed (docs/protocol.md, KEY-1 and KEY-2).
pub(crate) struct SeedKeys {
    pub(crate) id: SeedId,
    /// Its number within this keyring, never on the wire.
    pub(crate) slot: u8,
    /// Why it should be replaced, if it can be guessed.
    warning: Option<SeedWarning>,
    /// Pre-shared key of the Noise handshake.
    pub(crate) psk: Key,
    /// Root of the keys of Initial packets.
    pub(crate) initial: Key,
    /// Root of the keys of knocks.
    pub(crate) knock: Key,
    /// What hides headers.
    pub(crate) masks: Masks,
}

impl SeedKeys {
    fn new(seed: &SharedSeed, slot: u8) -> Self {
        let root = seed.root();
        let derive = |label| kdf::derive(root, label, &[]);
        let [a, b, c, d, e, f, g, h, ..] = *derive("stt/1 seed id").as_bytes();
        Self {
            id: SeedId([a, b, c, d, e, f, g, h]),
            slot,
            warning: seed.is_guessable(),
            psk: derive("stt/1 noise psk"),
            initial: derive("stt/1 initial"),
            knock: derive("stt/1 knock"),
            masks: Masks::new(root),
        }
    }
}

impl Keyring {
    /// Most seeds in one keyring. Each costs a stranger's datagram one more trial.
    pub const MAX: usize = 4;

    /// Adds a seed that peers may use from now on, and that this node does not use yet. A seed that
    /// is there already stays where it is.
    ///
    /// # Errors
    /// [`KeyringError::Full`].
    pub fn add(&self, seed: &SharedSeed) -> Result<SeedId, KeyringError> {
        self.change(|ring| {
            let keys = SeedKeys::new(seed, ring.next_slot);
            let id = keys.id;
            if ring.entries.iter().any(|entry| entry.id == id) {
                return Ok(id);
            }
            if ring.entries.len() >= Self::MAX {
                return Err(KeyringError::Full { max: Self::MAX });
            }
            ring.next_slot = ring.next_slot.wrapping_add(1);
            Arc::make_mut(&mut ring.entries).push(Arc::new(keys));
            Ok(id)
        })
    }

    /// Connects with this seed from now on; the one before stays accepted.
    ///
    /// # Errors
    /// [`KeyringError::Unknown`].
    pub fn make_current(&self, id: SeedId) -> Result<(), KeyringError> {
        self.change(|ring| {
            let entries = Arc::make_mut(&mut ring.entries);
            let at = entries.iter().position(|entry| entry.id == id);
            let entry = entries.remove(at.ok_or(KeyringError::Unknown)?);
            entries.insert(0, entry);
            Ok(())
        })
    }

    /// Forgets a seed. Sessions that were made with it go on until they are closed.
    ///
    /// # Errors
    /// [`KeyringError::Unknown`] and [`KeyringError::Last`].
    pub fn retire(&self, id: SeedId) -> Result<(), KeyringError> {
        self.change(|ring| {
            let entries = Arc::make_mut(&mut ring.entries);
            let at = entries.iter().position(|entry| entry.id == id);
            let at = at.ok_or(KeyringError::Unknown)?;
            if entries.len() == 1 {
                return Err(KeyringError::Last);
            }
            let entry = entries.remove(at);
            ring.retired.retain(|seed| seed.strong_count() > 0);
            ring.retired.push(Arc::downgrade(&entry));
            Ok(())
        })
    }

    /// All seeds, the current one first.
    #[must_use]
    pub fn seeds(&self) -> Vec<SeedId> {
        self.entries().iter().map(|entry| entry.id).collect()
    }

    /// Why a seed should be replaced, if there is one among them that can be guessed.
    #[must_use]
    pub fn warning(&self) -> Option<SeedWarning> {
        self.entries().iter().find_map(|entry| entry.warning)
    }

    pub(crate) fn entries(&self) -> Arc<Entries> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner).entries)
    }

    /// The accepted seeds, and the retired ones that sessions still use.
    pub(crate) fn in_use(&self) -> Arc<Entries> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        if ring.retired.is_empty() {
            return Arc::clone(&ring.entries);
        }
        let retired = ring.retired.iter().filter_map(Weak::upgrade);
        Arc::new(ring.entries.iter().cloned().chain(retired).collect())
    }

    fn change<T>(
        &self,
        edit: impl FnOnce(&mut Ring) -> Result<T, KeyringError>,
    ) -> Result<T, KeyringError> {
        edit(&mut self.ring.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<SharedSeed> for Keyring {
    fn from(seed: SharedSeed) -> Self {
        let entries = Arc::new(vec![Arc::new(SeedKeys::new(&seed, 0))]);
        Self { ring: RwLock::new(Ring { entries, retired: Vec::new(), next_slot: 1 }) }
    }
}

impl From<SharedSeed> for Arc<Keyring> {
    fn from(seed: SharedSeed) -> Self {
        Self::new(Keyring::from(seed))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyring").field(&self.seeds()).finish()
    }
}

impl fmt::Display for SeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeedId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(byte: u8) -> SharedSeed {
        SharedSeed::from_key(Key::from_bytes([byte; 32]))
    }

    #[test]
    fn a_seed_is_added_made_current_and_retired() {
        let keyring = Keyring::from(seed(1));
        let first = keyring.seeds()[0];
        let second = keyring.add(&seed(2)).unwrap();
        assert_eq!(keyring.add(&seed(2)), Ok(second));
        assert_eq!(keyring.seeds(), [first, second]);
        keyring.make_current(second).unwrap();
        assert_eq!(keyring.seeds(), [second, first]);
        keyring.retire(first).unwrap();
        assert_eq!(keyring.retire(first), Err(KeyringError::Unknown));
        assert_eq!(keyring.retire(second), Err(KeyringError::Last));
    }

    #[test]
    fn a_retired_seed_stays_in_use_as_long_as_a_session_holds_it() {
        let keyring = Keyring::from(seed(1));
        keyring.add(&seed(2)).unwrap();
        let session = Arc::clone(&keyring.entries()[0]);
        keyring.retire(session.id).unwrap();
        assert_eq!(keyring.in_use().len(), 2);
        drop(session);
        assert_eq!(keyring.in_use().len(), 1);
    }

    #[test]
    fn it_is_bounded() {
        let keyring = Keyring::from(seed(0));
        for byte in 1..4 {
            keyring.add(&seed(byte)).unwrap();
        }
        assert_eq!(keyring.add(&seed(4)), Err(KeyringError::Full { max: 4 }));
    }
}
