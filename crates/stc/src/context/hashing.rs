//! Hashes and derived keys.

use subtle::ConstantTimeEq;

use super::Context;
use crate::{ContextData, Key, kdf};

/// A hash that only contexts of the same seed can make or check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hash {
    /// The epoch it was made in.
    pub epoch: u32,
    /// How many hashes the context had made before.
    pub position: u64,
    /// Keyed BLAKE3 over epoch, position, context data and data.
    pub digest: [u8; 32],
}

impl Context {
    fn digest(
        &self,
        epoch: u32,
        position: u64,
        data: &[u8],
        context_data: Option<&ContextData>,
    ) -> [u8; 32] {
        let context = ContextData::digest(context_data);
        let (epoch, position) = (epoch.to_be_bytes(), position.to_be_bytes());
        *kdf::derive(&self.root, "stc v1 hash", &[&epoch, &position, &context, data]).as_bytes()
    }

    /// Hashes `data`. Every call moves the position, so equal data gives a new hash each time; a
    /// context with the same saved state gives the same ones, call for call.
    #[must_use]
    pub fn hash(&self, data: &[u8], context_data: Option<&ContextData>) -> Hash {
        let (epoch, position) = {
            let mut moving = self.moving();
            let position = moving.position;
            moving.position = position.wrapping_add(1);
            (moving.epoch, position)
        };
        Hash { epoch, position, digest: self.digest(epoch, position, data, context_data) }
    }

    /// Whether `hash` was made of `data` and `context_data` under this seed. Moves nothing.
    #[must_use]
    pub fn verify(&self, hash: &Hash, data: &[u8], context_data: Option<&ContextData>) -> bool {
        let expected = self.digest(hash.epoch, hash.position, data, context_data);
        expected.ct_eq(&hash.digest).into()
    }

    /// A key of its own for `purpose`. It depends on the seed, the purpose and the context data, and
    /// on nothing that moves.
    #[must_use]
    pub fn derive_key(&self, purpose: &str, context_data: Option<&ContextData>) -> Key {
        let context = ContextData::digest(context_data);
        kdf::derive(&self.root, "stc v1 derived key", &[purpose.as_bytes(), &context])
    }
}
