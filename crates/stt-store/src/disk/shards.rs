//! The 256 directories below `files`, among which the files are spread.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::fs::Fs;
use crate::{BlobName, blob::hex};

/// Which of them is its: the first byte of a name is the kind, the second as good as random.
pub(super) fn shard_of(name: &BlobName) -> u8 {
    name.as_bytes().get(1).copied().unwrap_or_default()
}

#[derive(Debug)]
pub(super) struct Shards {
    pub(super) files: PathBuf,
    /// Whose names this process knows to be durable. An earlier one may have been killed before it
    /// had synced them.
    durable: Mutex<[bool; 256]>,
}

impl Shards {
    pub(super) const fn new(files: PathBuf) -> Self {
        Self { files, durable: Mutex::new([false; 256]) }
    }

    pub(super) fn path(&self, shard: u8) -> PathBuf {
        self.files.join(hex(&[shard]))
    }

    /// Makes all of them, so that no file has to wait for its directory.
    pub(super) fn create_all(&self, fs: &Arc<dyn Fs>) -> io::Result<()> {
        let all: Vec<_> = (0..=u8::MAX).map(|shard| self.path(shard)).collect();
        fs.create_dirs(&all)?;
        fs.sync_dir(&self.files)?;
        *self.durable() = [true; 256];
        Ok(())
    }

    /// Makes `shard` again, which is missing: its new name is not durable. Stores of the first
    /// version made directories when they were needed, and some programs remove empty ones.
    pub(super) fn create(&self, fs: &Arc<dyn Fs>, shard: u8) -> io::Result<()> {
        let mut durable = self.durable();
        // Before it is there, and under the lock: whoever finds it there syncs its name.
        if let Some(durable) = durable.get_mut(usize::from(shard)) {
            *durable = false;
        }
        fs.create_dirs(&[self.path(shard)])
    }

    /// Makes the name of `shard` durable, and those of all others that are there.
    pub(super) fn make_durable(&self, fs: &Arc<dyn Fs>, shard: u8) -> io::Result<()> {
        let mut durable = self.durable();
        if durable.get(usize::from(shard)) == Some(&true) {
            return Ok(());
        }
        // In this order: only what was there before the sync is durable after it.
        let present = fs.list(&self.files)?;
        fs.sync_dir(&self.files)?;
        // `files` itself may have been made again.
        self.files.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))?;
        for shard in present.iter().filter_map(|path| shard_at(path)) {
            if let Some(durable) = durable.get_mut(usize::from(shard)) {
                *durable = true;
            }
        }
        Ok(())
    }

    fn durable(&self) -> MutexGuard<'_, [bool; 256]> {
        // Nothing below stops half-way.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of them is at `path`, if it is one.
pub(super) fn shard_at(path: &Path) -> Option<u8> {
    let name = path.file_name()?.to_str()?;
    u8::from_str_radix(name, 16).ok().filter(|shard| hex(&[*shard]) == name)
}
