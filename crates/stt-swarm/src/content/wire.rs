//! The bytes of a stream of content.
//!
//! A stream carries requests one way, one after the other, and as many answers the other way. A
//! request is the root, the first byte and the byte behind the last, each number 8 bytes, little
//! endian. An answer is one byte that says what follows; if that is the content: its size in 8
//! bytes, then the proof and the bytes of the range, whole groups, in the pre-order of bao.

use std::ops::Range;

use bao_tree::{ChunkNum, ChunkRanges};
use blake3::Hash;

use super::{GROUP, PIECE};

/// A part of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) root: Hash,
    pub(super) bytes: Range<u64>,
}

impl Request {
    pub(super) const LEN: usize = 48;

    pub(super) fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let parts: [&[u8]; 3] =
            [self.root.as_bytes(), &self.bytes.start.to_le_bytes(), &self.bytes.end.to_le_bytes()];
        for (to, from) in out.iter_mut().zip(parts.concat()) {
            *to = from;
        }
        out
    }

    /// `None` when it asks for nothing, for more than one piece, or for parts of groups.
    pub(super) fn decode(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (root, bounds) = bytes.split_first_chunk::<32>()?;
        let (start, end) = bounds.split_first_chunk::<8>()?;
        let (start, end) = (u64::from_le_bytes(*start), u64::from_le_bytes(end.try_into().ok()?));
        let len = end.checked_sub(start)?;
        let whole = start.is_multiple_of(group_bytes());
        (whole && len > 0 && len <= PIECE)
            .then_some(Self { root: Hash::from_bytes(*root), bytes: start..end })
    }
}

/// Bytes of a group.
pub(super) fn group_bytes() -> u64 {
    u64::try_from(GROUP.bytes()).unwrap_or(u64::MAX)
}

/// The whole groups of a content of `size` bytes that hold these bytes, as bao counts: in chunks of
/// 1 KiB.
pub(super) fn chunks(bytes: &Range<u64>, size: u64) -> ChunkRanges {
    let start = ChunkNum(bytes.start / 1024);
    let end = bytes.end.div_ceil(group_bytes()).saturating_mul(group_bytes());
    if end >= size {
        // Bao wants no end behind the last chunk: with one, the last group falls apart.
        return ChunkRanges::from(start..);
    }
    ChunkRanges::from(start..ChunkNum(end / 1024))
}

/// What an answer begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Answer {
    /// The content follows.
    Here = 0,
    /// The provider does not have it.
    NotHere = 1,
    /// The request breaks the rules.
    BadRequest = 2,
    /// The provider's own copy is damaged or has changed.
    Damaged = 3,
}

impl Answer {
    pub(super) const fn to_byte(self) -> u8 {
        self as u8
    }

    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Here),
            1 => Some(Self::NotHere),
            2 => Some(Self::BadRequest),
            3 => Some(Self::Damaged),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_and_a_greedy_one_does_not() {
        let request = |bytes: Range<u64>| Request { root: blake3::hash(b"x"), bytes };
        for good in [0..1, 16_384..16_385, 0..PIECE] {
            let request = request(good);
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        let mut random = fastrand::Rng::with_seed(17);
        for _ in 0..10_000 {
            let bytes = std::array::from_fn(|at| match at % 8 {
                // Small numbers, so that some are good.
                0..2 if at >= 32 => random.u8(..),
                2 if at >= 32 => random.u8(..2) << 6,
                _ if at >= 32 => 0,
                _ => random.u8(..),
            });
            if let Some(request) = Request::decode(&bytes) {
                assert_eq!(request.encode(), bytes);
                assert!(request.bytes.end - request.bytes.start <= PIECE);
            }
        }
        for bad in [0..0, 0..PIECE + 1, 1..2, 0..u64::MAX, Range { start: 16_384, end: 0 }] {
            assert_eq!(Request::decode(&request(bad.clone()).encode()), None, "{bad:?}");
        }
    }
}
