//! What outlives a restart, as parts in a chamber, each of them entries.

use stt_store::{Chamber, StoreError};

pub(crate) use super::entries::{Entry, decode, encode};
use super::record;

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
    use super::*;

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
