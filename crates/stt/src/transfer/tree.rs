//! What is sent: a file, or a directory as it is on the disk.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::{
    TransferError,
    list::{Entry, List, MAX_DEPTH, MAX_ENTRIES, MAX_LIST, MAX_PATH, MODE},
};

/// What is sent.
pub(super) struct Tree {
    root: PathBuf,
    pub(super) list: List,
    /// What is neither a file nor a directory.
    pub(super) left_out: u64,
}

impl Tree {
    /// Looks at what is at `path`, and at everything in it.
    ///
    /// # Errors
    /// It is neither a file nor a directory, there is too much in it, or it cannot be read.
    pub(super) fn read(path: PathBuf, name: Option<String>) -> Result<Self, TransferError> {
        let failed = |error| TransferError::file("open", &path, error);
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let metadata = fs::metadata(&path).map_err(failed)?;
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(TransferError::NotAFile { path });
        }
        if metadata.is_file() {
            // Who may not read it should hear it before anybody is asked.
            File::open(&path).map_err(failed)?;
        }
        // `.` and `..` have names, too.
        let own = || {
            let whole = fs::canonicalize(&path).ok();
            let named = path.file_name().or_else(|| whole.as_deref().and_then(Path::file_name));
            named.map(|name| name.to_string_lossy().into_owned())
        };
        let name = name.or_else(own).filter(|name| !name.is_empty() && name.len() <= MAX_PATH);
        let root = entry(name.ok_or(TransferError::Name)?, &metadata);
        let mut walk = Walk { below: Vec::new(), bytes: root.path.len(), left_out: 0 };
        if root.is_dir {
            walk.take_in(&path, "", 1)?;
        }
        let list = List::new(root, walk.below)?;
        Ok(Self { root: path, list, left_out: walk.left_out })
    }

    /// Where the entry at this place of the list is.
    pub(super) fn path(&self, at: usize) -> Option<PathBuf> {
        let entry = self.list.get(at)?;
        Some(if at == 0 { self.root.clone() } else { self.root.join(&entry.path) })
    }
}

struct Walk {
    below: Vec<Entry>,
    /// Bytes of the list, about.
    bytes: usize,
    left_out: u64,
}

impl Walk {
    /// Takes in what is in a directory, in the order of the names.
    fn take_in(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<(), TransferError> {
        let failed = |error| TransferError::file("read", dir, error);
        let unfit = |path: PathBuf, why| Err(TransferError::Unfit { path, why });
        let mut names = Vec::new();
        for found in fs::read_dir(dir).map_err(failed)? {
            if names.len() + self.below.len() >= MAX_ENTRIES - 1 {
                return unfit(dir.to_owned(), "there are more than 65,536 files and directories");
            }
            names.push(found.map_err(failed)?.file_name());
        }
        names.sort_unstable();
        for name in names {
            let at = dir.join(&name);
            let Some(name) = name.to_str() else { return unfit(at, "its name is no text") };
            let path = format!("{prefix}{name}");
            let metadata = fs::symlink_metadata(&at)
                .map_err(|error| TransferError::file("read", &at, error))?;
            if !metadata.is_file() && !metadata.is_dir() {
                self.left_out += 1;
                continue;
            }
            if path.len() > MAX_PATH || depth > MAX_DEPTH {
                return unfit(at, "its path has more than 1,024 bytes or 32 names");
            }
            if self.below.len() >= MAX_ENTRIES - 1 {
                return unfit(dir.to_owned(), "there are more than 65,536 files and directories");
            }
            // Kind, mode, time, and two numbers.
            self.bytes += path.len() + 27;
            if self.bytes > MAX_LIST {
                return unfit(dir.to_owned(), "the list of what is in it needs more than 8 MiB");
            }
            let below = format!("{path}/");
            self.below.push(entry(path, &metadata));
            if metadata.is_dir() {
                self.take_in(&at, &below, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn entry(path: String, metadata: &Metadata) -> Entry {
    let is_dir = metadata.is_dir();
    #[cfg(unix)]
    let mode = u16::try_from(std::os::unix::fs::MetadataExt::mode(metadata) & u32::from(MODE));
    #[cfg(not(unix))]
    let mode = Ok::<_, std::num::TryFromIntError>(if is_dir { 0o755 } else { 0o644 });
    Entry {
        is_dir,
        mode: mode.unwrap_or(0) & MODE,
        modified: modified(metadata),
        size: if is_dir { 0 } else { metadata.len() },
        path,
    }
}

/// When it was last changed, in nanoseconds since 1970, or 0.
pub(super) fn modified(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// Opens a file to read it. One of a directory is no link by now, and no pipe that somebody would wait
/// for.
///
/// # Errors
/// It is no file any more, or the operating system refuses.
pub(super) fn open(path: &Path, of_directory: bool) -> Result<(File, Metadata), TransferError> {
    let failed = |error| TransferError::file("open", path, error);
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let links = if of_directory { libc::O_NOFOLLOW } else { 0 };
        options.custom_flags(libc::O_NONBLOCK | links);
    }
    #[cfg(not(unix))]
    let _ = of_directory;
    let file = options.open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(TransferError::NotAFile { path: path.to_owned() });
    }
    Ok((file, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_listed_in_order_and_links_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("d");
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::write(root.join("b/x"), "12").unwrap();
        fs::write(root.join("a"), "").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
        let tree = Tree::read(root.clone(), None).unwrap();
        assert_eq!(tree.list.root().path, "d");
        let paths: Vec<_> = tree.list.below().iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["a", "b", "b/c", "b/x"]);
        assert_eq!((tree.list.bytes(), tree.left_out), (2, u64::from(cfg!(unix))));
        assert_eq!(tree.path(4).unwrap(), root.join("b/x"));
        assert_eq!(Tree::read(root.join("b/.."), None).unwrap().list.root().path, "d");
    }

    #[test]
    fn what_is_too_deep_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let deep = "d/".repeat(MAX_DEPTH + 1);
        fs::create_dir_all(dir.path().join(deep)).unwrap();
        let error = Tree::read(dir.path().to_owned(), None).err().unwrap();
        assert_eq!(stc::Coded::code(&error), "transfer.unfit");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_took_the_place_of_a_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("f"), dir.path().join("l"));
        fs::write(&file, "1").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(open(&link, true).is_err() && open(&link, false).is_ok());
    }
}
