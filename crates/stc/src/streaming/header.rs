//! The 16 bytes before every chunk.

use super::ChunkError;
use crate::aead::{Suite, TAG_LEN};

/// Bytes of a header.
pub const HEADER_LEN: usize = 16;
/// Most bytes of a chunk: the length has 24 bits.
pub const MAX_CHUNK: usize = (1 << 24) - 1;

const SPLIT: u8 = 1;
const SIZE_SHIFT: u8 = 1;
const SIZE_MASK: u8 = 0b1111;
const CHACHA: u8 = 1 << 5;
/// log2 of the sub-chunk size that is written as 0: 8 KiB.
const SIZE_BASE: i8 = 13;

/// What stands before a chunk: 16 bytes, big-endian, readable by anybody and authenticated with the
/// chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkHeader {
    /// Number of the chunk; its upper 16 bits are the epoch.
    pub sequence: u32,
    /// Drawn at random when the sender starts.
    pub nonce: u64,
    /// Bytes of plaintext, at most [`MAX_CHUNK`].
    pub data_length: u32,
    /// Bit 0: split into sub-chunks. Bits 1 to 4: log2 of their size minus 13, as a signed number,
    /// from -3 (1 KiB) to 7 (1 MiB). Bit 5: ChaCha20-Poly1305 instead of AES-256-GCM. The rest is 0.
    pub flags: u8,
}

impl ChunkHeader {
    /// The flags for a suite and, if the chunk is split, the log2 of the sub-chunk size.
    pub(super) fn flags_for(suite: Suite, split: Option<u8>) -> u8 {
        let size = split.map_or(0, |log2| {
            let code = (log2.cast_signed() - SIZE_BASE).cast_unsigned() & SIZE_MASK;
            SPLIT | (code << SIZE_SHIFT)
        });
        size | if suite == Suite::ChaCha20Poly1305 { CHACHA } else { 0 }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let [s0, s1, s2, s3] = self.sequence.to_be_bytes();
        let [n0, n1, n2, n3, n4, n5, n6, n7] = self.nonce.to_be_bytes();
        let [_, l0, l1, l2] = self.data_length.to_be_bytes();
        [s0, s1, s2, s3, n0, n1, n2, n3, n4, n5, n6, n7, l0, l1, l2, self.flags]
    }

    /// Reads a header. What it accepts writes the same bytes again.
    ///
    /// # Errors
    /// [`ChunkError::Header`] unless there are exactly 16 bytes with flags that this version
    /// writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChunkError> {
        let bytes = <&[u8; HEADER_LEN]>::try_from(bytes).map_err(|_| ChunkError::Header)?;
        let [s0, s1, s2, s3, n0, n1, n2, n3, n4, n5, n6, n7, l0, l1, l2, flags] = *bytes;
        let header = Self {
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            nonce: u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
            data_length: u32::from_be_bytes([0, l0, l1, l2]),
            flags,
        };
        header.check()?;
        Ok(header)
    }

    /// Refuses what [`Self::to_bytes`] would not carry, or a sender would not write.
    pub(super) fn check(&self) -> Result<(), ChunkError> {
        let length_fits = self.data_length < 1 << 24;
        let known = self.flags & !(SPLIT | (SIZE_MASK << SIZE_SHIFT) | CHACHA) == 0;
        let size_fits = match self.sub_chunk_len() {
            Some(size) => (1024..=1 << 20).contains(&size) && self.data_length > size,
            None => self.flags & (SIZE_MASK << SIZE_SHIFT) == 0,
        };
        if length_fits && known && size_fits { Ok(()) } else { Err(ChunkError::Header) }
    }

    /// Bytes of plaintext in each sub-chunk, if the chunk is split. The last may have fewer.
    #[must_use]
    pub const fn sub_chunk_len(&self) -> Option<u32> {
        if self.flags & SPLIT == 0 {
            return None;
        }
        // Sign-extends the four bits.
        let code = ((self.flags >> SIZE_SHIFT) << 4).cast_signed() >> 4;
        Some(1 << (SIZE_BASE + code))
    }

    /// The cipher.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        if self.flags & CHACHA == 0 { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 }
    }

    /// Bytes of ciphertext that belong to this header: the plaintext's, and 16 for each sub-chunk.
    #[must_use]
    pub fn sealed_len(&self) -> usize {
        let data = self.data_length as usize;
        let pieces = match self.sub_chunk_len() {
            Some(size) => data.div_ceil(size as usize),
            None => 1,
        };
        data + pieces * TAG_LEN
    }

    /// Bytes of plaintext in each piece but the last, at least 1.
    fn piece_len(&self, data: usize) -> usize {
        self.sub_chunk_len().map_or(data.max(1), |size| size as usize)
    }

    /// What is sealed on its own, in order; a chunk of no bytes is one empty piece.
    pub(super) fn pieces<'a>(&self, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let empty = data.is_empty().then_some::<&[u8]>(&[]);
        empty.into_iter().chain(data.chunks(self.piece_len(data.len())))
    }

    /// As [`Self::pieces`].
    pub(super) fn pieces_mut<'a>(&self, data: &'a mut [u8]) -> impl Iterator<Item = &'a mut [u8]> {
        let empty = data.is_empty().then_some::<&mut [u8]>(&mut []);
        let size = self.piece_len(data.len());
        empty.into_iter().chain(data.chunks_mut(size))
    }

    /// The epoch: the upper 16 bits of the sequence.
    #[must_use]
    pub const fn epoch(&self) -> u16 {
        let [high, low, _, _] = self.sequence.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_the_reference_for_the_default_size() {
        assert_eq!(ChunkHeader::flags_for(Suite::Aes256Gcm, None), 0x00);
        assert_eq!(ChunkHeader::flags_for(Suite::Aes256Gcm, Some(13)), 0x01);
    }

    #[test]
    fn every_header_that_parses_writes_the_same_bytes() {
        for flags in 0..=255 {
            for length in [0_u32, 1, 1024, 1025, 1 << 20, (1 << 20) + 1, (1 << 24) - 1] {
                let header = ChunkHeader { sequence: 7, nonce: 9, data_length: length, flags };
                match ChunkHeader::from_bytes(&header.to_bytes()) {
                    Ok(parsed) => assert_eq!(parsed, header),
                    Err(error) => assert_eq!(error, ChunkError::Header),
                }
            }
        }
        for log2 in 10..=20 {
            let flags = ChunkHeader::flags_for(Suite::ChaCha20Poly1305, Some(log2));
            let header =
                ChunkHeader { sequence: u32::MAX, nonce: 1, data_length: (1 << 20) + 1, flags };
            let parsed = ChunkHeader::from_bytes(&header.to_bytes()).unwrap();
            assert_eq!(parsed.sub_chunk_len(), Some(1 << log2));
            assert_eq!(parsed.suite(), Suite::ChaCha20Poly1305);
            assert_eq!(parsed.epoch(), u16::MAX);
        }
        assert_eq!(ChunkHeader::from_bytes(&[0; 15]), Err(ChunkError::Header));
        assert_eq!(ChunkHeader::from_bytes(&[0; 17]), Err(ChunkError::Header));
    }
}
