//! A part of what outlives a restart: a version and entries, each
//! `place (32) ‖ length (4, big-endian) ‖ bytes`.

use super::record;

const VERSION: u8 = 1;
/// Longest entry: anything beyond is damage.
const MAX_ENTRY: usize = record::MAX_RECORD;

/// A place, or a node id, and what belongs to it.
pub(crate) type Entry = ([u8; 32], Vec<u8>);

/// The bytes of a part. Entries that are too long are left out.
pub(crate) fn encode<'a>(entries: impl Iterator<Item = (&'a [u8; 32], &'a [u8])>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for (place, data) in entries.filter(|(_, data)| data.len() <= MAX_ENTRY) {
        let len = u32::try_from(data.len()).unwrap_or(0);
        bytes.extend_from_slice(place);
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

/// The entries of a part; `None` if it makes no sense.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (&version, mut rest) = bytes.split_first()?;
    if version != VERSION {
        return None;
    }
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (place, after) = rest.split_first_chunk::<32>()?;
        let (len, after) = after.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        if len > MAX_ENTRY {
            return None;
        }
        let (data, after) = after.split_at_checked(len)?;
        entries.push((*place, data.to_vec()));
        rest = after;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_part_comes_back(
            entries in prop::collection::vec(
                (any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 0..64)), 0..20)
        ) {
            let bytes = encode(entries.iter().map(|(place, data)| (place, data.as_slice())));
            prop_assert_eq!(decode(&bytes), Some(entries));
        }

        #[test]
        fn whatever_is_read_makes_sense_or_is_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            if let Some(entries) = decode(&bytes) {
                let again = encode(entries.iter().map(|(place, data)| (place, data.as_slice())));
                prop_assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn a_part_that_was_cut_is_refused() {
        let bytes = encode([(&[1; 32], &b"value"[..])].into_iter());
        for len in (0..bytes.len()).filter(|len| *len != 1) {
            assert_eq!(decode(&bytes[..len]), None, "{len}");
        }
    }
}
