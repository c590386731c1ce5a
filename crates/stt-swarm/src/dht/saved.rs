//! What outlives a restart, as bytes in a chamber: parts of a version and entries, each
//! `place (32) ‖ length (4, big-endian) ‖ bytes`.

use stt_store::{Chamber, StoreError};

use super::record;

const VERSION: u8 = 1;
/// Longest entry: anything beyond is damage.
const MAX_ENTRY: usize = record::MAX_RECORD;
/// Parts that values of one kind are kept in, by the first four bits of their places: a change
/// writes one of them.
pub(crate) const SHARDS: u8 = 16;

/// What a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Values of this node's own, by place.
    Own(u8),
    /// Signed values that it keeps for others, by place.
    Kept(u8),
    /// Members' addresses, by node id.
    Members,
}

/// A place, or a node id, and what belongs to it.
pub(crate) type Entry = ([u8; 32], Vec<u8>);

/// All that was saved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) own: Vec<Entry>,
    pub(crate) kept: Vec<Entry>,
    pub(crate) members: Vec<Entry>,
}

/// The shard that a place is in.
pub(crate) fn shard(place: &[u8]) -> u8 {
    place.first().map_or(0, |byte| byte >> 4)
}

impl Part {
    /// Its name in the chamber.
    pub(crate) fn name(self, swarm: &str) -> String {
        let tag = record::keyed("stt-swarm/1 name in a chamber", swarm, b"");
        let tag = data_encoding::HEXLOWER.encode(tag.get(..8).unwrap_or_default());
        match self {
            Self::Own(shard) => format!("swarm/{tag}/own/{shard:x}"),
            Self::Kept(shard) => format!("swarm/{tag}/kept/{shard:x}"),
            Self::Members => format!("swarm/{tag}/members"),
        }
    }
}

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

/// Reads what was saved. A damaged part is said in the log and counts as empty: others have copies
/// of its values.
///
/// # Errors
/// Those of a chamber that cannot be read at all.
pub(crate) async fn load(chamber: &Chamber, swarm: &str) -> Result<Saved, StoreError> {
    let mut saved = Saved::default();
    let shards = (0..SHARDS).flat_map(|shard| [Part::Own(shard), Part::Kept(shard)]);
    for part in shards.chain([Part::Members]) {
        let name = part.name(swarm);
        let entries = match chamber.get_named(&name).await {
            Ok(bytes) => decode(&bytes),
            Err(StoreError::NotFound { .. }) => continue,
            Err(StoreError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(entries) = entries else {
            tracing::warn!(%name, "what the swarm saved is damaged; it begins without that part");
            continue;
        };
        match part {
            Part::Own(_) => saved.own.extend(entries),
            Part::Kept(_) => saved.kept.extend(entries),
            Part::Members => saved.members.extend(entries),
        }
    }
    Ok(saved)
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

    #[tokio::test]
    async fn swarms_of_other_names_and_damaged_parts_are_not_read() {
        let key = stt_store::ChamberKey::from_key(&stc::Key::from_bytes([1; 32]));
        let chamber = Chamber::in_memory(&key).await.unwrap();
        let place = [0x5f; 32];
        let bytes = encode([(&place, &b"value"[..])].into_iter());
        chamber.put_named(&Part::Own(shard(&place)).name("one"), bytes).await.unwrap();
        chamber.put_named(&Part::Own(1).name("one"), vec![9]).await.unwrap();
        assert_eq!(load(&chamber, "two").await.unwrap(), Saved::default());
        let saved = load(&chamber, "one").await.unwrap();
        assert_eq!(saved.own, [(place, b"value".to_vec())]);
    }
}
