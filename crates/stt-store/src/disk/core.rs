//! The directory of a store, and the files in it. Everything here blocks.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    fs::{Fs, RawFile},
    index::{Index, Unused},
    location::Location,
    lock::Lock,
    place,
    shards::{Shards, shard_at, shard_of},
};
use crate::{BlobName, Damage, DamagedPart, StoreError, Swept, blob::hex};

/// Paths being written, which a sweep must leave alone.
type InFlight = Mutex<HashSet<PathBuf>>;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) index: Arc<Index>,
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    in_flight: Arc<InFlight>,
    shards: Shards,
    _lock: Lock,
}

/// Where the bytes of a blob turned out to be.
pub(super) enum Found {
    Bytes(Bytes),
    /// A file, its length, and its last bytes, where a reader looks first.
    File(Arc<dyn RawFile>, u64, Vec<u8>),
}

/// Bytes at the end of a file that are read when it is opened.
const TAIL: u64 = 256;

/// Pieces of a file from here on are given to the disk while the next one is made; shorter ones
/// wait for the sync.
const BEGIN_SYNC: usize = 128 << 10;

/// Bytes that a file waits with, so that its end costs no way to another thread.
const HOLD: usize = 16 << 10;

impl Core {
    /// Opens the store, for `reading` only or for all.
    pub(super) fn open(fs: Arc<dyn Fs>, dir: &Path, reading: bool) -> Result<Self, StoreError> {
        if reading {
            return Self::open_for_reading(fs, dir);
        }
        match Self::open_for_all(fs.clone(), dir) {
            // A store that is there can be read where the system lets nobody write.
            Err(refused @ (StoreError::ReadOnly { .. } | StoreError::Permission { .. })) => {
                Self::open_for_reading(fs, dir).map_err(|error| match error {
                    StoreError::InUse { .. } => error,
                    _ => refused,
                })
            }
            opened => opened,
        }
    }

    /// Opens a store that is there, and changes nothing.
    fn open_for_reading(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, StoreError> {
        let place = dir.display().to_string();
        let failed =
            |error: std::io::Error| StoreError::io(format!("the store in {place}"), &error);
        place::check(&fs, dir)?;
        if !fs.exists(&dir.join("format")).map_err(failed)? {
            return Err(StoreError::NotFound { item: format!("a store in {place}") });
        }
        let lock = Lock::share(&fs, dir)?;
        let index = Arc::new(Index::open(fs.clone(), dir.join("index.redb"), true, &place)?);
        let (shards, dir) = (Shards::new(dir.join("files")), dir.to_owned());
        Ok(Self { index, fs, dir, in_flight: Arc::default(), shards, _lock: lock })
    }

    fn open_for_all(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, StoreError> {
        let place = dir.display().to_string();
        let failed =
            |error: std::io::Error| StoreError::io(format!("the store in {place}"), &error);
        let (index_path, format_path) = (dir.join("index.redb"), dir.join("format"));
        // Before anything is made or removed: the directory may be somebody else's.
        place::check(&fs, dir)?;
        fs.create_dirs(&["tmp", "files"].map(|part| dir.join(part))).map_err(failed)?;
        let lock = Lock::take(&fs, dir)?;
        let has_format = fs.exists(&format_path).map_err(failed)?;
        if !has_format {
            // Half-made, and in the way of what is made now.
            remove_leftovers(&fs, dir).map_err(failed)?;
        }
        let shards = Shards::new(dir.join("files"));
        if !fs.exists(&index_path).map_err(failed)? {
            // The format file is written last: if it is there, so was the index.
            if has_format {
                return Err(StoreError::IndexDamaged {
                    item: format!("the index of {place}"),
                    damage: Damage::Missing(DamagedPart::Whole),
                });
            }
            let new = dir.join("tmp").join("index.redb");
            Index::create(&fs, &new)?;
            fs.rename(&new, &index_path).map_err(failed)?;
            fs.sync_dir(dir).map_err(failed)?;
        }
        if !has_format {
            shards.create_all(&fs).map_err(failed)?;
            // Before the format file, which says that all of this was done.
            for parent in stc_durable::folders(dir) {
                match fs.sync_dir(parent) {
                    // Somebody else's, such as `/home`: it was there long before.
                    Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => break,
                    synced => synced.map_err(failed)?,
                }
            }
            let new = dir.join("tmp").join("format");
            let file = fs.create_new(&new).map_err(failed)?;
            file.write_at(0, place::FORMAT).and_then(|()| file.sync()).map_err(failed)?;
            fs.rename(&new, &format_path).map_err(failed)?;
            fs.sync_dir(dir).map_err(failed)?;
        }
        let index = Arc::new(Index::open(fs.clone(), index_path, false, &place)?);
        if has_format && !index.is_reading() {
            // Only now is it sure that this is a store of ours.
            remove_leftovers(&fs, dir).map_err(failed)?;
        }
        Ok(Self { index, fs, dir: dir.to_owned(), in_flight: Arc::default(), shards, _lock: lock })
    }

    pub(super) fn place(&self) -> String {
        self.dir.display().to_string()
    }

    /// Finds the bytes of `name`.
    pub(super) fn find(&self, name: &BlobName) -> Result<Found, StoreError> {
        let item = || format!("blob {name}");
        let mut seen = None;
        loop {
            let found = self.index.fetch(name)?;
            let (location, bytes) = found.ok_or_else(|| StoreError::NotFound { item: item() })?;
            let Location::File { len, tail } = location else {
                let bytes = bytes.filter(|bytes| bytes.len() as u64 == location.len());
                return bytes.map(Found::Bytes).ok_or_else(|| {
                    StoreError::damaged(item(), Damage::Missing(DamagedPart::Bytes))
                });
            };
            match self.fs.open(&self.file_path(name, tail), false) {
                Ok(file) => {
                    let have = file.len().map_err(|error| StoreError::io(item(), &error))?;
                    if have != len {
                        let part = DamagedPart::File;
                        let damage = Damage::Length { part, have, expected: len };
                        return Err(StoreError::damaged(item(), damage));
                    }
                    let tail_len = len.min(TAIL);
                    let mut tail = vec![0; usize::try_from(tail_len).unwrap_or_default()];
                    let read = file.read_at(len - tail_len, &mut tail);
                    read.map_err(|error| StoreError::io(item(), &error))?;
                    return Ok(Found::File(file, len, tail));
                }
                // It may have been replaced since the index was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if seen == Some(location) {
                        return Err(StoreError::damaged(
                            item(),
                            Damage::Missing(DamagedPart::File),
                        ));
                    }
                    seen = Some(location);
                }
                Err(error) => return Err(StoreError::io(item(), &error)),
            }
        }
    }

    /// Begins a file.
    pub(super) fn create(&self) -> Result<FileWriter, StoreError> {
        self.index.check_synced()?;
        let name = hex(&stc::random::bytes::<16>()?);
        let path = self.dir.join("tmp").join(name);
        let pending = PendingFile::register(self, path);
        let file = self.fs.create_new(&pending.path);
        let file = file.map_err(|error| StoreError::io("a new file", &error))?;
        Ok(FileWriter { file, len: 0, held: Vec::new(), pending })
    }

    /// Makes what was written durable under its final name. The index does not point to it yet.
    pub(super) fn finish(
        &self,
        mut writer: FileWriter,
        name: &BlobName,
    ) -> Result<(PendingFile, u64, [u8; 4]), StoreError> {
        writer.flush()?;
        let failed = |error: std::io::Error| StoreError::io(format!("blob {name}"), &error);
        let FileWriter { file, len, pending, .. } = writer;
        let tail = stc::random::bytes()?;
        let mut moved = PendingFile::register(self, self.file_path(name, tail));
        moved.row = Some((*name, Location::File { len, tail }));
        let shard = shard_of(name);
        if let Err(error) = self.fs.rename(&pending.path, &moved.path) {
            if error.kind() != std::io::ErrorKind::NotFound {
                return Err(failed(error));
            }
            self.shards.create(&self.fs, shard).map_err(failed)?;
            self.fs.rename(&pending.path, &moved.path).map_err(failed)?;
        }
        // In this order: journaling file systems make the new names durable along with the
        // contents, so that the syncs after the first find little to do.
        file.sync().map_err(failed)?;
        self.fs.sync_dir(&self.shards.path(shard)).map_err(failed)?;
        self.shards.make_durable(&self.fs, shard).map_err(failed)?;
        Ok((moved, len, tail))
    }

    /// Removes files that no row points to. A failure leaves them to the next sweep.
    pub(super) fn remove_unused(&self, unused: Vec<Unused>) {
        for (name, tail) in unused {
            let _ = self.fs.remove(&self.file_path(&name, tail));
        }
    }

    pub(super) fn sweep(&self, dry_run: bool) -> Result<Swept, StoreError> {
        let failed = |error: std::io::Error| {
            StoreError::io(format!("the store in {}", self.place()), &error)
        };
        let mut swept = Swept::default();
        let mut leftovers = place::leftovers(&self.fs, &self.dir).map_err(failed)?;
        leftovers.retain(|path| !lock(&self.in_flight).contains(path));
        let shards = self.fs.list(&self.shards.files).map_err(failed)?;
        // What else is there, somebody put there.
        for shard in shards.into_iter().filter(|path| shard_at(path).is_some()) {
            for path in self.fs.list(&shard).map_err(failed)? {
                // In this order: a path leaves the set only after its row is in the index.
                if !lock(&self.in_flight).contains(&path) && !self.is_used(&path)? {
                    leftovers.push(path);
                }
            }
        }
        if !dry_run {
            // After a failed sync the index shows what may not be durable: after a loss of power a
            // row that is gone may be back, and needs its file. In this order: whoever looked into
            // such an index is refused here.
            self.index.check_synced()?;
        }
        for path in leftovers {
            let Ok(len) = self.fs.open(&path, false).and_then(|file| file.len()) else { continue };
            if !dry_run {
                match self.fs.remove(&path) {
                    // Replaced a moment ago, and removed by the thread that commits.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    removed => removed.map_err(failed)?,
                }
            }
            swept.files += 1;
            swept.bytes += len;
        }
        Ok(swept)
    }

    /// Whether a row of the index points to `path`. Files with other names than ours count as
    /// used: somebody put them there.
    fn is_used(&self, path: &Path) -> Result<bool, StoreError> {
        let parts = path.file_name().and_then(|name| name.to_str()?.split_once('.'));
        let Some((name, tail)) = parts else { return Ok(true) };
        let Some(name) = BlobName::from_hex(name) else { return Ok(true) };
        Ok(match self.index.get(&name)? {
            Some(Location::File { tail: used, .. }) => hex(&used) == tail,
            Some(Location::Inline { .. }) | None => tail.len() != 8,
        })
    }

    fn file_path(&self, name: &BlobName, tail: [u8; 4]) -> PathBuf {
        let file = format!("{name}.{}", hex(&tail));
        self.shards.path(shard_of(name)).join(file)
    }
}

fn remove_leftovers(fs: &Arc<dyn Fs>, dir: &Path) -> std::io::Result<()> {
    place::leftovers(fs, dir)?.iter().try_for_each(|path| fs.remove(path))
}

fn lock(in_flight: &InFlight) -> MutexGuard<'_, HashSet<PathBuf>> {
    in_flight.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file being written.
#[derive(Debug)]
pub(super) struct FileWriter {
    file: Arc<dyn RawFile>,
    len: u64,
    /// What follows, not written yet.
    held: Vec<u8>,
    pending: PendingFile,
}

impl FileWriter {
    /// Takes `data` without touching the disk if it is little, such as the end of a value, and says
    /// whether it did. It is written with what follows, or when the file is finished.
    pub(super) fn hold(&mut self, data: &[u8]) -> bool {
        let little = self.held.len() + data.len() <= HOLD;
        if little {
            self.held.extend_from_slice(data);
        }
        little
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() { Ok(()) } else { self.append(&held) }
    }

    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.flush()?;
        self.append(data)
    }

    fn append(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_at(self.len, data);
        written.map_err(|error| StoreError::io("a new file", &error))?;
        if data.len() >= BEGIN_SYNC {
            self.file.begin_sync(self.len, data.len() as u64);
        }
        self.len += data.len() as u64;
        Ok(())
    }
}

/// A file to which the index does not point yet: removed when dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct PendingFile {
    fs: Arc<dyn Fs>,
    in_flight: Arc<InFlight>,
    path: PathBuf,
    row: Option<(BlobName, Location)>,
    keep: bool,
}

impl PendingFile {
    fn register(core: &Core, path: PathBuf) -> Self {
        lock(&core.in_flight).insert(path.clone());
        let (fs, in_flight) = (core.fs.clone(), core.in_flight.clone());
        Self { fs, in_flight, path, row: None, keep: false }
    }

    /// The index points to it.
    pub(super) fn keep(mut self) {
        self.keep = true;
    }

    /// The commit reported a failure. It may have taken effect all the same, so the index decides;
    /// if that cannot be read, a later sweep will.
    pub(super) fn settle(mut self, index: &Index) {
        self.keep = match &self.row {
            Some((name, location)) => index.get(name).map_or(true, |row| row == Some(*location)),
            None => false,
        };
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.keep {
            // Mostly it is not there any more, because it was renamed.
            let _ = self.fs.remove(&self.path);
        }
        lock(&self.in_flight).remove(&self.path);
    }
}
