//! A directory that is being received: it grows in one of its own, and gets its name when it is
//! whole (docs/streams.md, FILE-5).
//!
//! ```text
//! .stt-HASH.parts/lock            held by whoever receives it
//!                 .stt-HASH.part  a file that is not whole
//!                 tree/           what gets the name: directories, whole files, places of the others
//! ```

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    TransferError,
    list::{Entry, List},
    partial::{Partial, free_space, is_ours, is_still, is_whole_lock, private, temporary_name},
    record::Offer,
};

/// What a file or directory takes on a disk beside its bytes, about.
const ENTRY: u64 = 4 << 10;
const LOCK: &str = "lock";
const TREE: &str = "tree";

/// A directory that is being received. What arrived stays for the next attempt when this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    tree: PathBuf,
    target: PathBuf,
    name: String,
    places: Vec<PathBuf>,
    preserve: bool,
    /// Against other receivers of a directory of this name.
    _lock: File,
    /// Nothing of it is of use to a next attempt.
    useless: AtomicBool,
}

/// As an unfinished file knows it.
pub(super) fn offer_of(entry: &Entry) -> Offer {
    Offer { name: entry.path.clone(), size: entry.size, modified: entry.modified }
}

impl Folder {
    /// Opens what an earlier attempt left, or begins. Makes all directories, and an empty file in the
    /// place of each that is to come: so the file system itself says which names are one to it.
    ///
    /// # Errors
    /// Something has the name, somebody else is at it ([`TransferError::Busy`]), two paths are one
    /// here ([`TransferError::Clash`]), or the operating system refuses.
    pub(super) fn open(
        dir: &Path,
        name: &str,
        list: &List,
        preserve: bool,
    ) -> Result<Self, TransferError> {
        let places = list.places()?;
        let target = dir.join(name);
        if fs::symlink_metadata(&target).is_ok() {
            return Err(TransferError::Exists { path: target });
        }
        let hash = blake3::hash(name.as_bytes()).to_hex();
        let parts = dir.join(format!(".stt-{}.parts", hash.get(..32).unwrap_or_default()));
        let failed = |error| TransferError::file("make", &parts, error);
        make_private(&parts).map_err(failed)?;
        let busy = || TransferError::Busy { name: name.to_owned() };
        let Some(lock) = lock(&parts.join(LOCK)).map_err(failed)? else { return Err(busy()) };
        let folder = Self {
            tree: parts.join(TREE),
            dir: parts,
            target,
            name: name.to_owned(),
            places,
            preserve,
            _lock: lock,
            useless: AtomicBool::new(false),
        };
        folder.take_back(list)?;
        let there = folder.there(list);
        let entries = u64::try_from(list.len()).unwrap_or(u64::MAX);
        let needed = list.bytes().saturating_sub(there).saturating_add(entries * ENTRY);
        let is_short = || free_space(dir).is_some_and(|free| free < needed);
        if is_short() {
            folder.remove_others(list);
            if is_short() {
                return Err(TransferError::DiskFull { path: folder.target.clone() });
            }
        }
        folder.lay_out(list)?;
        Ok(folder)
    }

    /// Bytes of these files that are there.
    fn there(&self, list: &List) -> u64 {
        let files = list.below().iter().filter(|entry| !entry.is_dir);
        let found = files.filter_map(|entry| {
            let part = self.dir.join(temporary_name(&offer_of(entry)));
            Some(fs::symlink_metadata(part).ok()?.len().min(entry.size))
        });
        found.fold(0, u64::saturating_add)
    }

    /// Removes what is unfinished of other files: they changed, or another directory of this name was
    /// offered before.
    fn remove_others(&self, list: &List) {
        let ours: HashSet<_> =
            list.below().iter().map(|entry| temporary_name(&offer_of(entry))).collect();
        for found in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = found.file_name();
            let is_part = name.to_str().is_some_and(|name| name.ends_with(".part"));
            if is_part && name.to_str().is_some_and(|name| !ours.contains(name)) {
                let _ = fs::remove_file(found.path());
            }
        }
    }

    /// Takes whole files of an earlier attempt out of its tree, and removes that.
    fn take_back(&self, list: &List) -> Result<(), TransferError> {
        let failed = |error| TransferError::file("clear", &self.tree, error);
        match fs::symlink_metadata(&self.tree) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
            Ok(_) => {}
        }
        for (entry, place) in list.below().iter().zip(&self.places) {
            let (at, part) =
                (self.tree.join(place), self.dir.join(temporary_name(&offer_of(entry))));
            let is_whole = fs::symlink_metadata(&at)
                .is_ok_and(|found| found.is_file() && found.len() == entry.size);
            if !entry.is_dir && entry.size > 0 && is_whole && fs::symlink_metadata(&part).is_err() {
                fs::rename(&at, &part).map_err(failed)?;
            }
        }
        fs::remove_dir_all(&self.tree).map_err(failed)
    }

    fn lay_out(&self, list: &List) -> Result<(), TransferError> {
        let made = |path: &Path, made: io::Result<()>| match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(TransferError::Clash { path: path.to_owned() })
            }
            made => made.map_err(|error| TransferError::file("make", path, error)),
        };
        made(&self.tree, create_dir(&self.tree))?;
        for (entry, place) in list.below().iter().zip(&self.places) {
            let at = self.tree.join(place);
            if entry.is_dir {
                made(&at, create_dir(&at))?;
            } else {
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                private(&mut options);
                made(&at, options.open(&at).map(drop))?;
            }
        }
        Ok(())
    }

    /// The unfinished file of an entry below the first.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(super) fn part(&self, below: usize, entry: &Entry) -> Result<Partial, TransferError> {
        let gone = TransferError::Protocol { rule: "a file that was not offered" };
        let place = self.places.get(below).ok_or(gone)?;
        let shown = Path::new(&self.name).join(place);
        let offer = offer_of(entry);
        let mut partial = Partial::of_folder(&self.dir, self.tree.join(place), &shown, &offer)?;
        if partial.written() > entry.size {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// Gives the whole directory its name.
    ///
    /// # Errors
    /// Something has the name by now, or the operating system refuses.
    pub(super) fn finish(&self, list: &List) -> Result<PathBuf, TransferError> {
        let failed = |error| TransferError::file("name", &self.target, error);
        // The innermost first: what is made in a directory changes its time.
        for (entry, place) in list.below().iter().zip(&self.places).rev() {
            if entry.is_dir {
                self.settle(entry, &self.tree.join(place)).map_err(failed)?;
            }
        }
        self.settle(list.root(), &self.tree).map_err(failed)?;
        if fs::symlink_metadata(&self.target).is_ok() {
            return Err(TransferError::Exists { path: self.target.clone() });
        }
        stc_durable::rename(&self.tree, &self.target).map_err(failed)?;
        self.give_up();
        Ok(self.target.clone())
    }

    /// Gives a directory what is kept of it, and waits until its names are on the disk.
    fn settle(&self, entry: &Entry, dir: &Path) -> io::Result<()> {
        stc_durable::sync_folder(dir)?;
        if self.preserve {
            let dir = File::open(dir)?;
            keep(&dir, entry)?;
        }
        Ok(())
    }

    /// What is there is of no use: it goes when this is dropped.
    pub(super) fn give_up(&self) {
        self.useless.store(true, Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The lock is still held, so this is no other receiver's.
        if *self.useless.get_mut() || sizes(&self.dir) == 0 {
            let _ = remove(&self.dir);
        }
    }
}

/// Removes the directory that parts are in, whose lock is held. The lock goes last: while it has its
/// name, nobody else begins there.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    for found in fs::read_dir(dir)? {
        let found = found?;
        if found.file_name() == LOCK {
            continue;
        }
        if found.file_type()?.is_dir() {
            fs::remove_dir_all(found.path())?;
        } else {
            fs::remove_file(found.path())?;
        }
    }
    fs::remove_file(dir.join(LOCK))?;
    fs::remove_dir(dir)
}

/// Gives a file or directory the mode and the time of its entry, as far as that takes no right from
/// its owner and gives none to write to others.
pub(super) fn keep(file: &File, entry: &Entry) -> io::Result<()> {
    #[cfg(unix)]
    {
        let own = if entry.is_dir { 0o700 } else { 0o600 };
        let mode = u32::from(entry.mode & 0o755) | own;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    }
    // Directories can be opened and timed where they have modes.
    if entry.modified != 0 && (cfg!(unix) || !entry.is_dir) {
        let since = std::time::Duration::from_nanos(entry.modified);
        if let Some(at) = std::time::UNIX_EPOCH.checked_add(since) {
            file.set_modified(at)?;
        }
    }
    Ok(())
}

/// Bytes of the files in a directory and below it; links are not followed.
pub(super) fn sizes(dir: &Path) -> u64 {
    let mut bytes = 0u64;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(found) = entry.metadata() else { continue };
        let more = if found.is_dir() { sizes(&entry.path()) } else { found.len() };
        bytes = bytes.saturating_add(more);
    }
    bytes
}

/// Opens and locks a file; `None` when somebody else has it, or has just removed it.
pub(super) fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    private(&mut options);
    let file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if !is_ours(path, &file)? {
        return Err(ErrorKind::PermissionDenied.into());
    }
    Ok(is_whole_lock(path, &file)?.then_some(file))
}

fn create_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a directory for its owner only, or finds it: a link to one, or one of somebody else, is
/// refused.
fn make_private(dir: &Path) -> io::Result<()> {
    match create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if !fs::symlink_metadata(dir)?.is_dir() {
                return Err(ErrorKind::NotADirectory.into());
            }
            // By its handle: what has the name may be another one by now.
            #[cfg(unix)]
            {
                use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
                let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
                let opened = OpenOptions::new().read(true).custom_flags(flags).open(dir)?;
                if !is_ours(dir, &opened)? || !is_still(dir, &opened)? {
                    return Err(ErrorKind::PermissionDenied.into());
                }
                opened.set_permissions(PermissionsExt::from_mode(0o700))?;
            }
            #[cfg(not(unix))]
            let _ = is_still;
            Ok(())
        }
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::list::tests::entry, *};

    fn list(below: &[(&str, Option<u64>)]) -> List {
        let below = below.iter().map(|(path, size)| entry(path, *size)).collect();
        List::new(entry("d", None), below).unwrap()
    }

    fn open(dir: &Path, list: &List) -> Result<Folder, TransferError> {
        Folder::open(dir, "d", list, false)
    }

    fn put(folder: &Folder, list: &List, below: usize, bytes: &[u8]) {
        let mut part = folder.part(below, &list.below()[below]).unwrap();
        part.restart().unwrap();
        part.append(bytes).unwrap();
        part.settle(*blake3::hash(bytes).as_bytes()).unwrap();
    }

    #[test]
    fn a_directory_gets_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let list = list(&[("a", None), ("a/b", Some(3)), ("c", Some(0)), ("e", None)]);
        let folder = open(dir.path(), &list).unwrap();
        assert!(matches!(open(dir.path(), &list), Err(TransferError::Busy { .. })));
        put(&folder, &list, 1, b"abc");
        assert!(!dir.path().join("d").exists());
        let target = folder.finish(&list).unwrap();
        drop(folder);
        assert_eq!(fs::read(target.join("a/b")).unwrap(), b"abc");
        assert_eq!(fs::read(target.join("c")).unwrap(), b"");
        assert!(target.join("e").is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(matches!(open(dir.path(), &list), Err(TransferError::Exists { .. })));
    }

    #[test]
    fn what_arrived_stays_and_nothing_stays_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let list = list(&[("a", Some(3)), ("b", Some(3))]);
        drop(open(dir.path(), &list).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let folder = open(dir.path(), &list).unwrap();
        put(&folder, &list, 0, b"abc");
        let mut part = folder.part(1, &list.below()[1]).unwrap();
        part.append(b"de").unwrap();
        drop((part, folder));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let folder = open(dir.path(), &list).unwrap();
        for (below, bytes) in [(0, &b"abc"[..]), (1, b"de")] {
            let mut part = folder.part(below, &list.below()[below]).unwrap();
            assert_eq!(part.check(|_| {}).unwrap(), *blake3::hash(bytes).as_bytes());
        }
        folder.give_up();
        drop(folder);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn paths_that_are_one_here_are_refused_before_a_byte_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for paths in [
            &[("a:b", Some(1)), ("a?b", Some(1))][..],
            &[("a:b", None), ("a?b", None)],
            &[("a:b", None), ("a?b", Some(1))],
        ] {
            let error = open(dir.path(), &list(paths)).unwrap_err();
            assert!(matches!(error, TransferError::Clash { .. }), "{paths:?}: {error}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{paths:?}");
        }
    }

    #[test]
    fn what_is_unfinished_of_other_files_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let before = list(&[("a", Some(3)), ("b", Some(4))]);
        let folder = open(dir.path(), &before).unwrap();
        for (below, bytes) in [(0, &b"ab"[..]), (1, b"abc")] {
            let mut part = folder.part(below, &before.below()[below]).unwrap();
            part.append(bytes).unwrap();
        }
        drop(folder);
        // Its `b` is another one.
        let now = list(&[("a", Some(3)), ("b", Some(9))]);
        let folder = open(dir.path(), &now).unwrap();
        assert_eq!(folder.there(&now), 2);
        assert_eq!(sizes(&folder.dir), 5, "there is room enough");
        folder.remove_others(&now);
        assert_eq!(sizes(&folder.dir), 2);
        // What does not fit is said before a byte is taken.
        drop(folder);
        let huge = list(&[("a", Some(3)), ("b", Some(1 << 60))]);
        let error = open(dir.path(), &huge).unwrap_err();
        assert!(cfg!(not(unix)) || matches!(error, TransferError::DiskFull { .. }), "{error}");
    }

    #[test]
    fn the_lock_goes_last() {
        let dir = tempfile::tempdir().unwrap();
        let list = list(&[("a", Some(3)), ("b", None)]);
        let folder = open(dir.path(), &list).unwrap();
        put(&folder, &list, 0, b"abc");
        fs::write(folder.dir.join("left by somebody"), "1").unwrap();
        folder.give_up();
        drop(folder);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let list = list(&[("a", Some(3))]);
        let folder = open(dir.path(), &list).unwrap();
        let parts = folder.dir.clone();
        drop(folder);
        std::os::unix::fs::symlink(other.path(), &parts).unwrap();
        open(dir.path(), &list).unwrap_err();
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
        fs::remove_file(&parts).unwrap();
        std::os::unix::fs::symlink(other.path(), dir.path().join("d")).unwrap();
        assert!(matches!(open(dir.path(), &list), Err(TransferError::Exists { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn what_somebody_else_put_there_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let list = list(&[("a", Some(3))]);
        let parts = open(dir.path(), &list).unwrap().dir.clone();
        fs::create_dir(&parts).unwrap();
        // Only root can give away what it has.
        if std::os::unix::fs::chown(&parts, Some(12_345), None).is_ok() {
            let error = open(dir.path(), &list).unwrap_err();
            let refused = matches!(&error, TransferError::File { source, .. }
                if source.kind() == ErrorKind::PermissionDenied);
            assert!(refused, "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_mode_gives_others_no_right_to_write() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mut all = entry("d", None);
        all.mode = 0o777;
        let list = List::new(all, vec![entry("a", None)]).unwrap();
        let folder = Folder::open(dir.path(), "d", &list, true).unwrap();
        let target = folder.finish(&list).unwrap();
        assert_eq!(fs::metadata(target).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
