//! The 256 directories below `files`, among which the files are spread.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
    durable: [AtomicBool; 256],
}

impl Shards {
    pub(super) const fn new(files: PathBuf) -> Self {
        Self { files, durable: [const { AtomicBool::new(false) }; 256] }
    }

    pub(super) fn path(&self, shard: u8) -> PathBuf {
        self.files.join(hex(&[shard]))
    }

    /// Makes all of them, so that no file has to wait for its directory.
    pub(super) fn create_all(&self, fs: &Arc<dyn Fs>) -> io::Result<()> {
        let all: Vec<_> = (0..=u8::MAX).map(|shard| self.path(shard)).collect();
        fs.create_dirs(&all)?;
        fs.sync_dir(&self.files)?;
        self.durable.iter().for_each(|durable| durable.store(true, Ordering::SeqCst));
        Ok(())
    }

    /// Makes the name of `shard` durable, and those of all others that are there.
    pub(super) fn make_durable(&self, fs: &Arc<dyn Fs>, shard: u8) -> io::Result<()> {
        let flag = |shard: u8| self.durable.get(usize::from(shard));
        if flag(shard).is_some_and(|durable| durable.load(Ordering::SeqCst)) {
            return Ok(());
        }
        // In this order: only what was there before the sync is durable after it.
        let present = fs.list(&self.files)?;
        fs.sync_dir(&self.files)?;
        for durable in present.iter().filter_map(|path| flag(shard_at(path)?)) {
            durable.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Which of them is at `path`, if it is one.
pub(super) fn shard_at(path: &Path) -> Option<u8> {
    let name = path.file_name()?.to_str()?;
    u8::from_str_radix(name, 16).ok().filter(|shard| hex(&[*shard]) == name)
}
