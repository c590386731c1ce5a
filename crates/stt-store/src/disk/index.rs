//! The index: which blobs there are, where their bytes are, and the bytes of the small ones.

use std::{
    collections::BTreeMap,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};
use stc::Cause;

use super::{
    fs::Fs,
    index_file::{Failures, IndexFile, Overlay},
    location::Location,
};
use crate::{BlobName, BlobStat, Damage, DamagedPart, KindUsage, StoreError};

/// Name to [`Location`]. Apart from the bytes, so that listing does not read them.
const BLOBS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("blobs");
/// Name to the bytes of a small blob.
const SMALL: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("small");
/// Kind to blobs, bytes, and bytes in [`SMALL`].
const TOTALS: TableDefinition<'_, u8, (u64, u64, u64)> = TableDefinition::new("totals");
/// `format` to the version of all of this.
const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");

/// Version of the tables and of the directory around them.
const FORMAT: u32 = 1;
/// Memory for pages of the index, in bytes.
const CACHE: usize = 64 << 20;
/// Bytes of the reserve: many times the pages that one removal changes.
const RESERVE: usize = 1 << 20;
/// What messages call it.
const ITEM: &str = "the index";

/// One change of the index.
#[derive(Clone, Debug)]
pub(super) enum Change {
    PutSmall { name: BlobName, data: Bytes },
    PutFile { name: BlobName, len: u64, tail: [u8; 4] },
    Delete { name: BlobName },
}

/// A file that no row points to any more.
pub(super) type Unused = (BlobName, [u8; 4]);

/// What is stored, and how.
pub(super) struct Totals {
    pub(super) kinds: Vec<KindUsage>,
    pub(super) small_bytes: u64,
}

#[derive(Debug)]
enum State {
    Writable(Database),
    /// The disk takes no writes: reads go on, with repairs held in memory.
    ReadOnly(Database),
    /// Not even that worked; the next call tries again.
    Closed,
}

pub(super) struct Index {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// Given up when the disk is full, so that something can be removed.
    reserve: PathBuf,
    /// Nothing may be changed, whatever the system would let us do.
    reading: bool,
    failures: Arc<Failures>,
    state: RwLock<State>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Index {
    /// Makes a new, empty index file.
    pub(super) fn create(fs: &Arc<dyn Fs>, path: &Path) -> Result<(), StoreError> {
        let file = fs.create_new(path).map_err(|error| failed(&error))?;
        let failures = Arc::new(Failures::default());
        let made = guarded(|| {
            let db = database(IndexFile { file, failures: failures.clone() })?;
            let txn = db.begin_write()?;
            txn.open_table(BLOBS)?;
            txn.open_table(SMALL)?;
            txn.open_table(TOTALS)?;
            txn.open_table(META)?.insert("format", FORMAT)?;
            txn.commit()?;
            Ok(())
        });
        made?;
        // Closing writes and syncs once more, and swallows errors.
        if let Some(error) = failures.first() {
            return Err(failed(&error));
        }
        Ok(())
    }

    /// Opens the index, for `reading` only or for all. Where the system refuses to open it for
    /// writing it can be read.
    pub(super) fn open(
        fs: Arc<dyn Fs>,
        path: PathBuf,
        reading: bool,
        place: &str,
    ) -> Result<Self, StoreError> {
        let index = Self::open_at(fs, path, reading, place)?;
        if !index.reading {
            index.set_aside();
        }
        Ok(index)
    }

    /// Opens an index that is being made, beside the one of the store.
    pub(super) fn open_new(
        fs: Arc<dyn Fs>,
        path: PathBuf,
        place: &str,
    ) -> Result<Self, StoreError> {
        Self::open_at(fs, path, false, place)
    }

    /// Closes it, and tells whether all of it is durable.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let failures = self.failures.clone();
        // Closing writes and syncs once more, and swallows errors.
        drop(self);
        failures.first().map_or(Ok(()), |error| Err(failed(&error)))
    }

    fn open_at(
        fs: Arc<dyn Fs>,
        path: PathBuf,
        reading: bool,
        place: &str,
    ) -> Result<Self, StoreError> {
        let reserve = path.with_file_name("reserve");
        let (failures, state) = (Arc::default(), RwLock::new(State::Closed));
        let mut index = Self { fs, path, reserve, reading, failures, state };
        let opened = if reading { index.open_overlay() } else { index.open_writable() };
        let db = match opened {
            Err(StoreError::ReadOnly { .. } | StoreError::Permission { .. }) if !reading => {
                index.reading = true;
                index.open_overlay()?
            }
            opened => opened?,
        };
        let found = guarded(|| {
            let txn = db.begin_read()?;
            Ok(txn.open_table(META)?.get("format")?.map(|row| row.value()))
        })?;
        match found {
            Some(FORMAT) => {}
            Some(found) => {
                let place = place.to_owned();
                return Err(StoreError::Version { place, found, known: FORMAT });
            }
            None => return Err(damaged(Damage::Missing(DamagedPart::Version))),
        }
        index.set(if index.reading { State::ReadOnly(db) } else { State::Writable(db) });
        Ok(index)
    }

    /// Keeps some space for the removal of something from a full disk. Without, it is as it is.
    fn set_aside(&self) {
        if let Ok(false) = self.fs.exists(&self.reserve) {
            let _ = self.fs.set_aside(&self.reserve, RESERVE);
        }
    }

    /// Whether the store was opened for reading only.
    pub(super) const fn is_reading(&self) -> bool {
        self.reading
    }

    pub(super) fn get(&self, name: &BlobName) -> Result<Option<Location>, StoreError> {
        self.read(|txn| location(&txn.open_table(BLOBS)?, name))
    }

    /// Where `name` is, with its bytes if they are in the index.
    pub(super) fn fetch(
        &self,
        name: &BlobName,
    ) -> Result<Option<(Location, Option<Bytes>)>, StoreError> {
        self.read(|txn| {
            let Some(found) = location(&txn.open_table(BLOBS)?, name)? else { return Ok(None) };
            let bytes = match found {
                Location::Inline { .. } => {
                    let table = txn.open_table(SMALL)?;
                    let row = table.get(name.as_bytes())?;
                    row.map(|row| Bytes::copy_from_slice(row.value()))
                }
                Location::File { .. } => None,
            };
            Ok(Some((found, bytes)))
        })
    }

    pub(super) fn list(
        &self,
        prefix: &[u8],
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<Vec<(BlobName, BlobStat)>, StoreError> {
        let rows = self.locations(prefix, after, limit)?;
        Ok(rows.into_iter().map(|(name, location)| (name, location.stat())).collect())
    }

    pub(super) fn locations(
        &self,
        prefix: &[u8],
        after: Option<&BlobName>,
        limit: usize,
    ) -> Result<Vec<(BlobName, Location)>, StoreError> {
        let from = match after {
            Some(after) if after.as_bytes() >= prefix => Bound::Excluded(after.as_bytes()),
            _ => Bound::Included(prefix),
        };
        self.read(|txn| {
            let table = txn.open_table(BLOBS)?;
            let mut page = Vec::new();
            for row in table.range::<&[u8]>((from, Bound::Unbounded))?.take(limit) {
                let (key, value) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                let name = BlobName::new(&[key.value()]).ok();
                let row = name.zip(Location::decode(value.value()));
                page.push(row.ok_or_else(|| corrupted("a row cannot be read"))?);
            }
            Ok(page)
        })
    }

    pub(super) fn totals(&self) -> Result<Totals, StoreError> {
        self.read(|txn| {
            let mut totals = Totals { kinds: Vec::new(), small_bytes: 0 };
            for row in txn.open_table(TOTALS)?.iter()? {
                let (kind, value) = row?;
                let (blobs, bytes, small) = value.value();
                if blobs > 0 {
                    totals.kinds.push(KindUsage { kind: kind.value(), blobs, bytes });
                }
                totals.small_bytes = totals.small_bytes.saturating_add(small);
            }
            Ok(totals)
        })
    }

    /// Bytes of the index file.
    pub(super) fn file_len(&self) -> Result<u64, StoreError> {
        let file = self.fs.open(&self.path, false);
        file.and_then(|file| file.len()).map_err(|error| failed(&error))
    }

    /// Makes `changes` durable in one transaction, and returns the files that are now unused.
    /// Removing takes a few new pages; a full disk gets the reserve for them.
    pub(super) fn commit(&self, changes: &[Change]) -> Result<Vec<Unused>, StoreError> {
        let done = self.try_commit(changes);
        let removes = || changes.iter().all(|change| matches!(change, Change::Delete { .. }));
        match done {
            Err(StoreError::DiskFull { .. })
                if removes() && self.fs.remove(&self.reserve).is_ok() =>
            {
                self.try_commit(changes)
            }
            done => done,
        }
    }

    fn try_commit(&self, changes: &[Change]) -> Result<Vec<Unused>, StoreError> {
        self.make_writable()?;
        let done = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let State::Writable(db) = &*state else { return Err(self.refusal()) };
            guarded(|| commit(db, changes))
        };
        if done.is_err() {
            // redb latches the first failure; only opening anew gets past it.
            self.reopen();
            self.check_synced()?;
        }
        done
    }

    /// Verifies the checksums of all pages. Nothing else can be done meanwhile.
    pub(super) fn check(&self) -> Result<Option<StoreError>, StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Writable(db) | State::ReadOnly(db) => {
                let found = guarded(|| Ok(db.check_integrity()?));
                Ok(match found {
                    Ok(true) => None,
                    Ok(false) => Some(damaged(Damage::Malformed(DamagedPart::FreeSpace))),
                    Err(error) => Some(error),
                })
            }
            State::Closed => Err(self.refusal()),
        }
    }

    fn read<T>(
        &self,
        read: impl Fn(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        for attempt in 0..2 {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                State::Writable(db) | State::ReadOnly(db) => {
                    return guarded(|| read(&db.begin_read()?));
                }
                State::Closed if attempt == 0 => {
                    drop(state);
                    self.reopen();
                }
                State::Closed => break,
            }
        }
        Err(self.refusal())
    }

    /// Refuses what must not be done to a store that is only read, or after a failed sync.
    pub(super) fn check_synced(&self) -> Result<(), StoreError> {
        if self.reading {
            return Err(StoreError::ReadOnly { item: ITEM.to_owned() });
        }
        if self.failures.sync_failed() {
            return Err(StoreError::SyncFailed { item: ITEM.to_owned() });
        }
        Ok(())
    }

    fn make_writable(&self) -> Result<(), StoreError> {
        self.check_synced()?;
        let writable = matches!(
            &*self.state.read().unwrap_or_else(PoisonError::into_inner),
            State::Writable(_)
        );
        if writable {
            return Ok(());
        }
        // The reason why it cannot be written to is the answer to the caller.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State::Closed;
        match self.open_writable() {
            Ok(db) => {
                *state = State::Writable(db);
                Ok(())
            }
            Err(error) => {
                if let Ok(db) = self.open_overlay() {
                    *state = State::ReadOnly(db);
                }
                Err(error)
            }
        }
    }

    fn reopen(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // The old one has to be gone before the file is opened again.
        *state = State::Closed;
        let never = self.reading || self.failures.sync_failed();
        let writable = if never { None } else { self.open_writable().ok() };
        *state = match writable {
            Some(db) => State::Writable(db),
            None => self.open_overlay().map_or(State::Closed, State::ReadOnly),
        };
    }

    fn set(&self, new: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn open_writable(&self) -> Result<Database, StoreError> {
        let file = self.open_file(true)?;
        guarded(|| database(IndexFile { file, failures: self.failures.clone() }))
    }

    fn open_overlay(&self) -> Result<Database, StoreError> {
        let file = self.open_file(false)?;
        guarded(|| database(Overlay::new(file)?))
    }

    fn open_file(&self, write: bool) -> Result<Arc<dyn super::fs::RawFile>, StoreError> {
        let file = self.fs.open(&self.path, write);
        let file = file.map_err(|error| match error.kind() {
            // The format file is written last: if it is there, so was the index.
            std::io::ErrorKind::NotFound => damaged(Damage::Missing(DamagedPart::Whole)),
            _ => failed(&error),
        })?;
        // redb would make a new database of an empty file.
        match file.len() {
            Ok(0) => Err(damaged(Damage::TooShort(DamagedPart::Whole))),
            Ok(_) => Ok(file),
            Err(error) => Err(failed(&error)),
        }
    }

    fn refusal(&self) -> StoreError {
        let item = ITEM.to_owned();
        if self.failures.sync_failed() {
            StoreError::SyncFailed { item }
        } else {
            StoreError::Io {
                item,
                cause: Cause::text("it could not be opened again after a failure"),
            }
        }
    }
}

fn database(backend: impl StorageBackend) -> Result<Database, redb::Error> {
    Ok(Database::builder().set_cache_size(CACHE).create_with_backend(backend)?)
}

/// An error of the file.
fn failed(error: &std::io::Error) -> StoreError {
    StoreError::io(ITEM, error).of_index()
}

fn damaged(damage: Damage) -> StoreError {
    StoreError::IndexDamaged { item: ITEM.to_owned(), damage }
}

/// Runs `work`; a panic inside of the database library, as damage to its file can cause, becomes
/// an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(redb::Error::Io(error))) => Err(failed(&error)),
        Ok(Err(redb::Error::Corrupted(what))) => Err(damaged(Damage::Reported(Cause::text(what)))),
        Ok(Err(error @ (redb::Error::TableDoesNotExist(_) | redb::Error::UpgradeRequired(_)))) => {
            Err(damaged(Damage::Reported(error.into())))
        }
        Ok(Err(error)) => Err(StoreError::Io { item: ITEM.to_owned(), cause: error.into() }),
        Err(_) => Err(damaged(Damage::Malformed(DamagedPart::Whole))),
    }
}

fn corrupted(what: &str) -> redb::Error {
    redb::Error::Corrupted(what.to_owned())
}

fn location(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    name: &BlobName,
) -> Result<Option<Location>, redb::Error> {
    let Some(row) = table.get(name.as_bytes())? else { return Ok(None) };
    let location = Location::decode(row.value());
    location.map(Some).ok_or_else(|| corrupted("a row cannot be read"))
}

fn commit(db: &Database, changes: &[Change]) -> Result<Vec<Unused>, redb::Error> {
    let mut unused = Vec::new();
    let mut deltas: BTreeMap<u8, [i128; 3]> = BTreeMap::new();
    let txn = db.begin_write()?;
    {
        let mut blobs = txn.open_table(BLOBS)?;
        let mut small = txn.open_table(SMALL)?;
        for change in changes {
            let (name, new) = match change {
                Change::PutSmall { name, data } => {
                    small.insert(name.as_bytes(), &**data)?;
                    (name, Some(Location::Inline { len: data.len() as u64 }))
                }
                Change::PutFile { name, len, tail } => {
                    (name, Some(Location::File { len: *len, tail: *tail }))
                }
                Change::Delete { name } => (name, None),
            };
            let old = match new {
                Some(new) => blobs.insert(name.as_bytes(), &*new.encode())?,
                None => blobs.remove(name.as_bytes())?,
            };
            let old = match old {
                Some(row) => Some(
                    Location::decode(row.value())
                        .ok_or_else(|| corrupted("a row cannot be read"))?,
                ),
                None => None,
            };
            match old {
                Some(Location::Inline { .. }) if !matches!(new, Some(Location::Inline { .. })) => {
                    small.remove(name.as_bytes())?;
                }
                Some(Location::File { tail, .. }) => unused.push((*name, tail)),
                _ => {}
            }
            let row = deltas.entry(name.kind()).or_default();
            for (location, sign) in [(old, -1), (new, 1)] {
                add(row, location, sign);
            }
        }
        let mut totals = txn.open_table(TOTALS)?;
        for (kind, [blobs, bytes, small]) in deltas {
            let old = totals.get(kind)?.map_or((0, 0, 0), |row| row.value());
            let moved = |old: u64, by: i128| {
                u64::try_from(i128::from(old) + by).map_err(|_| corrupted("the totals are wrong"))
            };
            let new = (moved(old.0, blobs)?, moved(old.1, bytes)?, moved(old.2, small)?);
            totals.insert(kind, new)?;
        }
    }
    txn.commit()?;
    Ok(unused)
}

fn add(row: &mut [i128; 3], location: Option<Location>, sign: i128) {
    let Some(location) = location else { return };
    let [blobs, bytes, small] = row;
    *blobs += sign;
    *bytes += sign * i128::from(location.len());
    if let Location::Inline { len } = location {
        *small += sign * i128::from(len);
    }
}
