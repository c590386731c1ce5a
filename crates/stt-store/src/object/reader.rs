//! Reading a blob from object storage.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};

use super::failed;
use crate::{
    BlobName, BlobReader, BoxFuture, Damage, DamagedPart, StoreError, provider::checked_range,
};

/// Reads parts of one object.
pub(super) struct ObjectReader {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) name: BlobName,
    pub(super) path: Path,
    /// Bytes of the blob, and of the object before them.
    pub(super) len: u64,
    pub(super) skip: u64,
    /// The object as it was when it was opened.
    pub(super) tag: Option<String>,
    /// The blob's first bytes, which came with the head.
    pub(super) start: Bytes,
}

impl BlobReader for ObjectReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>, StoreError>> {
        Box::pin(async move {
            let range = checked_range(&self.name, self.len, offset, len)?;
            if len == 0 {
                // Services refuse to send nothing.
                return Ok(Vec::new());
            }
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            if let Some(known) = self.start.get(at..at.saturating_add(len)) {
                return Ok(known.to_vec());
            }
            let item = || format!("blob {}", self.name);
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.start + self.skip..range.end + self.skip)),
                if_match: self.tag.clone(),
                ..GetOptions::default()
            };
            let got = self.store.get_opts(&self.path, options).await;
            let bytes = match got {
                Ok(got) => got.bytes().await,
                Err(error) => Err(error),
            };
            let bytes = bytes.map_err(|error| failed(item(), error))?;
            if bytes.len() != len {
                return Err(StoreError::damaged(item(), Damage::TooShort(DamagedPart::Object)));
            }
            Ok(bytes.into())
        })
    }
}

/// The size of a data object, to compare with what its pointer says.
pub(super) async fn data_len(
    store: &dyn ObjectStore,
    name: &BlobName,
    path: &Path,
    expected: u64,
) -> Result<(), StoreError> {
    let item = || format!("blob {name}");
    match store.head(path).await {
        Ok(meta) if meta.size == expected => Ok(()),
        Ok(meta) => {
            let damage = Damage::Length { part: DamagedPart::Object, have: meta.size, expected };
            Err(StoreError::damaged(item(), damage))
        }
        Err(object_store::Error::NotFound { .. }) => {
            Err(StoreError::damaged(item(), Damage::Missing(DamagedPart::Object)))
        }
        Err(error) => Err(failed(item(), error)),
    }
}
