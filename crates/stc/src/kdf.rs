//! Deriving keys from keys with keyed BLAKE3.
//!
//! The input is unambiguous: each part is preceded by its length in 8 bytes, little-endian, so no
//! two lists of parts hash alike.
//!
//! ```
//! use stc::{Key, kdf};
//!
//! let root = Key::from_bytes([7; 32]);
//! let mails = kdf::derive(&root, "app", &[b"mails"]);
//! assert!(mails != kdf::derive(&root, "app", &[b"photos"]));
//! assert!(mails == kdf::derive(&root, "app", &[b"mails"]));
//! assert!(mails != kdf::derive(&root, "app", &[b"ma", b"ils"]));
//! ```

use crate::Key;

/// `hasher` after it has absorbed `label` and every part.
fn absorb(mut hasher: blake3::Hasher, label: &str, parts: &[&[u8]]) -> blake3::Hasher {
    for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hasher.update(&length.to_le_bytes());
        hasher.update(part);
    }
    hasher
}

/// The 32-byte key that belongs to `label` and `parts` under `root`.
#[must_use]
pub fn derive(root: &Key, label: &str, parts: &[&[u8]]) -> Key {
    let hasher = blake3::Hasher::new_keyed(root.as_bytes());
    Key::from_bytes(*absorb(hasher, label, parts).finalize().as_bytes())
}

/// As [`derive()`], with an output of any length.
pub fn derive_into(root: &Key, label: &str, parts: &[&[u8]], out: &mut [u8]) {
    let hasher = blake3::Hasher::new_keyed(root.as_bytes());
    absorb(hasher, label, parts).finalize_xof().fill(out);
}

/// The unkeyed hash of `label` and `parts`, for what is not secret.
#[must_use]
pub fn digest(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    *absorb(blake3::Hasher::new(), label, parts).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_parts_changes_the_key() {
        let root = Key::from_bytes([7; 32]);
        let together = derive(&root, "label", &[b"ab", b"c"]);
        let apart = derive(&root, "label", &[b"a", b"bc"]);
        assert_ne!(together.as_bytes(), apart.as_bytes());
    }

    #[test]
    fn a_long_output_starts_with_the_short_one() {
        let root = Key::from_bytes([7; 32]);
        let mut long = [0; 80];
        derive_into(&root, "label", &[], &mut long);
        assert_eq!(&long[..32], derive(&root, "label", &[]).as_bytes());
    }
}
