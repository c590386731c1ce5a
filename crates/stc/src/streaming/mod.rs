//! Streams of chunks that may be lost, doubled or come out of order: live video, sensors, games.
//!
//! | look for | in |
//! |---|---|
//! | sealing and opening chunks | [`StreamingContext`] |
//! | the 16 bytes before a chunk | [`ChunkHeader`] |
//! | settings | [`StreamingConfig`], [`StreamRole`] |
//! | what a receiver remembers, and for how long | `epochs` |
//! | figures | [`PerformanceStats`] |
//!
//! The bytes are specified in `docs/formats.md`, "Stream".
//!
//! ```
//! use stc::{ChunkError, ChunkHeader, Key, StreamingContext};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = Key::generate()?;
//! let mut camera = StreamingContext::new(key.clone())?;
//! let mut screen = StreamingContext::new(key)?;
//! let (header, sealed) = camera.encrypt_chunk(b"frame 1")?;
//!
//! // The header travels beside the chunk, in 16 bytes.
//! let header = ChunkHeader::from_bytes(&header.to_bytes())?;
//! assert_eq!(screen.decrypt_chunk(&header, &sealed)?, b"frame 1");
//! assert!(matches!(screen.decrypt_chunk(&header, &sealed), Err(ChunkError::Replayed { .. })));
//! # Ok(())
//! # }
//! ```

mod config;
mod epochs;
mod error;
mod header;
mod pieces;
mod sender;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use zeroize::Zeroize;

pub use config::{StreamRole, StreamingConfig};
use epochs::{Epochs, Known};
pub use error::ChunkError;
pub use header::{ChunkHeader, HEADER_LEN, MAX_CHUNK};
use pieces::{epoch_key, open_pieces, open_pieces_in_place};
use sender::Sender;
use stats::Meter;
pub use stats::PerformanceStats;

use crate::{Key, RecordError, Seed, aead::AeadKey, record};

/// Bytes of [`StreamMetadata`].
pub const METADATA_LEN: usize = 9;
/// First bytes of saved marks.
const MARKS: [u8; 4] = *b"STCM";

/// What a sender may tell a receiver beforehand: 9 bytes, no secret, not authenticated. A lie in it
/// makes the receiver refuse the sender, or spend a stretch of at most its own `max_depth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamMetadata {
    /// Layers of the sender's stretch, 1 to 15.
    pub depth: u8,
    /// The sender's nonce.
    pub nonce: u64,
}

impl StreamMetadata {
    const VERSION: u8 = 1;

    /// Version and depth in one byte, then the nonce, big-endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; METADATA_LEN] {
        let [a, b, c, d, e, f, g, h] = self.nonce.to_be_bytes();
        [(Self::VERSION << 4) | (self.depth & 0xf), a, b, c, d, e, f, g, h]
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ChunkError::Metadata`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChunkError> {
        let bytes = <&[u8; METADATA_LEN]>::try_from(bytes).map_err(|_| ChunkError::Metadata)?;
        let [first, nonce @ ..] = *bytes;
        let depth = first & 0xf;
        if first >> 4 != Self::VERSION || depth == 0 {
            return Err(ChunkError::Metadata);
        }
        Ok(Self { depth, nonce: u64::from_be_bytes(nonce) })
    }
}

/// Seals chunks and opens those of everybody with the same seed.
///
/// # A sender must not be copied while it runs
/// Its nonce and the number of its next chunk are in memory. A virtual machine that is cloned or set back
/// to a snapshot, or a process that forks, goes on with both, and two chunks are sealed under one key and
/// nonce: their difference is given away, and forgeries become possible. Begin a new context after
/// that; it draws a nonce of its own.
///
/// # Chunks
/// Chunks may be lost and may come in any order; each opens once. What a receiver refuses as
/// [`ChunkError::TooOld`], and what it cannot refuse any more, is in `docs/security.md`.
pub struct StreamingContext {
    root: Key,
    config: StreamingConfig,
    depth: u8,
    sender: Sender,
    epochs: Epochs,
    /// Senders that are listened to; empty: all.
    only: HashSet<u64>,
    /// Tags of the chunk that is being sealed: they stand behind all of its pieces.
    tags: Vec<u8>,
    sealing: Meter,
    opening: Meter,
    forged: u64,
    replayed: u64,
    too_old: u64,
}

impl StreamingContext {
    /// A stream with the default settings.
    ///
    /// # Errors
    /// [`ChunkError`]: no seed, no randomness.
    pub fn new(seed: impl Into<Seed>) -> Result<Self, ChunkError> {
        Self::with_config(seed, StreamingConfig::default())
    }

    /// A stream with settings of one's own.
    ///
    /// # Errors
    /// [`ChunkError`]: no seed, no randomness, a setting out of its range, or `initial_depth` above
    /// `max_depth`.
    pub fn with_config(seed: impl Into<Seed>, config: StreamingConfig) -> Result<Self, ChunkError> {
        let depth = config.initial_depth;
        Self::at_depth(&seed.into(), config, depth)
    }

    /// A receiver that takes the depth from a sender's metadata and listens to that sender only.
    ///
    /// # Errors
    /// As [`Self::with_config`]; [`ChunkError::OutOfRange`], too, when the metadata asks for more
    /// than `max_depth`.
    pub fn join(
        seed: impl Into<Seed>,
        metadata: &StreamMetadata,
        config: StreamingConfig,
    ) -> Result<Self, ChunkError> {
        let mut joined = Self::at_depth(&seed.into(), config, metadata.depth)?;
        joined.listen_to(metadata.nonce);
        Ok(joined)
    }

    fn at_depth(seed: &Seed, config: StreamingConfig, depth: u8) -> Result<Self, ChunkError> {
        config.check()?;
        let root = seed.root(&config.realm, config.cost(depth)?)?;
        Ok(Self {
            sender: Sender::new(&root, &config)?,
            epochs: Epochs::new(config.key_schedule_size),
            root,
            config,
            depth,
            only: HashSet::new(),
            tags: Vec::new(),
            sealing: Meter::default(),
            opening: Meter::default(),
            forged: 0,
            replayed: 0,
            too_old: 0,
        })
    }

    /// Listens to this sender, and to nobody that was not named so. A sender that starts again, or
    /// comes to the end of its sequence, has another nonce.
    pub fn listen_to(&mut self, nonce: u64) {
        self.only.insert(nonce);
    }

    /// What a receiver may be told beforehand.
    #[must_use]
    pub fn stream_metadata(&self) -> StreamMetadata {
        StreamMetadata { depth: self.depth, nonce: self.sender.nonce() }
    }

    /// The next chunk gets a new key, whatever was sealed under the present one.
    pub fn rotate_key(&mut self) {
        self.sender.rotate();
    }

    /// Seals `data`, 0 to 16 MiB - 1 bytes.
    ///
    /// # Errors
    /// [`ChunkError::TooLarge`]; [`ChunkError::Random`] when a new nonce was due and there is no
    /// randomness. No number is used twice after an error.
    pub fn encrypt_chunk(&mut self, data: &[u8]) -> Result<(ChunkHeader, Vec<u8>), ChunkError> {
        let mut out = Vec::new();
        let header = self.encrypt_into(data, &mut out)?;
        Ok((header, out))
    }

    /// As [`Self::encrypt_chunk`]; the ciphertext is appended to `out`.
    ///
    /// # Errors
    /// As [`Self::encrypt_chunk`].
    pub fn encrypt_into(
        &mut self,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<ChunkHeader, ChunkError> {
        let started = self.sealing.start();
        let header = self.sender.begin(&self.root, &self.config, data.len())?;
        out.reserve(header.sealed_len());
        self.tags.clear();
        // Each piece is sealed while its copy is still in the nearest cache.
        for (piece, index) in header.pieces(data).zip(0..) {
            let at = out.len();
            out.extend_from_slice(piece);
            let copy = out.get_mut(at..).unwrap_or_default();
            self.tags.extend_from_slice(&self.sender.seal(&header, index, copy)?);
        }
        out.extend_from_slice(&self.tags);
        self.sealing.stop(started, data.len());
        Ok(header)
    }

    /// Seals `data` where it stands and appends the tags, without a copy.
    ///
    /// # Errors
    /// As [`Self::encrypt_chunk`]; `data` is then as it was.
    pub fn encrypt_in_place(&mut self, data: &mut Vec<u8>) -> Result<ChunkHeader, ChunkError> {
        let started = self.sealing.start();
        let len = data.len();
        let header = self.sender.begin(&self.root, &self.config, len)?;
        self.tags.clear();
        for (piece, index) in header.pieces_mut(data).zip(0..) {
            self.tags.extend_from_slice(&self.sender.seal(&header, index, piece)?);
        }
        data.extend_from_slice(&self.tags);
        self.sealing.stop(started, len);
        Ok(header)
    }

    /// Opens a chunk.
    ///
    /// Nothing that the receiver remembers changes before the chunk verified, and a forged chunk
    /// costs at most one key derivation and the check of one tag.
    ///
    /// # Errors
    /// [`ChunkError`]; nothing of the plaintext is released.
    pub fn decrypt_chunk(
        &mut self,
        header: &ChunkHeader,
        sealed: &[u8],
    ) -> Result<Vec<u8>, ChunkError> {
        let mut out = Vec::new();
        self.decrypt_into(header, sealed, &mut out)?;
        Ok(out)
    }

    /// As [`Self::decrypt_chunk`]; the plaintext is appended to `out`, which is as it was after an
    /// error.
    ///
    /// # Errors
    /// As [`Self::decrypt_chunk`].
    pub fn decrypt_into(
        &mut self,
        header: &ChunkHeader,
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ChunkError> {
        let before = out.len();
        let outcome = self.open(header, sealed.len(), |key| open_pieces(key, header, sealed, out));
        if outcome.is_err() {
            if let Some(partial) = out.get_mut(before..) {
                partial.zeroize();
            }
            out.truncate(before);
        }
        outcome
    }

    /// Opens a chunk where it stands, without a copy. After an error `chunk` is empty.
    ///
    /// # Errors
    /// As [`Self::decrypt_chunk`].
    pub fn decrypt_in_place(
        &mut self,
        header: &ChunkHeader,
        chunk: &mut Vec<u8>,
    ) -> Result<(), ChunkError> {
        let outcome =
            self.open(header, chunk.len(), |key| open_pieces_in_place(key, header, chunk));
        match outcome {
            Ok(()) => chunk.truncate(header.data_length as usize),
            Err(_) => chunk.zeroize(),
        }
        outcome
    }

    /// Lets `read` open a chunk whose header promises what it should, counts, and remembers.
    fn open(
        &mut self,
        header: &ChunkHeader,
        sealed_len: usize,
        read: impl FnOnce(&AeadKey) -> Result<(), ChunkError>,
    ) -> Result<(), ChunkError> {
        let started = self.opening.start();
        let outcome = self.admit(header, sealed_len, read);
        match outcome {
            Ok(()) => self.opening.stop(started, header.data_length as usize),
            Err(ChunkError::Replayed { .. }) => self.replayed += 1,
            Err(ChunkError::TooOld { .. }) => self.too_old += 1,
            Err(_) => self.forged += 1,
        }
        outcome
    }

    fn admit(
        &mut self,
        header: &ChunkHeader,
        sealed_len: usize,
        read: impl FnOnce(&AeadKey) -> Result<(), ChunkError>,
    ) -> Result<(), ChunkError> {
        let ChunkHeader { sequence, nonce, .. } = *header;
        header.check()?;
        if sealed_len != header.sealed_len() {
            return Err(ChunkError::Length { expected: header.sealed_len(), got: sealed_len });
        }
        if !self.only.is_empty() && !self.only.contains(&nonce) {
            return Err(ChunkError::OtherSender);
        }
        match self.epochs.known(nonce, sequence) {
            Known::Seen => Err(ChunkError::Replayed { sequence }),
            Known::TooOld => Err(ChunkError::TooOld { sequence }),
            Known::Fresh(place) if place.key().suite() == header.suite() => {
                read(place.key())?;
                place.accept();
                Ok(())
            }
            // A sender has one suite.
            Known::Fresh(_) => Err(ChunkError::Forged),
            Known::NewEpoch => {
                let role = StreamRole::opposite(self.config.role);
                let key = epoch_key(&self.root, header.suite(), nonce, role, sequence)?;
                read(&key)?;
                self.epochs.accept_new(nonce, sequence, key);
                Ok(())
            }
        }
    }

    /// Figures so far.
    #[must_use]
    pub fn performance_stats(&self) -> PerformanceStats {
        let (encrypt_throughput_mbps, avg_encrypt_ms) = self.sealing.rates();
        let (decrypt_throughput_mbps, avg_decrypt_ms) = self.opening.rates();
        PerformanceStats {
            chunks_encrypted: self.sealing.chunks,
            chunks_decrypted: self.opening.chunks,
            bytes_encrypted: self.sealing.bytes,
            bytes_decrypted: self.opening.bytes,
            encrypt_throughput_mbps,
            decrypt_throughput_mbps,
            avg_encrypt_ms,
            avg_decrypt_ms,
            subchunks_created: self.sender.sub_chunks,
            key_rotations: self.sender.rotations,
            epochs_remembered: self.epochs.len(),
            forged: self.forged,
            replayed: self.replayed,
            too_old: self.too_old,
            cel_depth: self.depth,
        }
    }

    /// The highest chunk that was opened of each sender, sealed under the seed: at most 16.1 KiB.
    ///
    /// # Errors
    /// [`ChunkError::Marks`] when there is no randomness.
    pub fn save_marks(&self) -> Result<Vec<u8>, ChunkError> {
        let mut content = vec![StreamRole::number(StreamRole::opposite(self.config.role))];
        for (nonce, next) in self.epochs.marks() {
            content.extend(nonce.to_be_bytes());
            content.extend(next.to_be_bytes());
        }
        record::seal(&self.root, MARKS, &content).map_err(ChunkError::Marks)
    }

    /// Takes marks that an earlier receiver saved: what is not newer is refused as
    /// [`ChunkError::TooOld`] or [`ChunkError::Replayed`], also if it was never opened.
    ///
    /// # Errors
    /// [`ChunkError::Marks`] when they are of another seed or role, or changed.
    pub fn load_marks(&mut self, saved: &[u8]) -> Result<(), ChunkError> {
        let content = record::open(&self.root, MARKS, saved).map_err(ChunkError::Marks)?;
        let bad = ChunkError::Marks(RecordError::Content);
        let (role, marks) = content.split_first().ok_or(bad)?;
        let (marks, rest) = marks.as_chunks::<16>();
        if *role != StreamRole::number(StreamRole::opposite(self.config.role))
            || !rest.is_empty()
            || marks.len() > epochs::MAX_SENDERS
        {
            return Err(bad);
        }
        for mark in marks {
            let (nonce, next) = mark.split_first_chunk::<8>().ok_or(bad)?;
            let next = next.first_chunk::<8>().map(|next| u64::from_be_bytes(*next)).ok_or(bad)?;
            self.epochs.raise(u64::from_be_bytes(*nonce), next);
        }
        Ok(())
    }
}

impl std::fmt::Debug for StreamingContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamingContext").field("depth", &self.depth).finish_non_exhaustive()
    }
}
