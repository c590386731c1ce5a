//! What is kept, and removing it.

use std::vec;

use futures_util::{Stream, stream};

use super::{Chamber, Problem, content_item, guard::Protection, keys, page, uncancelled::Change};
use crate::{BlobName, BlobStat, ContentId, Op, StoreError};

/// Names that are reported of one content.
pub(super) const NAMES_MAX: usize = 64;

/// A value, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentInfo {
    /// Its id.
    pub id: ContentId,
    /// Its length in bytes.
    pub len: u64,
    /// Bytes it takes, encrypted and padded.
    pub stored: u64,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Names that point to it, 64 at most.
    pub names: Vec<String>,
}

/// A walk over all values.
struct Contents {
    chamber: Chamber,
    after: Option<BlobName>,
    rows: vec::IntoIter<(BlobName, BlobStat)>,
}

impl Contents {
    fn new(chamber: Chamber) -> Self {
        Self { chamber, after: None, rows: Vec::new().into_iter() }
    }

    async fn next(&mut self) -> Result<Option<Result<ContentInfo, Problem>>, StoreError> {
        let provider = self.chamber.provider();
        loop {
            let Some((content, stat)) = self.rows.next() else {
                match page(provider, &[keys::CONTENT], &mut self.after).await? {
                    Some(rows) => self.rows = rows.into_iter(),
                    None => return Ok(None),
                }
                continue;
            };
            match self.chamber.info(content, stat).await {
                // Removed since the page was read.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Ok(Some(Err(self.chamber.problem(content, error).await))),
                Ok(info) => return Ok(Some(Ok(info))),
            }
        }
    }
}

impl Chamber {
    /// Keeps a content that is here until it is unpinned or removed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is not here; errors of writing.
    pub async fn pin(&self, id: &ContentId) -> Result<(), StoreError> {
        let content = self.shared.keys.content_name(id)?;
        let (chamber, item) = (self.clone(), content_item(id));
        let pin = Change::new(async move {
            let _entered = chamber.shared.guard.enter(content).await;
            if !chamber.provider().exists(content).await? {
                return Err(StoreError::NotFound { item });
            }
            chamber.provider().store(keys::pin_root(&content)?, bytes::Bytes::new()).await
        });
        pin.await.map_err(|error| error.about(&content_item(id)))
    }

    /// Takes the pin away. The content stays until it is collected, unless a name keeps it. It is
    /// no error if there was no pin.
    ///
    /// # Errors
    /// Errors of writing.
    pub async fn unpin(&self, id: &ContentId) -> Result<(), StoreError> {
        let content = self.shared.keys.content_name(id)?;
        let chamber = self.clone();
        let unpin = Change::new(async move {
            let _released = chamber.shared.guard.release(content).await;
            chamber.provider().delete(keys::pin_root(&content)?).await
        });
        unpin.await.map_err(|error| error.about(&content_item(id)))
    }

    /// Keeps a content from being collected as long as the result lives, whether it is here already
    /// or comes later. Nothing of this is stored.
    ///
    /// # Errors
    /// None at present.
    pub async fn protect(&self, id: &ContentId) -> Result<Protection, StoreError> {
        let content = self.shared.keys.content_name(id)?;
        Ok(self.shared.guard.protect(content).await)
    }

    /// Removes a content and its pin, damaged or not. Readers that are open may go on or fail.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::StillNamed`] when a name points to it; errors of
    /// writing.
    pub async fn remove(&self, id: &ContentId) -> Result<(), StoreError> {
        let content = self.shared.keys.content_name(id)?;
        let removed = self.remove_at(content, content_item(id)).await;
        removed.map_err(|error| error.about(&content_item(id)))
    }

    /// Removes a content whose id nobody knows any more, by the [blob](Problem::blob) that
    /// [`Self::verify`] and [`Self::contents`] tell.
    ///
    /// # Errors
    /// As for [`Self::remove`]; [`StoreError::NotFound`] when `blob` is none of a content.
    pub async fn remove_unreadable(&self, blob: &str) -> Result<(), StoreError> {
        let item = format!("the content in blob {blob}");
        match BlobName::from_hex(blob).filter(|name| name.kind() == keys::CONTENT) {
            Some(content) => self.remove_at(content, item).await,
            None => Err(StoreError::NotFound { item }),
        }
    }

    async fn remove_at(&self, content: BlobName, item: String) -> Result<(), StoreError> {
        let chamber = self.clone();
        let remove = Change::new(async move {
            let _condemned = chamber.shared.guard.condemn(content).await;
            let roots = chamber.roots(&content).await?;
            // One that went missing may have left its pin.
            if roots.is_empty() && !chamber.provider().exists(content).await? {
                return Err(StoreError::NotFound { item });
            }
            let mut ops = Vec::new();
            for (root, entry) in roots {
                if let Some(Ok(Some(entry))) = entry
                    && chamber.shared.keys.content_name(&entry.id)? == content
                {
                    return Err(StoreError::StillNamed { item, name: entry.name });
                }
                ops.push(Op::Delete { name: root });
            }
            // Last: on a backend without transactions, nothing is ever kept that is gone.
            ops.push(Op::Delete { name: content });
            chamber.provider().apply(ops).await
        });
        remove.await
    }

    /// All values, in no particular order: `visit` gets each, and a problem instead of one that
    /// cannot be opened; it returns whether to go on.
    ///
    /// # Errors
    /// Errors of reading that are not about a single value.
    pub async fn contents(
        &self,
        mut visit: impl FnMut(Result<ContentInfo, Problem>) -> bool,
    ) -> Result<(), StoreError> {
        let mut walk = Contents::new(self.clone());
        while let Some(info) = walk.next().await? {
            if !visit(info) {
                break;
            }
        }
        Ok(())
    }

    /// As [`Self::contents`], as a stream, which ends with an error that is not about a single
    /// value.
    pub fn contents_stream(
        &self,
    ) -> impl Stream<Item = Result<Result<ContentInfo, Problem>, StoreError>> + Send + use<> {
        stream::try_unfold(Contents::new(self.clone()), async |mut walk| {
            Ok(walk.next().await?.map(|info| (info, walk)))
        })
    }

    async fn info(&self, content: BlobName, stat: BlobStat) -> Result<ContentInfo, StoreError> {
        let item = format!("the content in blob {content}");
        let reader = self.open_content(content, &item).await?;
        let mut info = ContentInfo {
            id: reader.id(),
            len: reader.len(),
            stored: stat.len,
            pinned: false,
            names: Vec::new(),
        };
        for (_, entry) in self.roots(&content).await? {
            match entry {
                None => info.pinned = true,
                Some(Ok(Some(entry))) if entry.id == info.id && info.names.len() < NAMES_MAX => {
                    info.names.push(entry.name);
                }
                Some(_) => {}
            }
        }
        Ok(info)
    }

    /// The roots of `content`, each with the entry that it belongs to; `None` for a pin.
    pub(super) async fn roots(&self, content: &BlobName) -> Result<Vec<Root>, StoreError> {
        let prefix = keys::root_prefix(content)?;
        let rows = self.provider().list(prefix.as_bytes(), None, NAMES_MAX + 1).await?;
        let mut roots = Vec::with_capacity(rows.len());
        for (root, _) in rows {
            let entry = match keys::parse_root(&root) {
                Some((_, Some(entry))) => Some(self.read_entry(entry).await),
                Some((_, None)) | None => None,
            };
            roots.push((root, entry));
        }
        Ok(roots)
    }
}

/// A root, and the entry that it belongs to.
pub(super) type Root = (BlobName, Option<Result<Option<super::NamedEntry>, StoreError>>);
