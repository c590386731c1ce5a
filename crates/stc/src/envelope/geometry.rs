//! Where chunks begin and end.

use crate::aead::TAG_LEN;

const TAG: u64 = TAG_LEN as u64;

/// Most chunks of a region: their index has 32 bits.
pub(crate) const MAX_CHUNKS: u64 = 1 << 32;

/// The chunks of one region.
///
/// Every chunk but the last is full, and the last is empty only when it is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    chunk_len: u64,
    plaintext: u64,
    chunks: u64,
}

impl Geometry {
    /// The region that holds `plaintext` bytes. `None` when it has more than [`MAX_CHUNKS`].
    pub(crate) fn of_plaintext(chunk_len: u32, plaintext: u64) -> Option<Self> {
        let chunk_len = u64::from(chunk_len);
        let chunks = plaintext.div_ceil(chunk_len).max(1);
        (chunks <= MAX_CHUNKS).then_some(Self { chunk_len, plaintext, chunks })
    }

    /// The region of `ciphertext` bytes. `None` when no region has that length.
    pub(crate) fn of_ciphertext(chunk_len: u32, ciphertext: u64) -> Option<Self> {
        let sealed = u64::from(chunk_len) + TAG;
        let chunks = ciphertext.div_ceil(sealed);
        let plaintext = ciphertext.checked_sub(chunks.checked_mul(TAG)?)?;
        let region = Self::of_plaintext(chunk_len, plaintext)?;
        (region.ciphertext() == ciphertext).then_some(region)
    }

    /// Plaintext bytes, padding included.
    pub(crate) const fn plaintext(self) -> u64 {
        self.plaintext
    }

    /// Number of chunks, at least one.
    pub(crate) const fn chunks(self) -> u64 {
        self.chunks
    }

    /// Bytes with all tags.
    pub(crate) const fn ciphertext(self) -> u64 {
        self.plaintext + self.chunks * TAG
    }

    /// Plaintext bytes of a full chunk.
    pub(crate) const fn chunk_len(self) -> u64 {
        self.chunk_len
    }

    /// Plaintext bytes of chunk `index`.
    pub(crate) fn plaintext_of(self, index: u64) -> u64 {
        (self.plaintext - (index * self.chunk_len).min(self.plaintext)).min(self.chunk_len)
    }

    /// Whether chunk `index` is the last one.
    pub(crate) const fn is_last(self, index: u64) -> bool {
        index + 1 == self.chunks
    }
}

/// `len` rounded up so that only the size class shows: at most 12 % more (Padmé, from PURBs,
/// arXiv 1806.03160, section 4). `None` when the result does not fit.
pub(crate) fn padme(len: u64) -> Option<u64> {
    if len < 2 {
        return Some(len);
    }
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1_u64 << exponent.saturating_sub(kept)) - 1;
    len.checked_add(mask).map(|sum| sum & !mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u32 = 65_536;

    #[test]
    fn lengths_come_back_around_every_edge() {
        for chunks in 0..4_u64 {
            for around in -2..=2_i64 {
                let Some(len) = (chunks * u64::from(CHUNK)).checked_add_signed(around) else {
                    continue;
                };
                let region = Geometry::of_plaintext(CHUNK, len).unwrap();
                assert_eq!(Geometry::of_ciphertext(CHUNK, region.ciphertext()), Some(region));
                let sum: u64 = (0..region.chunks()).map(|at| region.plaintext_of(at)).sum();
                assert_eq!(sum, len);
                assert!(region.is_last(region.chunks() - 1));
            }
        }
    }

    #[test]
    fn lengths_that_no_region_has_are_refused() {
        let full = u64::from(CHUNK) + 16;
        for bad in [0, 1, 15, full + 1, full + 15, full + 16, u64::MAX] {
            assert_eq!(Geometry::of_ciphertext(CHUNK, bad), None, "{bad}");
        }
        assert!(Geometry::of_plaintext(CHUNK, u64::from(CHUNK) << 32).is_some());
        assert!(Geometry::of_plaintext(CHUNK, (u64::from(CHUNK) << 32) + 1).is_none());
    }

    #[test]
    fn padding_costs_at_most_an_eighth_and_hides_the_low_bits() {
        for len in (0..100_000_u64).chain([1 << 40, (1 << 40) + 1, 123_456_789_012]) {
            let padded = padme(len).unwrap();
            assert!(padded >= len && padded - len <= len / 8, "{len} became {padded}");
            assert_eq!(padme(padded), Some(padded));
        }
        assert_eq!(padme(u64::MAX), None);
    }
}
