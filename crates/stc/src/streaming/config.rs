//! Settings of a stream.

use super::ChunkError;
use crate::{aead::Suite, stretch::Cost};

/// Which end of a stream with two directions this is. Chunks of one role do not open at an end of
/// the same role, so nobody can send a peer its own chunks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamRole {
    /// The end that began.
    Initiator,
    /// The end that answered.
    Responder,
}

impl StreamRole {
    pub(super) const fn number(role: Option<Self>) -> u8 {
        match role {
            None => 0,
            Some(Self::Initiator) => 1,
            Some(Self::Responder) => 2,
        }
    }

    pub(super) const fn opposite(role: Option<Self>) -> Option<Self> {
        match role {
            None => None,
            Some(Self::Initiator) => Some(Self::Responder),
            Some(Self::Responder) => Some(Self::Initiator),
        }
    }
}

/// Settings of a [`super::StreamingContext`], whose constructor tells what is out of its range.
///
/// Both ends need the same `lattice_size`, `initial_depth` and `realm` (or the receiver takes the
/// depth from the sender's metadata), and opposite roles or none. Everything else is each end's own
/// affair.
#[derive(Clone, Debug)]
pub struct StreamingConfig {
    sub_chunk: usize,
    pub(super) adaptive: bool,
    pub(super) lattice_size: u16,
    pub(super) initial_depth: u8,
    pub(super) max_depth: u8,
    pub(super) key_schedule_size: usize,
    pub(super) entropy_pool_size: usize,
    rotation_mb: u32,
    pub(super) role: Option<StreamRole>,
    pub(super) realm: Vec<u8>,
    pub(super) suite: Suite,
}

impl Default for StreamingConfig {
    fn default() -> Self {
        Self {
            sub_chunk: 8 << 10,
            adaptive: true,
            lattice_size: 128,
            initial_depth: 2,
            max_depth: 6,
            key_schedule_size: 256,
            entropy_pool_size: 1024,
            rotation_mb: 10,
            role: None,
            realm: Vec::new(),
            suite: Suite::preferred(),
        }
    }
}

/// Whether `got` lies from `least` to `most`.
fn within(knob: &'static str, got: u64, least: u64, most: u64) -> Result<(), ChunkError> {
    if (least..=most).contains(&got) {
        Ok(())
    } else {
        Err(ChunkError::OutOfRange { knob, got, least, most })
    }
}

impl StreamingConfig {
    /// Most layers of the stretch's matrix; the stream metadata has four bits for them.
    pub const MAX_DEPTH: u8 = 15;

    /// The defaults of the reference: sub-chunks of 8 KiB, depth 2 to 6, 256 epochs, a pool of 1 KiB,
    /// a new key every 10 MB; lattice size 128, no role, no realm.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of a sub-chunk, 1,024 to 1,048,576, rounded down to a power of two. Default: 8,192. A
    /// receiver checks sub-chunks one by one, so a forged chunk costs it one of them at most.
    #[must_use]
    pub const fn optimal_chunk_size(mut self, bytes: usize) -> Self {
        self.sub_chunk = bytes;
        self
    }

    /// Whether chunks larger than a sub-chunk are split. Default: yes. Otherwise every chunk has one
    /// tag, whatever its size.
    #[must_use]
    pub const fn enable_adaptive_chunking(mut self, yes: bool) -> Self {
        self.adaptive = yes;
        self
    }

    /// Side of the stretch's matrix, 16 to 1,024. Default: 128.
    #[must_use]
    pub const fn lattice_size(mut self, side: u16) -> Self {
        self.lattice_size = side;
        self
    }

    /// Layers of the stretch's matrix, 1 to 15. Default: 2, which is 32 MiB at lattice size 128. A
    /// seed that is a key is not stretched. No more than [`Self::max_depth`].
    #[must_use]
    pub const fn initial_depth(mut self, layers: u8) -> Self {
        self.initial_depth = layers;
        self
    }

    /// Most layers that a sender's metadata may ask of this end, 1 to 15. Default: 6. It bounds the
    /// memory that a stranger's metadata can cost.
    #[must_use]
    pub const fn max_depth(mut self, layers: u8) -> Self {
        self.max_depth = layers;
        self
    }

    /// Epochs, of all senders together, that a receiver keeps ready with key and replay window, 1 to
    /// 4,096. Default: 256. Each takes 8 KiB once it is in use.
    #[must_use]
    pub const fn key_schedule_size(mut self, epochs: usize) -> Self {
        self.key_schedule_size = epochs;
        self
    }

    /// Random bytes that are drawn and tested at once, 64 to 65,536. Default: 1,024. Nonces are
    /// taken from them, 8 bytes each.
    #[must_use]
    pub const fn entropy_pool_size(mut self, bytes: usize) -> Self {
        self.entropy_pool_size = bytes;
        self
    }

    /// Megabytes (10^6 bytes) sealed under one key, 1 to 60,000. Default: 10.
    #[must_use]
    pub const fn key_rotation_mb(mut self, megabytes: u32) -> Self {
        self.rotation_mb = megabytes;
        self
    }

    /// Which end this is. Default: none, and then an end opens its own chunks too.
    #[must_use]
    pub const fn role(mut self, role: StreamRole) -> Self {
        self.role = Some(role);
        self
    }

    /// A name that separates equal seeds. Default: empty. Keys ignore it.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<Vec<u8>>) -> Self {
        self.realm = realm.into();
        self
    }

    /// The cipher for sealing. Default: the faster one on this processor. Receivers read it from the
    /// header.
    #[must_use]
    pub const fn suite(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self
    }

    /// Whether all settings are inside their ranges.
    pub(super) fn check(&self) -> Result<(), ChunkError> {
        let deepest = u64::from(Self::MAX_DEPTH);
        within("optimal_chunk_size", self.sub_chunk as u64, 1024, 1 << 20)?;
        within("lattice_size", self.lattice_size.into(), 16, 1024)?;
        within("initial_depth", self.initial_depth.into(), 1, deepest)?;
        within("max_depth", self.max_depth.into(), 1, deepest)?;
        within("key_schedule_size", self.key_schedule_size as u64, 1, 4096)?;
        within("entropy_pool_size", self.entropy_pool_size as u64, 64, 65_536)?;
        within("key_rotation_mb", self.rotation_mb.into(), 1, 60_000)
    }

    /// Of the bytes of a sub-chunk: the power of two.
    pub(super) fn sub_chunk_log2(&self) -> u8 {
        self.sub_chunk.checked_ilog2().and_then(|log| u8::try_from(log).ok()).unwrap_or(13)
    }

    /// Bytes sealed under one key.
    pub(super) fn rotation_bytes(&self) -> u64 {
        u64::from(self.rotation_mb) * 1_000_000
    }

    /// The stretch at `depth` layers.
    pub(super) fn cost(&self, depth: u8) -> Result<Cost, ChunkError> {
        within("depth", depth.into(), 1, self.max_depth.into())?;
        Cost::new(self.lattice_size, depth)
            .map_err(|error| ChunkError::Seed(crate::SeedError::Stretch(error)))
    }
}
