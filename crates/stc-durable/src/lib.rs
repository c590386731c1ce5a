//! Names of files that survive a power cut.
//!
//! A rename is whole or not at all, and yet gone after a power cut until the directory was synced.
//! Everything that must last is renamed here.

use std::{fs, io, path::Path};

/// The directory in which `path` is a name; `.` for a bare name.
#[must_use]
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The directories above `path`, nearest first; a relative path ends with `.`, whose own name was
/// there before.
pub fn folders(path: &Path) -> impl Iterator<Item = &Path> {
    let named = |path| if path == Path::new("") { Path::new(".") } else { path };
    path.ancestors().skip(1).map(named)
}

/// Gives a file another name, in place of what has that name, and waits until it is on the disk.
/// What is in the file has to be synced before.
///
/// # Errors
/// What the system says. If only the wait failed, the file has its new name already.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_names(folder(to))?;
    if folder(from) == folder(to) { Ok(()) } else { sync_names(folder(from)) }
}

/// Gives a file a second name, which must not exist, and waits as [`rename`] does.
///
/// # Errors
/// As [`rename`].
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    sync_names(folder(to))
}

/// Who may write into a directory need not be allowed to open it: then nothing can be waited for.
fn sync_names(path: &Path) -> io::Result<()> {
    match sync_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Waits until all names in the directory `path` are on the disk. Does nothing where directories
/// cannot be synced: Windows makes names durable with their files.
///
/// # Errors
/// What the system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    match fs::File::open(path)?.sync_all() {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn a_bare_name_is_in_the_current_directory() {
        assert_eq!(folder(Path::new("DIR")), Path::new("."));
        assert_eq!(folder(Path::new("a/DIR")), Path::new("a"));
        let all = |path| folders(Path::new(path)).collect::<Vec<_>>();
        assert_eq!(all("DIR"), [Path::new(".")]);
        assert_eq!(all("a/DIR"), [Path::new("a"), Path::new(".")]);
        assert_eq!(all("/a/DIR"), [Path::new("/a"), Path::new("/")]);
        sync_folder(folder(Path::new("DIR"))).unwrap();
    }

    #[test]
    fn a_file_gets_its_name_in_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(&old, "1").unwrap();
        fs::write(&new, "2").unwrap();
        rename(&old, &new).unwrap();
        assert_eq!(fs::read(&new).unwrap(), b"1");
        let below = dir.path().join("below").join("new");
        rename(&new, &below).unwrap();
        assert_eq!(fs::read(&below).unwrap(), b"1");
        assert!(!old.exists() && !new.exists());
        link(&below, &new).unwrap();
        assert!(link(&below, &new).is_err() && below.exists());
        fs::remove_file(&new).unwrap();
        assert!(rename(&old, &new).is_err());
    }
}
