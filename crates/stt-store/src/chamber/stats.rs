//! Where the space goes.

use super::{Chamber, collect::Unkept, keys};
use crate::{KindUsage, StoreError, Swept};

/// Where the space goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChamberStats {
    /// Values, and the bytes they take, encrypted and padded.
    pub contents: u64,
    /// Their bytes.
    pub content_bytes: u64,
    /// Names that point to values.
    pub names: u64,
    /// Bytes of all that is stored, with names and pins: what the quota counts.
    pub stored_bytes: u64,
    /// Values that nothing keeps: [`Chamber::collect`] would remove them.
    pub collectable: u64,
    /// Their bytes.
    pub collectable_bytes: u64,
    /// What crashes left behind: [`Chamber::collect`] would remove it too.
    pub leftovers: Swept,
    /// The limit on `stored_bytes`.
    pub quota: Option<u64>,
    /// What it costs the backend, in bytes, each with a short description.
    pub places: Vec<(&'static str, u64)>,
}

impl Chamber {
    /// Bytes of all that is stored, as the quota counts them: encrypted and padded, with names.
    ///
    /// # Errors
    /// Errors of reading.
    pub async fn stored_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.provider().usage().await?.bytes())
    }

    /// Counts what is here; it walks over all names, but reads no values.
    ///
    /// # Errors
    /// Errors of reading.
    pub async fn stats(&self) -> Result<ChamberStats, StoreError> {
        let usage = self.provider().usage().await?;
        let KindUsage { blobs: contents, bytes: content_bytes, .. } = usage.kind(keys::CONTENT);
        let mut stats = ChamberStats {
            contents,
            content_bytes,
            names: usage.kind(keys::ENTRY).blobs,
            stored_bytes: usage.bytes(),
            collectable: 0,
            collectable_bytes: 0,
            leftovers: self.provider().sweep(true).await?,
            quota: self.shared.quota.limit(),
            places: usage.places,
        };
        let mut walk = Unkept::new(self.provider());
        while let Some(unkept) = walk.next().await? {
            stats.collectable += unkept.len() as u64;
            stats.collectable_bytes += unkept.iter().map(|(_, stat)| stat.len).sum::<u64>();
        }
        Ok(stats)
    }
}
