//! Garbage collection.

use super::{Chamber, keys, page, uncancelled::Change};
use crate::{BlobName, BlobStat, Op, StorageProvider, StoreError, Swept};

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Values that nothing kept.
    pub contents: u64,
    /// Bytes they took, encrypted and padded.
    pub bytes: u64,
    /// What crashes had left behind.
    pub leftovers: Swept,
}

impl Chamber {
    /// Removes, or only counts when `dry_run`, every value that is neither pinned nor named, and
    /// what crashes left behind.
    ///
    /// It may run beside anything else: a value that is being put, pinned, named, read or
    /// [protected](Self::protect) at that moment stays.
    ///
    /// # Errors
    /// Errors of reading and writing. What was removed until then stays removed.
    pub async fn collect(&self, dry_run: bool) -> Result<Collected, StoreError> {
        let _alone = self.shared.collecting.lock().await;
        let mut collected = Collected::default();
        let mut walk = Unkept::new(self.provider());
        while let Some(candidates) = walk.next().await? {
            // From here on nobody can begin to keep one of them, and whoever did so before has
            // left a root, which the second look sees.
            let condemned =
                self.shared.guard.condemn_free(candidates.iter().map(|(name, _)| *name));
            let mut ops = Vec::new();
            for name in condemned.names() {
                // It may also have been removed since the page was read.
                if !self.has_root(name).await?
                    && let Some(stat) = self.provider().stat(*name).await?
                {
                    collected.contents += 1;
                    collected.bytes += stat.len;
                    ops.push(Op::Delete { name: *name });
                }
            }
            if !dry_run && !ops.is_empty() {
                let chamber = self.clone();
                let removed = Change::new(async move {
                    let removed = chamber.provider().apply(ops).await;
                    drop(condemned);
                    removed
                });
                removed.await?;
            }
        }
        collected.leftovers = self.provider().sweep(dry_run).await?;
        Ok(collected)
    }

    async fn has_root(&self, content: &BlobName) -> Result<bool, StoreError> {
        let prefix = keys::root_prefix(content)?;
        Ok(!self.provider().list(prefix.as_bytes(), None, 1).await?.is_empty())
    }
}

/// Walks contents and roots side by side: both are ordered by the content's name.
pub(super) struct Unkept<'a> {
    provider: &'a dyn StorageProvider,
    contents_after: Option<BlobName>,
    roots_after: Option<BlobName>,
    roots: std::vec::IntoIter<BlobName>,
    root: Option<BlobName>,
}

impl<'a> Unkept<'a> {
    pub(super) fn new(provider: &'a dyn StorageProvider) -> Self {
        Self {
            provider,
            contents_after: None,
            roots_after: None,
            roots: Vec::new().into_iter(),
            root: None,
        }
    }

    /// Those of the next page of contents that had no root; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<(BlobName, BlobStat)>>, StoreError> {
        let Some(rows) = page(self.provider, &[keys::CONTENT], &mut self.contents_after).await?
        else {
            return Ok(None);
        };
        let mut unkept = Vec::new();
        for (content, stat) in rows {
            // Roots of contents that are gone come first; `verify` reports the pins among them.
            while self.kept().await?.is_some_and(|kept| kept < content) {
                self.root = None;
            }
            if self.kept().await? != Some(content) {
                unkept.push((content, stat));
            }
        }
        Ok(Some(unkept))
    }

    /// The content that the current root keeps.
    async fn kept(&mut self) -> Result<Option<BlobName>, StoreError> {
        loop {
            if let Some((content, _)) = self.root.as_ref().and_then(keys::parse_root) {
                return Ok(Some(content));
            }
            self.root = self.roots.next();
            if self.root.is_none() {
                let Some(rows) = page(self.provider, &[keys::ROOT], &mut self.roots_after).await?
                else {
                    return Ok(None);
                };
                self.roots = rows.into_iter().map(|(name, _)| name).collect::<Vec<_>>().into_iter();
            }
        }
    }
}
