//! A row of the index: where the bytes of a blob are.

use crate::BlobStat;

/// Where the bytes of a blob are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In the index's table of small blobs.
    Inline { len: u64 },
    /// In a file of its own, whose name ends with `tail`.
    File { len: u64, tail: [u8; 4] },
}

impl Location {
    const INLINE: u8 = 1;
    const FILE: u8 = 2;

    pub(super) const fn len(self) -> u64 {
        match self {
            Self::Inline { len } | Self::File { len, .. } => len,
        }
    }

    pub(super) const fn stat(self) -> BlobStat {
        BlobStat { len: self.len() }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut row = Vec::with_capacity(13);
        match self {
            Self::Inline { len } => {
                row.push(Self::INLINE);
                row.extend(len.to_le_bytes());
            }
            Self::File { len, tail } => {
                row.push(Self::FILE);
                row.extend(len.to_le_bytes());
                row.extend(tail);
            }
        }
        row
    }

    /// `None` for anything that [`Self::encode`] does not write.
    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let (kind, rest) = row.split_first()?;
        let (len, rest) = rest.split_first_chunk::<8>()?;
        let len = u64::from_le_bytes(*len);
        match (*kind, rest) {
            (Self::INLINE, []) => Some(Self::Inline { len }),
            (Self::FILE, tail) => Some(Self::File { len, tail: tail.try_into().ok()? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_parses_encodes_to_the_same_bytes(row in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Some(location) = Location::decode(&row) {
                prop_assert_eq!(location.encode(), row);
            }
        }

        #[test]
        fn both_kinds_come_back(len in any::<u64>(), tail in any::<[u8; 4]>()) {
            for location in [Location::Inline { len }, Location::File { len, tail }] {
                prop_assert_eq!(Location::decode(&location.encode()), Some(location));
            }
        }
    }
}
