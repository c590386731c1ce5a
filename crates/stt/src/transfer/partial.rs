//! An unfinished file: under a name of its own, locked, resumable.

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use same_file::Handle;

use super::{BLOCK, TransferError, folder::keep, list::Entry, record::Offer};

/// Times that another transfer may finish the file just before it is locked.
const ATTEMPTS: usize = 8;

/// A file that is being received.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    name: String,
    overwrite: bool,
    written: u64,
    hasher: blake3::Hasher,
    /// The sender's mode and time, if it gets them.
    keep: Option<Entry>,
    /// Not kept for a next attempt.
    useless: bool,
    /// It has its own name, and this one is free for others.
    named: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.named && (self.useless || self.written == 0) {
            // The lock is still held, so this is no other transfer's.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Partial {
    /// Opens what an earlier attempt left of the same file, or begins.
    ///
    /// # Errors
    /// The target exists, another transfer has the file, or the operating system refuses.
    pub(super) fn open(
        dir: &Path,
        name: &str,
        offer: &Offer,
        overwrite: bool,
    ) -> Result<Self, TransferError> {
        Self::open_between(dir, (dir.join(name), name), offer, overwrite, || {})
    }

    /// As [`open`](Self::open), of a file of a directory: its place in the tree is kept for it.
    pub(super) fn of_folder(
        parts: &Path,
        place: PathBuf,
        shown: &Path,
        offer: &Offer,
    ) -> Result<Self, TransferError> {
        Self::open_between(parts, (place, &*shown.to_string_lossy()), offer, true, || {})
    }

    /// As [`Self::open`]; `between` runs each time a file is open and not yet locked.
    fn open_between(
        dir: &Path,
        (target, name): (PathBuf, &str),
        offer: &Offer,
        overwrite: bool,
        mut between: impl FnMut(),
    ) -> Result<Self, TransferError> {
        let path = dir.join(temporary_name(offer));
        for _ in 0..ATTEMPTS {
            replaceable(&target, overwrite)?;
            if let Some(file) = lock(&path, name, &mut between)? {
                let failed = |error| TransferError::file("open", &path, error);
                let written = file.metadata().map_err(failed)?.len();
                let partial = Self {
                    file,
                    path,
                    target,
                    name: name.to_owned(),
                    overwrite,
                    written,
                    hasher: blake3::Hasher::new(),
                    keep: None,
                    useless: false,
                    named: false,
                };
                let missing = offer.size.saturating_sub(written);
                if free_space(dir).is_some_and(|free| free < missing) {
                    return Err(TransferError::DiskFull { path: partial.target.clone() });
                }
                return Ok(partial);
            }
        }
        // Others finish or give up the same file again and again.
        Err(TransferError::Busy { name: name.to_owned() })
    }

    /// Bytes that are there.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Hashes what is there, telling `progress` how far it is, and returns the hash.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn check(
        &mut self,
        mut progress: impl FnMut(u64),
    ) -> Result<[u8; 32], TransferError> {
        let failed = |error| TransferError::file("read", &self.path, error);
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut block = vec![0; BLOCK];
        let mut done = 0;
        while done < self.written {
            let read = self.file.read(&mut block).map_err(failed)?;
            if read == 0 {
                break;
            }
            self.hasher.update(block.get(..read).unwrap_or_default());
            done = done.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            progress(done);
        }
        self.written = done;
        Ok(*self.hasher.finalize().as_bytes())
    }

    /// Throws away what is there.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(super) fn restart(&mut self) -> Result<(), TransferError> {
        let failed = |error| TransferError::file("empty", &self.path, error);
        self.file.set_len(0).map_err(failed)?;
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        self.hasher.reset();
        self.written = 0;
        Ok(())
    }

    /// What is there is of no use: it goes when this is dropped.
    pub(super) const fn give_up(&mut self) {
        self.useless = true;
    }

    /// It gets the sender's mode and time when it is whole.
    pub(super) fn keep(&mut self, entry: Entry) {
        self.keep = Some(entry);
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The operating system refuses; what was written before stays.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        self.file
            .write_all(bytes)
            .map_err(|error| TransferError::file("write", &self.path, error))?;
        self.hasher.update(bytes);
        self.written = self.written.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Compares with the hash of the whole file and gives it its name.
    ///
    /// # Errors
    /// The hashes differ (what arrived is thrown away), the name is taken by now, or the operating
    /// system refuses.
    pub(super) fn finish(mut self, expected: [u8; 32]) -> Result<PathBuf, TransferError> {
        self.must_be(expected)?;
        let failed = |error| TransferError::file("write", &self.path, error);
        // A name that is taken by now stays taken.
        self.useless = true;
        let replaced = replaceable(&self.target, self.overwrite)?;
        self.useless = false;
        let named = if self.overwrite {
            if self.keep.is_none() {
                allow_the_same(&self.file, replaced.as_ref()).map_err(failed)?;
            }
            stc_durable::rename(&self.path, &self.target)
        } else {
            name_new(&self.path, &self.target)
        };
        self.useless = named.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists);
        named.map_err(|error| TransferError::file("name", &self.target, error))?;
        self.named = true;
        Ok(self.target.clone())
    }

    /// Compares with the hash of the whole file and puts it into its place in the tree of a directory,
    /// whose names are synced when all is there.
    ///
    /// # Errors
    /// The hashes differ (what arrived is thrown away), or the operating system refuses.
    pub(super) fn settle(mut self, expected: [u8; 32]) -> Result<(), TransferError> {
        self.must_be(expected)?;
        fs::rename(&self.path, &self.target)
            .map_err(|error| TransferError::file("name", &self.target, error))?;
        self.named = true;
        Ok(())
    }

    /// Compares, and waits until the whole file is on the disk.
    fn must_be(&mut self, expected: [u8; 32]) -> Result<(), TransferError> {
        if self.hasher.finalize() != blake3::Hash::from_bytes(expected) {
            self.give_up();
            return Err(TransferError::Corrupt { name: self.name.clone() });
        }
        let failed = |error| TransferError::file("write", &self.path, error);
        if let Some(entry) = &self.keep {
            keep(&self.file, entry).map_err(failed)?;
        }
        self.file.sync_all().map_err(failed)
    }
}

/// Opens and locks the unfinished file. `None` if it is another transfer's result by now: the lock
/// came too late, or a crash left both names on one file.
fn lock(
    path: &Path,
    name: &str,
    between: &mut impl FnMut(),
) -> Result<Option<File>, TransferError> {
    let failed = |error| TransferError::file("open", path, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    private(&mut options);
    let file = options.open(path).map_err(failed)?;
    if !is_ours(path, &file).map_err(failed)? {
        return Err(failed(ErrorKind::PermissionDenied.into()));
    }
    between();
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(TransferError::Busy { name: name.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    if !is_still(path, &file).map_err(failed)? {
        return Ok(None);
    }
    if has_other_names(&file).map_err(failed)? {
        fs::remove_file(path).map_err(failed)?;
        return Ok(None);
    }
    // Earlier programs let everybody read it.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(failed)?;
    Ok(Some(file))
}

/// Whether a file or directory that was opened is this user's, or of whoever owns the directory that
/// it is in, who could do anything to it: nobody else put it there.
pub(super) fn is_ours(path: &Path, file: &File) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let owner = file.metadata()?.uid();
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        Ok(owner == rustix::process::geteuid().as_raw()
            || owner == fs::metadata(dir.unwrap_or(Path::new(".")))?.uid())
    }
    #[cfg(not(unix))]
    {
        let _ = (path, file);
        Ok(true)
    }
}

/// Whether the file still has the name that it was opened by.
pub(super) fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    match Handle::from_path(path) {
        Ok(here) => Ok(here == file.try_clone().and_then(Handle::from_file)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Locks a file that was opened by this name; `false` when somebody else has it, or has just removed
/// it.
pub(super) fn is_whole_lock(path: &Path, file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => is_still(path, file),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether the file has a name beside the one it was opened by. Systems that don't say: no.
fn has_other_names(file: &File) -> io::Result<bool> {
    #[cfg(unix)]
    return Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 1);
    #[cfg(not(unix))]
    return file.metadata().map(|_| false);
}

/// Bytes that this user may still write in `dir`, where the system tells.
pub(super) fn free_space(dir: &Path) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::statvfs(dir)
        .ok()
        .map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    #[cfg(not(unix))]
    return {
        let _ = dir;
        None
    };
}

/// Hidden, and the same for the same offer only.
pub(super) fn temporary_name(offer: &Offer) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offer.size.to_le_bytes());
    hasher.update(&offer.modified.to_le_bytes());
    hasher.update(offer.name.as_bytes());
    let hash = hasher.finalize().to_hex();
    format!(".stt-{}.part", hash.as_str().get(..32).unwrap_or_default())
}

/// What is at `target`, if it is something that may be replaced: a file, or a link itself.
fn replaceable(target: &Path, overwrite: bool) -> Result<Option<Metadata>, TransferError> {
    match fs::symlink_metadata(target) {
        Ok(_) if !overwrite => Err(TransferError::Exists { path: target.to_owned() }),
        Ok(found) if found.is_file() || found.is_symlink() => Ok(Some(found)),
        Ok(_) => Err(TransferError::NotAFile { path: target.to_owned() }),
        Err(_) => Ok(None),
    }
}

/// A file that only its owner can read, and no link that somebody else put there.
pub(super) fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    #[cfg(not(unix))]
    let _ = options;
}

/// Lets those read the file who could read the one that it replaces.
fn allow_the_same(file: &File, replaced: Option<&Metadata>) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(replaced) = replaced.filter(|replaced| replaced.is_file()) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let mut mode = replaced.mode() & 0o777;
        if file.metadata()?.gid() != replaced.gid() {
            // These permissions were meant for another group.
            mode &= 0o707;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = (file, replaced);
    Ok(())
}

/// Gives a file a name that must not exist yet.
fn name_new(path: &Path, target: &Path) -> io::Result<()> {
    // A link refuses an existing name, which a rename does not.
    match stc_durable::link(path, target) {
        Ok(()) => fs::remove_file(path),
        // Some file systems have no links; there the look before the rename has to do.
        Err(error)
            if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied)
                && fs::symlink_metadata(target).is_err() =>
        {
            stc_durable::rename(path, target)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer { name: "a.bin".into(), size: 6, modified: 1 }
    }

    fn between(
        dir: &Path,
        overwrite: bool,
        finish: impl FnMut(),
    ) -> Result<Partial, TransferError> {
        Partial::open_between(dir, (dir.join("a.bin"), "a.bin"), &offer(), overwrite, finish)
    }

    #[test]
    fn the_name_is_given_only_when_the_hash_fits() {
        let dir = tempfile::tempdir().unwrap();
        let mut partial = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap();
        partial.append(b"abcdef").unwrap();
        assert!(!dir.path().join("a.bin").exists());
        let target = partial.finish(*blake3::hash(b"abcdef").as_bytes()).unwrap();
        assert_eq!(fs::read(target).unwrap(), b"abcdef");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_wrong_hash_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut partial = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap();
        partial.append(b"abcdeX").unwrap();
        let error = partial.finish(*blake3::hash(b"abcdef").as_bytes()).unwrap_err();
        assert!(matches!(error, TransferError::Corrupt { .. }));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_an_earlier_attempt_left_is_found_and_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let mut partial = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap();
        partial.append(b"abc").unwrap();
        drop(partial);
        let mut partial = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap();
        assert_eq!(partial.written(), 3);
        assert_eq!(partial.check(|_| {}).unwrap(), *blake3::hash(b"abc").as_bytes());
        partial.append(b"def").unwrap();
        assert!(partial.finish(*blake3::hash(b"abcdef").as_bytes()).is_ok());
    }

    #[test]
    fn an_existing_file_is_refused_at_the_start_and_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut late = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap();
        late.append(b"new").unwrap();
        fs::write(dir.path().join("a.bin"), b"old").unwrap();
        let error = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap_err();
        assert!(matches!(error, TransferError::Exists { .. }));
        let error = late.finish(*blake3::hash(b"new").as_bytes()).unwrap_err();
        assert!(matches!(error, TransferError::Exists { .. }));
        assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), b"old");

        let mut asked = Partial::open(dir.path(), "a.bin", &offer(), true).unwrap();
        asked.restart().unwrap();
        asked.append(b"new").unwrap();
        asked.finish(*blake3::hash(b"new").as_bytes()).unwrap();
        assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn others_read_only_what_they_could_read_before() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let dir = tempfile::tempdir().unwrap();
        let receive = || {
            let mut partial = Partial::open(dir.path(), "a.bin", &offer(), true).unwrap();
            partial.append(b"abcdef").unwrap();
            assert_eq!(mode(&partial.path), 0o600);
            partial.finish(*blake3::hash(b"abcdef").as_bytes())
        };
        let target = receive().unwrap();
        assert_eq!(mode(&target), 0o600);
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(mode(&receive().unwrap()), 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_of_that_name_is_noticed_before_a_byte_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a.bin")).unwrap();
        let error = Partial::open(dir.path(), "a.bin", &offer(), true).unwrap_err();
        assert!(matches!(error, TransferError::NotAFile { .. }));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_gone_on_with_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let left = || fs::read_dir(dir.path()).unwrap().count();
        let open = || Partial::open(dir.path(), "a.bin", &offer(), false).unwrap();
        drop(open());
        assert_eq!(left(), 0, "nothing had arrived");
        let mut partial = open();
        partial.append(b"abc").unwrap();
        drop(partial);
        assert_eq!(left(), 1, "the next attempt goes on with it");
        let mut partial = open();
        partial.give_up();
        drop(partial);
        assert_eq!(left(), 0, "the sender's file is another one now");
        let mut partial = open();
        partial.append(b"abcdef").unwrap();
        fs::write(dir.path().join("a.bin"), b"old").unwrap();
        let error = partial.finish(*blake3::hash(b"abcdef").as_bytes()).unwrap_err();
        assert!(matches!(error, TransferError::Exists { .. }));
        assert_eq!(left(), 1, "the name was taken meanwhile");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_for_which_there_is_no_space_is_declined_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let huge = Offer { size: 1 << 60, ..offer() };
        let error = Partial::open(dir.path(), "a.bin", &huge, false).unwrap_err();
        assert!(matches!(error, TransferError::DiskFull { .. }));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_transfers_of_one_file_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap();
        let error = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap_err();
        assert!(matches!(error, TransferError::Busy { .. }));
    }

    /// Who opens the file just before another transfer finishes it must not write into the result.
    #[test]
    fn a_file_that_was_finished_between_open_and_lock_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let hash = *blake3::hash(b"abcdef").as_bytes();
        let mut first = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap();
        first.append(b"abcdef").unwrap();
        let mut first = Some(first);
        let finish = || {
            if let Some(first) = first.take() {
                first.finish(hash).unwrap();
            }
        };
        let mut late = between(dir.path(), true, finish).unwrap();
        late.restart().unwrap();
        assert_eq!(fs::read(dir.path().join("a.bin")).unwrap(), b"abcdef");
        late.append(b"abcdef").unwrap();
        late.finish(hash).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_that_was_taken_between_open_and_lock_is_not_offered_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Partial::open(dir.path(), "a.bin", &offer(), false).unwrap();
        first.append(b"abcdef").unwrap();
        let mut first = Some(first);
        let finish = || {
            if let Some(first) = first.take() {
                first.finish(*blake3::hash(b"abcdef").as_bytes()).unwrap();
            }
        };
        let late = between(dir.path(), false, finish);
        assert!(matches!(late.unwrap_err(), TransferError::Exists { .. }));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_crash_between_the_two_names_costs_no_finished_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join(temporary_name(&offer())), dir.path().join("a.bin"));
        fs::write(&path, b"abcdef").unwrap();
        fs::hard_link(&path, &target).unwrap();
        let mut again = Partial::open(dir.path(), "a.bin", &offer(), true).unwrap();
        again.restart().unwrap();
        assert_eq!(fs::read(target).unwrap(), b"abcdef");
    }
}
