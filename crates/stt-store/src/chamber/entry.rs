//! Entries: names that a person chose, each pointing to a content.

use bytes::Bytes;
use tokio::sync::MutexGuard;

use super::{Chamber, NAME_LOCKS, content_item, keys, keys::Keys, page, uncancelled::Change};
use crate::{
    BlobName, ContentId, Damage, DamagedPart, Op, StoreError,
    seal::{open_small, seal_small},
};

/// Longest name of an entry, in bytes of UTF-8.
const NAME_MAX: usize = 1024;

/// A name and what it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedEntry {
    /// The name.
    pub name: String,
    /// What it points to.
    pub id: ContentId,
}

impl NamedEntry {
    fn encode(&self) -> Vec<u8> {
        [self.id.as_bytes(), self.name.as_bytes()].concat()
    }

    /// The entry in the sealed bytes of the blob `at`, if it is whole and belongs there.
    pub(super) fn open(keys: &Keys, at: BlobName, blob: Vec<u8>) -> Option<Self> {
        let (_, plain) = open_small(&keys.entries, blob).ok()?;
        let entry = Self::decode(&plain)?;
        keys.entry_name(&entry.name).is_ok_and(|name| name == at).then_some(entry)
    }

    fn decode(plain: &[u8]) -> Option<Self> {
        let (id, name) = plain.split_first_chunk::<32>()?;
        let name = std::str::from_utf8(name).ok()?;
        check_name(name).ok()?;
        Some(Self { name: name.to_owned(), id: ContentId::from_bytes(*id) })
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    if (1..=NAME_MAX).contains(&name.len()) {
        Ok(())
    } else {
        Err(StoreError::EntryName { len: name.len(), limit: NAME_MAX })
    }
}

/// Whether a new entry may have this name: one that reads as an id could not be told from it.
pub(super) fn check_new_name(name: &str) -> Result<(), StoreError> {
    check_name(name)?;
    if name.parse::<ContentId>().is_ok() {
        return Err(StoreError::NameIsId { name: name.to_owned() });
    }
    Ok(())
}

fn entry_item(name: &str) -> String {
    format!("the entry {name:?}")
}

impl Chamber {
    /// Lets `name` point to a content that is here, which keeps it. What it pointed to before is
    /// kept no longer by this name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the content is not here; [`StoreError::EntryName`] unless the
    /// name has 1 to 1,024 bytes; errors of writing as for [`Self::put`].
    pub async fn set_name(&self, name: &str, id: &ContentId) -> Result<(), StoreError> {
        check_name(name)?;
        let content = self.shared.keys.content_name(id)?;
        let (chamber, id, entry) = (self.clone(), *id, name.to_owned());
        let set = Change::new(async move {
            let _entered = chamber.shared.guard.enter(content).await;
            if !chamber.provider().exists(content).await? {
                return Err(StoreError::NotFound { item: content_item(&id) });
            }
            let (_lock, ops) = chamber.entry_ops(&entry, id, content).await?;
            chamber.provider().apply(ops).await.map_err(|error| error.about(&entry_item(&entry)))
        });
        set.await
    }

    /// What `name` points to.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`]; errors of reading.
    pub async fn resolve(&self, name: &str) -> Result<ContentId, StoreError> {
        check_name(name)?;
        let found = self.read_entry(self.shared.keys.entry_name(name)?).await;
        match found.map_err(|error| error.about(&entry_item(name)))? {
            Some(entry) if entry.name == name => Ok(entry.id),
            Some(_) => Err(StoreError::damaged(entry_item(name), Damage::Misplaced)),
            None => Err(StoreError::NotFound { item: entry_item(name) }),
        }
    }

    /// The value that `name` points to, which must fit into memory.
    ///
    /// # Errors
    /// As for [`Self::resolve`] and [`Self::get`].
    pub async fn get_named(&self, name: &str) -> Result<Bytes, StoreError> {
        let id = self.resolve(name).await?;
        self.get(&id).await
    }

    /// Removes `name`, and says whether it was there. The content stays until it is collected,
    /// unless something else keeps it.
    ///
    /// # Errors
    /// Errors of reading and writing. A damaged entry is removed as well.
    pub async fn remove_name(&self, name: &str) -> Result<bool, StoreError> {
        check_name(name)?;
        let at = self.shared.keys.entry_name(name)?;
        let chamber = self.clone();
        let remove = Change::new(async move {
            let _lock = chamber.lock_name(&at).await;
            let mut ops = vec![Op::Delete { name: at }];
            match chamber.read_entry(at).await {
                Ok(None) => return Ok(false),
                Ok(Some(entry)) => {
                    let content = chamber.shared.keys.content_name(&entry.id)?;
                    ops.push(Op::Delete { name: keys::entry_root(&content, &at)? });
                }
                // Its root stays behind: nobody knows which one, until the content is removed by id.
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
            chamber.provider().apply(ops).await?;
            Ok(true)
        });
        remove.await.map_err(|error| error.about(&entry_item(name)))
    }

    /// All names, in no particular order, a page at a time: `visit` gets each, and an error instead
    /// of a damaged one; it returns whether to go on.
    ///
    /// # Errors
    /// Errors of reading that are not about a single entry.
    pub async fn names(
        &self,
        mut visit: impl FnMut(Result<NamedEntry, StoreError>) -> bool,
    ) -> Result<(), StoreError> {
        let mut after = None;
        while let Some(rows) = page(self.provider(), &[keys::ENTRY], &mut after).await? {
            for (at, _) in rows {
                let entry = match self.read_entry(at).await {
                    Ok(Some(entry)) => Ok(entry),
                    Ok(None) => continue,
                    Err(error) => Err(error),
                };
                if !visit(entry) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The entry at `at`, if there is one.
    pub(super) async fn read_entry(&self, at: BlobName) -> Result<Option<NamedEntry>, StoreError> {
        let item = || format!("the entry in blob {at}");
        let blob = match self.provider().retrieve(at).await {
            Ok(blob) => blob,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.about(&item())),
        };
        let opened = open_small(&self.shared.keys.entries, blob.to_vec());
        let (_, plain) = opened.map_err(|damage| StoreError::damaged(item(), damage))?;
        let entry = NamedEntry::decode(&plain)
            .ok_or_else(|| StoreError::damaged(item(), Damage::Malformed(DamagedPart::Whole)))?;
        if self.shared.keys.entry_name(&entry.name)? != at {
            return Err(StoreError::damaged(item(), Damage::Misplaced));
        }
        Ok(Some(entry))
    }

    /// The changes that let `name` point to `content`, and the lock under which to make them.
    ///
    /// In this order: on a backend without transactions, whatever prefix of them is done, what an
    /// entry points to has a root.
    pub(super) async fn entry_ops(
        &self,
        name: &str,
        id: ContentId,
        content: BlobName,
    ) -> Result<(MutexGuard<'_, ()>, Vec<Op>), StoreError> {
        check_new_name(name)?;
        let at = self.shared.keys.entry_name(name)?;
        let lock = self.lock_name(&at).await;
        let plain = NamedEntry { name: name.to_owned(), id }.encode();
        let data = seal_small(&self.shared.keys.entries, ContentId::of(&plain), &plain)?;
        let root = keys::entry_root(&content, &at)?;
        let mut ops = vec![
            Op::Put { name: root, data: bytes::Bytes::new() },
            Op::Put { name: at, data: data.into() },
        ];
        match self.read_entry(at).await {
            Ok(Some(old)) if old.id != id => {
                let old = self.shared.keys.content_name(&old.id)?;
                ops.push(Op::Delete { name: keys::entry_root(&old, &at)? });
            }
            // A damaged entry is replaced. The root of what it pointed to stays behind.
            Ok(_) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error.about(&entry_item(name))),
        }
        Ok((lock, ops))
    }

    async fn lock_name(&self, at: &BlobName) -> MutexGuard<'_, ()> {
        let last = at.as_bytes().last().copied().unwrap_or_default();
        let lock = self.shared.names.get(usize::from(last) % NAME_LOCKS);
        lock.unwrap_or(&self.shared.collecting).lock().await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_comes_back_and_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(entry) = NamedEntry::decode(&bytes) {
                prop_assert_eq!(entry.encode(), bytes);
            }
        }
    }
}
