//! Sealing chunks.

use zeroize::Zeroizing;

use super::{
    ChunkError, ChunkHeader, MAX_CHUNK, StreamingConfig,
    pieces::{chunk_nonce, epoch_key},
};
use crate::{Key, aead::AeadKey, random};

/// Nonces for starts, drawn from the system a pool at a time and tested there.
struct Pool {
    bytes: Zeroizing<Vec<u8>>,
    used: usize,
}

impl Pool {
    fn new(size: usize) -> Self {
        Self { bytes: Zeroizing::new(vec![0; size]), used: size }
    }

    fn draw(&mut self) -> Result<u64, ChunkError> {
        loop {
            if let Some(bytes) = self.bytes.get(self.used..).and_then(|rest| rest.first_chunk()) {
                self.used += 8;
                return Ok(u64::from_be_bytes(*bytes));
            }
            random::fill(&mut self.bytes)?;
            self.used = 0;
        }
    }
}

/// The sending half.
pub(super) struct Sender {
    pool: Pool,
    nonce: u64,
    /// Number of the next chunk; 2^32 when there is none left under this nonce.
    next: u64,
    /// The epoch that `key` belongs to.
    epoch: u64,
    key: AeadKey,
    sealed_in_epoch: u64,
    pub(super) sub_chunks: u64,
    pub(super) rotations: u64,
}

impl Sender {
    pub(super) fn new(root: &Key, config: &StreamingConfig) -> Result<Self, ChunkError> {
        let mut pool = Pool::new(config.entropy_pool_size);
        let nonce = pool.draw()?;
        let key = epoch_key(root, config.suite, nonce, config.role, 0)?;
        Ok(Self {
            pool,
            nonce,
            next: 0,
            epoch: 0,
            key,
            sealed_in_epoch: 0,
            sub_chunks: 0,
            rotations: 0,
        })
    }

    pub(super) const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The next chunk gets a new key.
    pub(super) fn rotate(&mut self) {
        self.next = ((self.next >> 16) + 1) << 16;
    }

    /// Number of the next chunk, with its key in place.
    fn advance(&mut self, root: &Key, config: &StreamingConfig) -> Result<u32, ChunkError> {
        if self.sealed_in_epoch >= config.rotation_bytes() && self.next >> 16 == self.epoch {
            self.rotate();
        }
        let sequence = match u32::try_from(self.next) {
            Ok(sequence) => sequence,
            Err(_) => {
                // The key of the new nonce must be in place before the nonce counts.
                let nonce = self.pool.draw()?;
                self.key = epoch_key(root, config.suite, nonce, config.role, 0)?;
                (self.nonce, self.next, self.epoch) = (nonce, 0, 0);
                self.sealed_in_epoch = 0;
                self.rotations += 1;
                0
            }
        };
        if self.next >> 16 != self.epoch {
            self.key = epoch_key(root, config.suite, self.nonce, config.role, sequence)?;
            self.epoch = self.next >> 16;
            self.sealed_in_epoch = 0;
            self.rotations += 1;
        }
        self.next += 1;
        Ok(sequence)
    }

    /// A header for `len` bytes, under a number that was never used.
    pub(super) fn begin(
        &mut self,
        root: &Key,
        config: &StreamingConfig,
        len: usize,
    ) -> Result<ChunkHeader, ChunkError> {
        let data_length = u32::try_from(len).ok().filter(|_| len <= MAX_CHUNK);
        let data_length = data_length.ok_or(ChunkError::TooLarge { got: len })?;
        let split = (config.adaptive && len > 1 << config.sub_chunk_log2())
            .then_some(config.sub_chunk_log2());
        let sequence = self.advance(root, config)?;
        self.sealed_in_epoch += len as u64;
        Ok(ChunkHeader {
            sequence,
            nonce: self.nonce,
            data_length,
            flags: ChunkHeader::flags_for(config.suite, split),
        })
    }

    /// Seals `piece` in place as sub-chunk `index` of the chunk and gives its tag.
    pub(super) fn seal(
        &mut self,
        header: &ChunkHeader,
        index: u32,
        piece: &mut [u8],
    ) -> Result<[u8; 16], ChunkError> {
        self.sub_chunks += u64::from(header.sub_chunk_len().is_some());
        let nonce = chunk_nonce(header.sequence, index);
        self.key.seal(nonce, &header.to_bytes(), piece).map_err(|_| ChunkError::Forged)
    }

    /// Goes to chunk `next`, for tests of the range's end.
    #[cfg(test)]
    pub(super) const fn jump(&mut self, next: u64) {
        self.next = next;
    }
}
