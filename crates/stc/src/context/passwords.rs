//! Stretched passwords, kept for as long as they are in use.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    Key, kdf,
    stretch::{self, Cost, StretchError},
};

/// Most stretched passwords that one context remembers; the one unused for longest goes.
const CAPACITY: usize = 16;

/// Remembers what a stretch gave, not what went in: an entry is found by a keyed hash of password,
/// salt and cost. Entries are wiped when they go.
pub(super) struct Passwords {
    key: Key,
    entries: Mutex<Vec<([u8; 32], Key)>>,
}

impl Passwords {
    pub(super) const fn new(key: Key) -> Self {
        Self { key, entries: Mutex::new(Vec::new()) }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<([u8; 32], Key)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stretched password, and whether it had to be stretched now.
    ///
    /// The lock is not held during the stretch, so that one slow password does not hold up others;
    /// two threads with the same new password may both stretch it.
    pub(super) fn stretched(
        &self,
        password: &[u8],
        salt: &[u8; 16],
        cost: Cost,
    ) -> Result<(Key, bool), StretchError> {
        let [high, low] = cost.lattice_size().to_be_bytes();
        let name = kdf::derive(
            &self.key,
            "stc cached password",
            &[password, salt, &[high, low, cost.depth()]],
        );
        {
            let mut entries = self.entries();
            if let Some(at) = entries.iter().position(|(entry, _)| entry == name.as_bytes()) {
                let entry = entries.remove(at);
                let key = entry.1.clone();
                entries.push(entry);
                return Ok((key, false));
            }
        }
        let key = stretch::stretch(password, salt, cost)?;
        let mut entries = self.entries();
        if entries.len() == CAPACITY {
            entries.remove(0);
        }
        entries.push((*name.as_bytes(), key.clone()));
        Ok((key, true))
    }

    /// Forgets every password.
    pub(super) fn clear(&self) {
        self.entries().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let passwords = Passwords::new(Key::from_bytes([1; 32]));
        let cost = Cost::new(16, 1).unwrap();
        let first = passwords.stretched(b"first", &[0; 16], cost).unwrap();
        assert!(first.1);
        for number in 0..40_u8 {
            assert!(passwords.stretched(&[number], &[0; 16], cost).unwrap().1);
            let again = passwords.stretched(b"first", &[0; 16], cost).unwrap();
            assert!(!again.1 && again.0 == first.0);
        }
        assert_eq!(passwords.entries().len(), CAPACITY);
        assert!(passwords.stretched(&[0], &[0; 16], cost).unwrap().1, "evicted long ago");
        assert!(passwords.stretched(b"first", &[1; 16], cost).unwrap().1, "another salt");
        passwords.clear();
        assert!(passwords.stretched(b"first", &[0; 16], cost).unwrap().1);
    }
}
