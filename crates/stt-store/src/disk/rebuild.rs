//! A new index for a store whose old one is missing or damaged.
//!
//! It grows under `tmp` and takes its place by one rename; until then nothing of the store has
//! changed. The old index stays beside it, under another name. Everything here blocks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    fs::{Fs, RawFile},
    index::{Change, Index},
    lock::Lock,
    place,
    shards::{shard_at, shard_of},
};
use crate::{BlobName, BlobStat, StoreError, blob::unhex};

/// Rows that are committed together, and bytes of small blobs in them.
const BATCH: (usize, usize) = (512, 8 << 20);
/// Rows of the old index that are read at once.
const PAGE: usize = 64;

/// A file that may hold a blob.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) file: Arc<dyn RawFile>,
    pub(crate) len: u64,
    tail: [u8; 4],
}

/// A new index being made. Dropped before [`Self::finish`], it leaves the store as it was.
#[derive(Debug)]
pub(crate) struct Rebuild {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    new: Option<Index>,
    /// What can be read of the old one.
    old: Option<Index>,
    changes: Vec<Change>,
    bytes: usize,
    _lock: Lock,
}

impl Rebuild {
    /// Takes the store in `dir`, and refuses one whose index is sound.
    pub(crate) fn begin(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, StoreError> {
        let place = dir.display().to_string();
        let failed =
            |error: std::io::Error| StoreError::io(format!("the store in {place}"), &error);
        place::check(&fs, dir)?;
        if !fs.exists(&dir.join("format")).map_err(failed)? {
            return Err(StoreError::NotFound { item: format!("a store in {place}") });
        }
        let lock = Lock::take(&fs, dir)?;
        let old = match Index::open(fs.clone(), dir.join("index.redb"), true, &place) {
            Ok(index) if index.check()?.is_none() => {
                return Err(StoreError::IndexSound { place });
            }
            // The check may have left it closed.
            Ok(_) => Index::open(fs.clone(), dir.join("index.redb"), true, &place).ok(),
            Err(StoreError::IndexDamaged { .. }) => None,
            Err(error) => return Err(error),
        };
        fs.create_dirs(&["tmp", "files"].map(|part| dir.join(part))).map_err(failed)?;
        let leftovers = place::leftovers(&fs, dir).map_err(failed)?;
        leftovers.iter().try_for_each(|path| fs.remove(path)).map_err(failed)?;
        let path = dir.join("tmp").join("index.redb");
        Index::create(&fs, &path)?;
        let new = Index::open_new(fs.clone(), path, &place)?;
        let dir = dir.to_owned();
        Ok(Self { fs, dir, new: Some(new), old, changes: Vec::new(), bytes: 0, _lock: lock })
    }

    pub(crate) fn place(&self) -> String {
        self.dir.display().to_string()
    }

    /// Adds a row for each name of which there are files: for the file that `choose` chooses.
    pub(crate) fn add_files(
        &mut self,
        mut choose: impl FnMut(&mut Self, &BlobName, &[Candidate]) -> Result<usize, StoreError>,
    ) -> Result<(), StoreError> {
        let files = self.dir.join("files");
        let place = self.place();
        let failed =
            |error: std::io::Error| StoreError::io(format!("the store in {place}"), &error);
        let shards = self.fs.list(&files).map_err(failed)?;
        for path in shards {
            // What else is there, somebody put there.
            let Some(shard) = shard_at(&path) else { continue };
            let mut found: BTreeMap<BlobName, Vec<Candidate>> = BTreeMap::new();
            for path in self.fs.list(&path).map_err(failed)? {
                let Some((name, tail)) = parts(&path) else { continue };
                // A link leads to where nothing of ours is.
                if shard_of(&name) != shard || self.fs.is_link(&path).map_err(failed)? {
                    continue;
                }
                let file = self.fs.open(&path, false);
                let opened = file.and_then(|file| Ok((file.len()?, file)));
                let (len, file) =
                    opened.map_err(|error| StoreError::io(format!("blob {name}"), &error))?;
                found.entry(name).or_default().push(Candidate { file, len, tail });
            }
            for (name, candidates) in found {
                let chosen = choose(self, &name, &candidates)?;
                if let Some(Candidate { len, tail, .. }) = candidates.get(chosen) {
                    self.add(Change::PutFile { name, len: *len, tail: *tail })?;
                }
            }
        }
        self.commit()
    }

    /// Adds a small blob.
    pub(crate) fn add_small(&mut self, name: BlobName, data: Bytes) -> Result<(), StoreError> {
        self.add(Change::PutSmall { name, data })
    }

    fn add(&mut self, change: Change) -> Result<(), StoreError> {
        if let Change::PutSmall { data, .. } = &change {
            self.bytes += data.len();
        }
        self.changes.push(change);
        if self.changes.len() >= BATCH.0 || self.bytes >= BATCH.1 { self.commit() } else { Ok(()) }
    }

    /// Makes what was added visible to [`Self::has`] and [`Self::list`].
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        let changes = std::mem::take(&mut self.changes);
        if !changes.is_empty() {
            self.index()?.commit(&changes)?;
        }
        Ok(())
    }

    /// Whether the new index has a row for `name`.
    pub(crate) fn has(&self, name: &BlobName) -> Result<bool, StoreError> {
        Ok(self.index()?.get(name)?.is_some())
    }

    /// As [`StorageProvider::list`](crate::StorageProvider::list), of the new index.
    pub(crate) fn list(
        &self,
        prefix: &[u8],
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<Vec<(BlobName, BlobStat)>, StoreError> {
        self.index()?.list(prefix, after, limit)
    }

    /// All small blobs of `kind` that the old index still gives. Nothing says that they are what
    /// was stored: `visit` has to find out.
    pub(crate) fn salvage(
        &mut self,
        kind: u8,
        mut visit: impl FnMut(&mut Self, BlobName, Bytes) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(old) = self.old.take() else { return Ok(()) };
        // Behind a page that cannot be read, the next range may be whole again.
        for second in 0..=u8::MAX {
            let prefix = [kind, second];
            let mut after = None;
            while let Ok(rows) = old.list(&prefix, after.as_ref(), PAGE) {
                let Some((last, _)) = rows.last() else { break };
                // A damaged index can list the same rows again; the walk would never end.
                if after.is_some_and(|after| *last <= after) {
                    break;
                }
                after = Some(*last);
                for (name, _) in rows {
                    if let Ok(Some((_, Some(data)))) = old.fetch(&name) {
                        visit(self, name, data)?;
                    }
                }
            }
        }
        self.old = Some(old);
        self.commit()
    }

    /// Puts the new index in the place of the old one, which stays beside it under the name that is
    /// returned.
    pub(crate) fn finish(mut self) -> Result<Option<String>, StoreError> {
        self.commit()?;
        let (place, fs) = (self.place(), self.fs.clone());
        let failed =
            |error: std::io::Error| StoreError::io(format!("the store in {place}"), &error);
        self.old = None;
        if let Some(new) = self.new.take() {
            new.close()?;
        }
        let index = self.dir.join("index.redb");
        let mut kept = None;
        if fs.exists(&index).map_err(failed)? {
            let name = format!("index.{}.damaged", crate::blob::hex(&stc::random::bytes::<4>()?));
            fs.rename(&index, &self.dir.join(&name)).map_err(failed)?;
            kept = Some(name);
        }
        fs.rename(&self.dir.join("tmp").join("index.redb"), &index).map_err(failed)?;
        fs.sync_dir(&self.dir).map_err(failed)?;
        Ok(kept)
    }

    fn index(&self) -> Result<&Index, StoreError> {
        let over = || StoreError::Closed { item: "the new index".to_owned() };
        self.new.as_ref().ok_or_else(over)
    }
}

/// Name and tail of a file whose name is as we give them.
fn parts(path: &Path) -> Option<(BlobName, [u8; 4])> {
    let (name, tail) = path.file_name()?.to_str()?.split_once('.')?;
    Some((BlobName::from_hex(name)?, unhex(tail)?.try_into().ok()?))
}
