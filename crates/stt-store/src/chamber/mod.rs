//! Encrypted values by hash and by name, on any backend.

mod collect;
mod entry;
mod file_source;
mod guard;
mod keys;
mod lookup;
mod pins;
mod put;
mod quota;
mod read;
mod rebuild;
mod stats;
mod uncancelled;
mod verify;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::Mutex;

use crate::{
    BlobName, ContentId, Damage, DiskOptions, DiskProvider, MemoryProvider, SettingError,
    StorageProvider, StoreError,
};

pub use collect::Collected;
pub use entry::NamedEntry;
pub use file_source::FileSource;
pub use guard::Protection;
pub use keys::ChamberKey;
pub use lookup::Removed;
pub use pins::ContentInfo;
pub use put::Keep;
pub use read::ContentReader;
pub use rebuild::RebuildReport;
pub use stats::ChamberStats;
pub use verify::{Problem, VerifyReport};

use guard::Guard;
use keys::Keys;
use quota::Quota;

/// Names that are changed at the same time share one of so many locks.
const NAME_LOCKS: usize = 64;
/// Blobs handled at a time when all of them are walked.
const PAGE: usize = 512;

/// Settings of a [`Chamber`], which tells what is out of its range when it is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChamberOptions {
    quota: Option<u64>,
    disk: DiskOptions,
}

impl ChamberOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Most bytes that may be stored, counted as they lie in the backend: encrypted and padded,
    /// with names. Default: no limit but the disk's. A limit below what is there already stops
    /// new values and removes nothing.
    #[must_use]
    pub const fn quota(mut self, bytes: Option<u64>) -> Self {
        self.quota = bytes;
        self
    }

    /// How the disk backend is set; other backends ignore it, because they are made elsewhere.
    #[must_use]
    pub const fn disk(mut self, disk: DiskOptions) -> Self {
        self.disk = disk;
        self
    }
}

/// Encrypted storage, addressed by hash.
///
/// A value is stored once, however often it is put. What is *kept* (pinned, or named) stays until
/// it is removed; what is only [cached](Keep::Cached) may be taken by [`Self::collect`].
///
/// Clones share one store.
#[derive(Clone)]
pub struct Chamber {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Arc<dyn StorageProvider>,
    keys: Keys,
    guard: Guard,
    quota: Arc<Quota>,
    names: [Mutex<()>; NAME_LOCKS],
    collecting: Mutex<()>,
}

impl std::fmt::Debug for Chamber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chamber").field("provider", &self.shared.provider).finish_non_exhaustive()
    }
}

impl Chamber {
    /// Opens the chamber in the directory `path`, and makes it if there is none.
    ///
    /// # Errors
    /// [`StoreError::WrongSeed`] when it was made with another seed, and all errors of
    /// [`DiskProvider::open`].
    pub async fn open(
        key: &ChamberKey,
        path: impl AsRef<Path>,
        options: ChamberOptions,
    ) -> Result<Self, StoreError> {
        let provider = DiskProvider::open(path, options.disk).await?;
        Self::on(key, Arc::new(provider), options).await
    }

    /// Opens the chamber in its default place, [`Self::default_path`].
    ///
    /// # Errors
    /// As for [`Self::open`]; [`StoreError::Setting`] when the user has no home directory.
    pub async fn open_default(
        key: &ChamberKey,
        options: ChamberOptions,
    ) -> Result<Self, StoreError> {
        let path = Self::default_path(key).ok_or(SettingError::NoHome)?;
        Self::open(key, path, options).await
    }

    /// A chamber in memory, which ends with its last clone.
    ///
    /// # Errors
    /// [`StoreError::Random`].
    pub async fn in_memory(key: &ChamberKey) -> Result<Self, StoreError> {
        Self::on(key, Arc::new(MemoryProvider::new()), ChamberOptions::default()).await
    }

    /// Opens the chamber that `provider` holds, and makes it if there is none.
    ///
    /// # Errors
    /// [`StoreError::WrongSeed`]; [`StoreError::Version`] when it was written by a later program;
    /// [`StoreError::Damaged`]; whatever the provider reports.
    pub async fn on(
        key: &ChamberKey,
        provider: Arc<dyn StorageProvider>,
        options: ChamberOptions,
    ) -> Result<Self, StoreError> {
        let keys = key.keys();
        keys.check_in(provider.as_ref()).await?;
        let shared = Shared {
            provider,
            keys,
            guard: Guard::default(),
            quota: Arc::new(Quota::new(options.quota)),
            names: std::array::from_fn(|_| Mutex::new(())),
            collecting: Mutex::new(()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// `~/.seigr/chambers/{id}`, where `id` belongs to the seed: the same at every start.
    #[must_use]
    pub fn default_path(key: &ChamberKey) -> Option<PathBuf> {
        Some(std::env::home_dir()?.join(".seigr").join("chambers").join(key.id()))
    }

    /// Where the values are, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.shared.provider.place()
    }

    /// The limit on stored bytes, in place of the one given when it was opened.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.shared.quota.set(bytes);
    }

    fn provider(&self) -> &dyn StorageProvider {
        self.shared.provider.as_ref()
    }
}

/// What messages call a content.
fn content_item(id: &ContentId) -> String {
    format!("content {id}")
}

/// The next page of a walk, and where the one after it begins; `None` at the end.
async fn page(
    provider: &dyn StorageProvider,
    prefix: &[u8],
    after: &mut Option<BlobName>,
) -> Result<Option<Vec<(BlobName, crate::BlobStat)>>, StoreError> {
    let rows = provider.list(prefix, *after, PAGE).await?;
    let Some((last, _)) = rows.last() else { return Ok(None) };
    // A damaged index can list the same rows again; the walk would never end.
    if after.is_some_and(|after| *last <= after) {
        let item = format!("the list of what is in {}", provider.place());
        return Err(StoreError::damaged(item, Damage::OutOfOrder));
    }
    *after = Some(*last);
    Ok(Some(rows))
}

#[cfg(test)]
mod hook_provider;
#[cfg(test)]
mod race_tests;
