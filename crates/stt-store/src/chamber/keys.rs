//! The keys of a chamber, and the names under which its blobs lie.

use bytes::Bytes;
use stc::{Key, Seed, kdf, stretch::Cost};

use crate::{
    BlobName, ContentId, Damage, DamagedPart, SettingError, StorageProvider, StoreError, blob::hex,
};

/// Kinds of blobs: the first byte of their names.
pub(super) const CONTENT: u8 = b'c';
pub(super) const ROOT: u8 = b'r';
pub(super) const ENTRY: u8 = b'n';
pub(super) const META: u8 = b'm';

const MAGIC: &[u8; 8] = b"STTCHMBR";
const VERSION: u32 = 1;

/// The secret that opens a chamber.
#[derive(Clone, Debug)]
pub struct ChamberKey(Key);

impl ChamberKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn from_key(key: &Key) -> Self {
        Self(kdf::derive(key, "stt-store chamber v1", &[]))
    }

    /// From a node seed. A printed key is taken as it is; anything else is stretched with Argon2id
    /// at [`Cost::DEFAULT`] (96 MiB, a fraction of a second, which blocks;
    /// [`Self::from_seed_async`] does not), because a stolen disk lets a thief try guesses. The
    /// salt is fixed: the place of the chamber follows from the seed, before any file can be read.
    ///
    /// # Errors
    /// [`StoreError::Seed`] when the seed is empty, is a misspelt key, or cannot be stretched.
    pub fn from_seed(seed: &Seed) -> Result<Self, StoreError> {
        Ok(Self::from_key(&seed.root(b"stt-store chamber", Cost::DEFAULT)?))
    }

    /// As [`Self::from_seed`], for async code: the seed is stretched on a thread that may block.
    ///
    /// # Errors
    /// As [`Self::from_seed`], and [`StoreError::Closed`] when the runtime ends meanwhile.
    pub async fn from_seed_async(seed: impl Into<Seed>) -> Result<Self, StoreError> {
        let seed = seed.into();
        let made = tokio::task::spawn_blocking(move || Self::from_seed(&seed)).await;
        made.map_err(|_| StoreError::Closed { item: "the chamber".to_owned() })?
    }

    /// What names the chamber in its default path: 32 hexadecimal digits that tell nothing about
    /// the seed, and are the same for the same seed.
    #[must_use]
    pub fn id(&self) -> String {
        let mut id = [0; 16];
        kdf::derive_into(&self.0, "id", &[], &mut id);
        hex(&id)
    }

    /// What the keys of logs follow from.
    pub(crate) fn log_root(&self) -> Key {
        kdf::derive(&self.0, "logs", &[])
    }

    pub(super) fn keys(&self) -> Keys {
        let derive = |label| kdf::derive(&self.0, label, &[]);
        Keys {
            check: derive("check"),
            content_names: derive("content names"),
            entry_names: derive("entry names"),
            content: derive("content"),
            entries: derive("entries"),
        }
    }
}

pub(super) struct Keys {
    check: Key,
    content_names: Key,
    entry_names: Key,
    /// Seals contents.
    pub(super) content: Key,
    /// Seals entries.
    pub(super) entries: Key,
}

impl Keys {
    /// Where a content lies.
    pub(super) fn content_name(&self, id: &ContentId) -> Result<BlobName, StoreError> {
        let hash = kdf::derive(&self.content_names, "name", &[id.as_bytes()]);
        name(&[&[CONTENT], hash.as_bytes()])
    }

    /// Where an entry lies.
    pub(super) fn entry_name(&self, entry: &str) -> Result<BlobName, StoreError> {
        let hash = kdf::derive(&self.entry_names, "name", &[entry.as_bytes()]);
        name(&[&[ENTRY], hash.as_bytes()])
    }

    /// The record that says whose chamber this is, and where it lies.
    pub(super) fn record(&self) -> Result<(BlobName, Bytes), StoreError> {
        let mut record = MAGIC.to_vec();
        record.extend(VERSION.to_be_bytes());
        record.extend(self.check.as_bytes());
        Ok((name(&[&[META], b"chamber"])?, record.into()))
    }

    /// Whether `record`, found at `at`, is that record. One that is damaged is not.
    ///
    /// # Errors
    /// It says that the chamber is another seed's, or of a later version.
    pub(super) fn is_record(
        &self,
        at: &BlobName,
        record: &[u8],
        place: &str,
    ) -> Result<bool, StoreError> {
        if *at != name(&[&[META], b"chamber"])? {
            return Ok(false);
        }
        match self.check_record(record, String::new, place) {
            Ok(()) => Ok(true),
            Err(StoreError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the record that says whose chamber this is, or checks it.
    pub(super) async fn check_in(&self, provider: &dyn StorageProvider) -> Result<(), StoreError> {
        let at = name(&[&[META], b"chamber"])?;
        let item = || format!("the record of the chamber in {}", provider.place());
        match provider.retrieve(at).await {
            Ok(record) => self.check_record(&record, item, &provider.place()),
            Err(StoreError::NotFound { .. }) => {
                if !provider.list(&[CONTENT], None, 1).await?.is_empty() {
                    return Err(StoreError::damaged(item(), Damage::Missing(DamagedPart::Whole)));
                }
                let (at, record) = self.record()?;
                let stored = provider.store(at, record).await;
                stored.map_err(|error| error.about(&item()))
            }
            Err(error) => Err(error.about(&item())),
        }
    }

    fn check_record(
        &self,
        record: &[u8],
        item: impl Fn() -> String,
        place: &str,
    ) -> Result<(), StoreError> {
        let parts = record.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk::<4>);
        let (version, check) = parts
            .ok_or_else(|| StoreError::damaged(item(), Damage::Malformed(DamagedPart::Whole)))?;
        let found = u32::from_be_bytes(*version);
        let place = place.to_owned();
        if found != VERSION {
            return Err(StoreError::Version { place, found, known: VERSION });
        }
        let check = <[u8; 32]>::try_from(check)
            .map_err(|_| StoreError::damaged(item(), Damage::Malformed(DamagedPart::Whole)))?;
        // `Key` compares in constant time.
        if Key::from_bytes(check) == self.check {
            Ok(())
        } else {
            Err(StoreError::WrongSeed { place })
        }
    }
}

/// The names of the roots of a content: records whose existence keeps it.
pub(super) fn root_prefix(content: &BlobName) -> Result<BlobName, StoreError> {
    name(&[&[ROOT], tail(content)])
}

/// The root by which an entry keeps a content.
pub(super) fn entry_root(content: &BlobName, entry: &BlobName) -> Result<BlobName, StoreError> {
    name(&[&[ROOT], tail(content), tail(entry)])
}

/// The root by which a pin keeps a content.
pub(super) fn pin_root(content: &BlobName) -> Result<BlobName, StoreError> {
    name(&[&[ROOT], tail(content), &[0; 32]])
}

/// The content that a root keeps, and the entry that it belongs to, if it is no pin.
pub(super) fn parse_root(root: &BlobName) -> Option<(BlobName, Option<BlobName>)> {
    let (content, entry) = root.as_bytes().strip_prefix(&[ROOT])?.split_first_chunk::<32>()?;
    let entry = <[u8; 32]>::try_from(entry).ok()?;
    let content = BlobName::new(&[&[CONTENT], content]).ok()?;
    let entry = if entry == [0; 32] { None } else { BlobName::new(&[&[ENTRY], &entry]).ok() };
    Some((content, entry))
}

/// A name without its kind.
fn tail(name: &BlobName) -> &[u8] {
    name.as_bytes().get(1..).unwrap_or_default()
}

/// Our own names are never too long; if one were, it is an error and not a panic.
fn name(parts: &[&[u8]]) -> Result<BlobName, StoreError> {
    BlobName::new(parts).map_err(|error| SettingError::from(error).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_id_belongs_to_the_seed() {
        let key = |byte| ChamberKey::from_key(&Key::from_bytes([byte; 32]));
        assert_eq!(key(1).id(), key(1).id());
        assert_ne!(key(1).id(), key(2).id());
        assert_eq!(key(1).id().len(), 32);
    }

    #[test]
    fn roots_say_what_they_keep() {
        let keys = ChamberKey::from_key(&Key::from_bytes([1; 32])).keys();
        let content = keys.content_name(&ContentId::of(b"x")).unwrap();
        let entry = keys.entry_name("x").unwrap();
        assert_eq!(parse_root(&pin_root(&content).unwrap()), Some((content, None)));
        let root = entry_root(&content, &entry).unwrap();
        assert_eq!(parse_root(&root), Some((content, Some(entry))));
        assert!(root.as_bytes().starts_with(root_prefix(&content).unwrap().as_bytes()));
        assert_eq!(parse_root(&content), None);
    }

    proptest! {
        #[test]
        fn no_record_panics(record in prop::collection::vec(any::<u8>(), 0..60), fit in any::<bool>()) {
            let keys = ChamberKey::from_key(&Key::from_bytes([1; 32])).keys();
            let mut record = record;
            if fit {
                record.splice(0..0, b"STTCHMBR\0\0\0\x01".iter().copied());
            }
            prop_assert!(keys.check_record(&record, String::new, "").is_err());
        }
    }
}
