//! What a handler has in its hand.

use std::fmt;

/// The right to acknowledge one delivery of one record. It ends when the record is settled or
/// delivered again, and with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    pub(super) offset: u64,
    pub(super) number: u64,
}

impl Lease {
    /// For the way to somebody who acknowledges from afar: 16 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.offset) << 64 | u128::from(self.number)).to_be_bytes()
    }

    /// What [`to_bytes`](Self::to_bytes) gave. Others are refused when they are used.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let (offset, number) = bytes.split_at(8);
        let half = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Self { offset: half(offset), number: half(number) }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:016x}", self.offset, self.number)
    }
}
