//! The bytes that come first, readable by anybody.

use std::ops::RangeInclusive;

use super::{EnvelopeError, Geometry, SLOT_LEN};
use crate::{aead::Suite, stretch::Cost};

/// First bytes of every envelope.
const MAGIC: [u8; 4] = *b"STCE";
/// Format version.
const VERSION: u8 = 1;
/// Bytes before the slots.
pub const FIXED_LEN: usize = 74;

/// Fewest slots of an envelope with decoys; without decoys there is one.
pub const MIN_SLOTS: u8 = 4;
/// Most slots. All of them stand in the first 64 KiB, and a reader tries each once.
pub const MAX_SLOTS: u8 = 8;
/// Most slots that hold something. It must not exceed [`MIN_SLOTS`], or the total would depend on
/// how many are real.
pub const MAX_REAL: usize = 4;
/// Plaintext bytes in a chunk, from 64 KiB to 4 MiB.
pub const CHUNK_LEN: RangeInclusive<u32> = 64 * 1024..=4 * 1024 * 1024;

/// The header of an envelope, with its slots still sealed.
///
/// What parses writes the same bytes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub(crate) suite: Suite,
    pub(crate) cost: Cost,
    pub(crate) epoch: u32,
    pub(crate) chunk_len: u32,
    /// Ciphertext bytes of each region; 0 when there is one slot, whose region ends with the
    /// envelope.
    pub(crate) region_len: u64,
    pub(crate) password_salt: [u8; 16],
    pub(crate) message_salt: [u8; 32],
    pub(crate) slots: Vec<[u8; SLOT_LEN]>,
}

/// The fixed part in the order of the wire.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(EnvelopeError::HeaderTooShort { needed: FIXED_LEN, got: self.0.len() })?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, EnvelopeError> {
        self.take::<1>().map(|[byte]| byte)
    }
}

impl Header {
    /// Most bytes that a header has.
    pub const MAX_LEN: u64 = (FIXED_LEN + MAX_SLOTS as usize * SLOT_LEN) as u64;

    /// The cipher.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// What one guess of a password costs.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// The epoch of the context that made it.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Plaintext bytes in a chunk.
    #[must_use]
    pub const fn chunk_len(&self) -> u32 {
        self.chunk_len
    }

    /// Slots, real or not: 1, or 4 to 8.
    #[must_use]
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of header and slots together.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        FIXED_LEN + self.slots.len() * SLOT_LEN
    }

    /// Bytes of plaintext that fit into each region, padding included; `None` when there is one
    /// slot, whose region is as long as the envelope.
    #[must_use]
    pub fn capacity(&self) -> Option<u64> {
        Geometry::of_ciphertext(self.chunk_len, self.region_len).map(|region| region.plaintext())
    }

    /// Bytes of the whole envelope, if the header tells.
    #[must_use]
    pub fn envelope_len(&self) -> Option<u64> {
        (self.region_len != 0).then(|| {
            let slots = self.slots.len() as u64;
            self.encoded_len() as u64 + slots * self.region_len + self.trailers_len() as u64
        })
    }

    /// Bytes of content in an envelope of `envelope_len` bytes with one slot. `None` when that
    /// cannot be known: with more slots, or when no envelope has that length.
    #[must_use]
    pub fn content_len(&self, envelope_len: Option<u64>) -> Option<u64> {
        let besides = self.encoded_len() as u64 + self.trailers_len() as u64;
        let region = envelope_len?.checked_sub(besides).filter(|_| self.region_len == 0)?;
        Geometry::of_ciphertext(self.chunk_len, region).map(Geometry::plaintext)
    }

    /// Bytes after the last region: one trailer per slot, and the seal.
    pub(crate) fn trailers_len(&self) -> usize {
        (self.slots.len() + 1) * 32
    }

    /// The part before the slots, which every slot's key is bound to.
    pub(crate) fn fixed(&self) -> [u8; FIXED_LEN] {
        let mut out = [0; FIXED_LEN];
        let slots = u8::try_from(self.slots.len()).unwrap_or(u8::MAX);
        let parts: [&[u8]; 8] = [
            &MAGIC,
            &[VERSION, self.suite.id(), slots, self.cost.depth()],
            &self.cost.lattice_size().to_be_bytes(),
            &self.chunk_len.to_be_bytes(),
            &self.epoch.to_be_bytes(),
            &self.region_len.to_be_bytes(),
            &self.password_salt,
            &self.message_salt,
        ];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        out
    }

    /// Reads the part before the slots, and how many slots follow.
    pub(crate) fn parse_fixed(bytes: &[u8]) -> Result<(Self, usize), EnvelopeError> {
        let mut fields = Fields(bytes);
        if bytes.len() < FIXED_LEN {
            return Err(if bytes.iter().zip(&MAGIC).any(|(a, b)| a != b) || bytes.is_empty() {
                EnvelopeError::NotAnEnvelope
            } else {
                EnvelopeError::HeaderTooShort { needed: FIXED_LEN, got: bytes.len() }
            });
        }
        if fields.take()? != MAGIC {
            return Err(EnvelopeError::NotAnEnvelope);
        }
        let version = fields.byte()?;
        if version != VERSION {
            return Err(EnvelopeError::Version { got: version });
        }
        let suite = fields.byte()?;
        let suite = Suite::from_id(suite)
            .ok_or(EnvelopeError::Field { field: "suite", value: suite.into() })?;
        let slots = fields.byte()?;
        if slots != 1 && !(MIN_SLOTS..=MAX_SLOTS).contains(&slots) {
            return Err(EnvelopeError::Field { field: "slots", value: slots.into() });
        }
        let depth = fields.byte()?;
        let lattice_size = u16::from_be_bytes(fields.take()?);
        let cost = Cost::new(lattice_size, depth).map_err(EnvelopeError::Cost)?;
        let chunk_len = u32::from_be_bytes(fields.take()?);
        if !CHUNK_LEN.contains(&chunk_len) {
            return Err(EnvelopeError::Field { field: "chunk length", value: chunk_len.into() });
        }
        let epoch = u32::from_be_bytes(fields.take()?);
        let region_len = u64::from_be_bytes(fields.take()?);
        let region_fits = if slots == 1 {
            region_len == 0
        } else {
            Geometry::of_ciphertext(chunk_len, region_len).is_some()
        };
        if !region_fits {
            return Err(EnvelopeError::Field { field: "region length", value: region_len });
        }
        let header = Self {
            suite,
            cost,
            epoch,
            chunk_len,
            region_len,
            password_salt: fields.take()?,
            message_salt: fields.take()?,
            slots: Vec::new(),
        };
        Ok((header, slots.into()))
    }

    /// Reads a header and its slots from the start of `bytes`.
    ///
    /// # Errors
    /// [`EnvelopeError`] for anything that this version would not have written.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (mut header, slots) = Self::parse_fixed(bytes)?;
        let needed = FIXED_LEN + slots * SLOT_LEN;
        let table = bytes
            .get(FIXED_LEN..needed)
            .ok_or(EnvelopeError::HeaderTooShort { needed, got: bytes.len() })?;
        header.set_slots(table);
        Ok(header)
    }

    /// As [`Self::parse`], refusing bytes after the last slot: for detached metadata.
    ///
    /// # Errors
    /// [`EnvelopeError`] for anything that this version would not have written.
    pub fn parse_exact(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let header = Self::parse(bytes)?;
        match bytes.len() - header.encoded_len() {
            0 => Ok(header),
            extra => Err(EnvelopeError::HeaderTooLong { extra }),
        }
    }

    /// Takes the slots from their bytes.
    pub(crate) fn set_slots(&mut self, table: &[u8]) {
        let (slots, _) = table.as_chunks::<SLOT_LEN>();
        self.slots = slots.to_vec();
    }

    /// The bytes of header and slots.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.fixed().to_vec();
        out.extend(self.slots.iter().flatten());
        out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(slots: usize) -> Header {
        Header {
            suite: Suite::Aes256Gcm,
            cost: Cost::DEFAULT,
            epoch: 7,
            chunk_len: 65_536,
            region_len: if slots == 1 { 0 } else { 100_016 + 16 },
            password_salt: [1; 16],
            message_salt: [2; 32],
            slots: vec![[3; SLOT_LEN]; slots],
        }
    }

    #[test]
    fn what_parses_writes_the_same_bytes() {
        for slots in [1, 4, 5, 8] {
            let header = sample(slots);
            let bytes = header.to_bytes();
            assert_eq!(bytes.len(), header.encoded_len());
            assert_eq!(Header::parse_exact(&bytes).unwrap(), header);
            let mut longer = bytes.clone();
            longer.push(0);
            assert_eq!(Header::parse(&longer).unwrap(), header);
            assert_eq!(
                Header::parse_exact(&longer).unwrap_err(),
                EnvelopeError::HeaderTooLong { extra: 1 }
            );
            for cut in 0..bytes.len() {
                assert!(Header::parse(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn every_field_is_checked() {
        let good = sample(4).to_bytes();
        let set = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            Header::parse(&bad).unwrap_err()
        };
        assert_eq!(set(0, b"X"), EnvelopeError::NotAnEnvelope);
        assert_eq!(set(4, &[2]), EnvelopeError::Version { got: 2 });
        assert_eq!(set(5, &[9]), EnvelopeError::Field { field: "suite", value: 9 });
        for slots in [0, 2, 3, 9, 255] {
            let error = EnvelopeError::Field { field: "slots", value: slots.into() };
            assert_eq!(set(6, &[slots]), error);
        }
        // One slot with a region length, and many without.
        assert!(matches!(set(6, &[1]), EnvelopeError::Field { field: "region length", .. }));
        assert!(matches!(set(18, &[0; 8]), EnvelopeError::Field { field: "region length", .. }));
        assert!(matches!(set(7, &[0]), EnvelopeError::Cost(_)));
        assert!(matches!(set(8, &[255, 255]), EnvelopeError::Cost(_)));
        for length in [0, 65_535, 4 * 1024 * 1024 + 1, u32::MAX] {
            let error = EnvelopeError::Field { field: "chunk length", value: length.into() };
            assert_eq!(set(10, &length.to_be_bytes()), error);
        }
        assert!(matches!(set(18, &[255; 8]), EnvelopeError::Field { field: "region length", .. }));
    }
}
