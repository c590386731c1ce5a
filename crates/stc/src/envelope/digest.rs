//! The digest that trailers authenticate.

/// BLAKE3 over the header with its slots, then over the BLAKE3 of each chunk as it is stored. Two
/// levels, so that the workers hash their own chunks.
pub(crate) struct Digest(blake3::Hasher);

impl Digest {
    pub(crate) fn new(header: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(header);
        Self(hasher)
    }

    /// What one chunk contributes.
    pub(crate) fn leaf(chunk: &[u8]) -> [u8; 32] {
        *blake3::hash(chunk).as_bytes()
    }

    pub(crate) fn add(&mut self, leaf: &[u8; 32]) {
        self.0.update(leaf);
    }

    pub(crate) fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
