//! The unfinished file: the content, and behind it the hashes that prove what is there of it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use bao_tree::{
    BaoTree, ChunkRanges,
    io::{
        outboard::PreOrderOutboard,
        sync::{OutboardMut, WriteAt, valid_ranges},
    },
};
use blake3::Hash;
use same_file::Handle;
use tempfile::TempPath;

use super::{GROUP, plan::Groups, region::Region, verify::Group, wire::group_bytes};
use crate::ContentError;

/// Times that another fetch may finish the file just before it is locked.
const ATTEMPTS: usize = 8;
/// Bytes hashed at once.
const BLOCK: usize = 1 << 20;

/// A content that is being fetched, locked against other fetches.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    root: Hash,
    size: u64,
}

/// Where a content is put.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    /// Its name there.
    pub(super) name: String,
}

impl Partial {
    /// Opens what an earlier attempt left, or begins.
    pub(super) fn open(place: &Place, root: Hash, size: u64) -> Result<Self, ContentError> {
        let target = place.dir.join(&place.name);
        // The same for the same content only.
        let hex = root.to_hex();
        let path = place.dir.join(format!(".stt-{}.fetch", hex.get(..32).unwrap_or_default()));
        for _ in 0..ATTEMPTS {
            if fs::symlink_metadata(&target).is_ok() {
                return Err(ContentError::Exists { path: target });
            }
            if let Some(file) = lock(&path, &place.name)? {
                return Ok(Self { file, path, target, root, size });
            }
        }
        // Others finish or give up the same content again and again.
        Err(ContentError::Busy { name: place.name.clone() })
    }

    /// Bytes of the content.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    fn tree(&self) -> BaoTree {
        BaoTree::new(self.size, GROUP)
    }

    fn outboard(&self) -> PreOrderOutboard<Region<&File>> {
        let data = Region { file: &self.file, at: self.size };
        PreOrderOutboard { root: self.root, tree: self.tree(), data }
    }

    /// Which groups are not there, or not as they should be. Hashes all that is there.
    pub(super) fn missing(&self) -> Result<Groups, ContentError> {
        let failed = |error| ContentError::file("read", &self.path, error);
        let all = Groups::from(0..self.size.div_ceil(group_bytes()));
        let length = self.file.metadata().map_err(failed)?.len();
        // It was complete, and lacked only its name.
        if length == self.size && hash_of(&self.file).map_err(failed)? == self.root {
            return Ok(Groups::empty());
        }
        let wanted = self.size.saturating_add(self.tree().outboard_size());
        if length != wanted {
            self.file.set_len(wanted).map_err(|error| self.failed_writing(error))?;
        }
        let mut there = Groups::empty();
        let chunks = 1 << GROUP.chunk_log();
        for range in valid_ranges(self.outboard(), &self.file, &ChunkRanges::all()) {
            let range = range.map_err(failed)?;
            // The last group may be shorter.
            there |= Groups::from(range.start.0 / chunks..range.end.0.div_ceil(chunks));
        }
        Ok(all - there)
    }

    /// Writes a verified group and what proves it.
    pub(super) fn write(&self, group: &Group) -> Result<(), ContentError> {
        let write = || {
            let mut outboard = self.outboard();
            for (node, pair) in &group.parents {
                outboard.save(*node, pair)?;
            }
            let mut content = Region { file: &self.file, at: 0 };
            content.write_all_at(group.start, &group.data)
        };
        write().map_err(|error| self.failed_writing(error))
    }

    /// Gives the complete content its name.
    pub(super) fn finish(self) -> Result<PathBuf, ContentError> {
        let write = || {
            self.file.set_len(self.size)?;
            self.file.sync_all()
        };
        write().map_err(|error| self.failed_writing(error))?;
        let temporary = TempPath::try_from_path(&self.path)
            .map_err(|error| ContentError::file("name", &self.target, error))?;
        if let Err(refused) = temporary.persist_noclobber(&self.target) {
            // What arrived stays.
            let _ = refused.path.keep();
            return Err(ContentError::file("name", &self.target, refused.error));
        }
        // So that the name survives a power cut, where directories can be synced.
        if let Some(dir) = self.target.parent().and_then(|dir| File::open(dir).ok()) {
            let _ = dir.sync_all();
        }
        Ok(self.target)
    }

    fn failed_writing(&self, error: io::Error) -> ContentError {
        ContentError::file("write", &self.path, error)
    }
}

/// The hash of a whole file.
pub(super) fn hash_of(mut file: &File) -> io::Result<Hash> {
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update(block.get(..read).unwrap_or_default());
    }
}

/// Opens and locks the unfinished file. `None` if it is another fetch's result by now.
pub(super) fn lock(path: &Path, name: &str) -> Result<Option<File>, ContentError> {
    let failed = |error| ContentError::file("open", path, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // Only for its owner, and not a link that somebody else put there.
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    let file = options.open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(ContentError::Busy { name: name.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let here = match Handle::from_path(path) {
        Ok(here) => here,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let same = here == file.try_clone().and_then(Handle::from_file).map_err(failed)?;
    // A crash may have left both names on the finished file.
    #[cfg(unix)]
    if same && std::os::unix::fs::MetadataExt::nlink(&file.metadata().map_err(failed)?) > 1 {
        fs::remove_file(path).map_err(failed)?;
        return Ok(None);
    }
    Ok(same.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::{super::verify::tests::groups, *};

    fn place(dir: &Path) -> Place {
        Place { dir: dir.to_owned(), name: "a.bin".into() }
    }

    fn data() -> Vec<u8> {
        (0..500_000u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
    }

    #[tokio::test]
    async fn what_was_written_is_found_again_and_damage_is_not_taken_for_content() {
        let (dir, data) = (tempfile::tempdir().unwrap(), data());
        let (root, size) = (blake3::hash(&data), 500_000);
        let open = || Partial::open(&place(dir.path()), root, size).unwrap();
        let partial = open();
        assert_eq!(partial.missing().unwrap(), Groups::from(0..31));
        let all = groups(&data, 0..500_000).await;
        // In any order, the short last one too; of the others only the proofs.
        for (at, group) in all.iter().enumerate().rev() {
            let data = if [2, 3, 7, 30].contains(&at) { group.data.clone() } else { Vec::new() };
            let (start, parents) = (group.start, group.parents.clone());
            partial.write(&Group { start, data, parents }).unwrap();
        }
        // Another fetch keeps off.
        let busy = Partial::open(&place(dir.path()), root, size).unwrap_err();
        assert!(matches!(busy, ContentError::Busy { .. }));
        drop(partial);
        let expected = Groups::from(0..2) | Groups::from(4..7) | Groups::from(8..30);
        let partial = open();
        assert_eq!(partial.missing().unwrap(), expected);
        drop(partial);
        let path = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[3 * 16_384 + 5] ^= 1;
        fs::write(&path, bytes).unwrap();
        let partial = open();
        assert_eq!(partial.missing().unwrap(), expected | Groups::from(3..4));
        for group in &all {
            partial.write(group).unwrap();
        }
        assert!(partial.missing().unwrap().is_empty());
        let target = partial.finish().unwrap();
        assert_eq!(fs::read(target).unwrap(), data);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn one_that_lacks_only_its_name_is_complete() {
        let (dir, data) = (tempfile::tempdir().unwrap(), data());
        let root = blake3::hash(&data);
        let partial = Partial::open(&place(dir.path()), root, 500_000).unwrap();
        let path = partial.path.clone();
        drop(partial);
        fs::write(path, &data).unwrap();
        let partial = Partial::open(&place(dir.path()), root, 500_000).unwrap();
        assert!(partial.missing().unwrap().is_empty());
        // The name was taken in between: nothing is lost.
        fs::write(dir.path().join("a.bin"), b"mine").unwrap();
        assert!(matches!(partial.finish(), Err(ContentError::Exists { .. })));
        fs::remove_file(dir.path().join("a.bin")).unwrap();
        let partial = Partial::open(&place(dir.path()), root, 500_000).unwrap();
        assert!(partial.missing().unwrap().is_empty());
        assert_eq!(fs::read(partial.finish().unwrap()).unwrap(), data);
    }

    #[test]
    fn an_existing_file_is_refused_and_an_empty_content_is_there_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let partial = Partial::open(&place(dir.path()), blake3::hash(b""), 0).unwrap();
        assert!(partial.missing().unwrap().is_empty());
        partial.finish().unwrap();
        let again = Partial::open(&place(dir.path()), blake3::hash(b""), 0).unwrap_err();
        assert!(matches!(again, ContentError::Exists { .. }));
    }
}
