//! The digest that trailers authenticate.

use crate::aead::TAG_LEN;

/// BLAKE3 over the header with its slots, then over what each chunk contributes.
///
/// With one slot that is the chunk's tag, which whoever opens the slot has checked against all of
/// the chunk. With more it is the BLAKE3 of the chunk as it is stored, because nobody can check the
/// tags of others; in two levels, so that the workers hash their own chunks.
pub(crate) struct Digest(blake3::Hasher);

/// What one chunk contributes.
pub(crate) enum Leaf {
    Tag([u8; TAG_LEN]),
    Hash([u8; 32]),
}

impl Leaf {
    /// Of a chunk as it is stored. `single`: the envelope has one slot.
    pub(crate) fn of(chunk: &[u8], single: bool) -> Self {
        match chunk.last_chunk() {
            Some(tag) if single => Self::Tag(*tag),
            _ => Self::Hash(*blake3::hash(chunk).as_bytes()),
        }
    }
}

impl Digest {
    pub(crate) fn new(header: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(header);
        Self(hasher)
    }

    pub(crate) fn add(&mut self, leaf: &Leaf) {
        match leaf {
            Leaf::Tag(tag) => self.0.update(tag),
            Leaf::Hash(hash) => self.0.update(hash),
        };
    }

    pub(crate) fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
