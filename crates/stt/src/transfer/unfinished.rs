//! What interrupted transfers left in a directory.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

use super::folder::{self, lock, sizes};

/// Unfinished files and directories in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Files and directories that a sender can go on with.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files and directories that were removed because nobody went on with them.
    pub removed_files: u64,
    /// Bytes of those.
    pub removed_bytes: u64,
}

/// Counts the unfinished files in `dir`, after removing those that nobody wrote to for `age`. What
/// is being received right now is left alone.
///
/// # Errors
/// The directory cannot be read. A file that cannot be removed is counted and stays.
pub fn unfinished(dir: impl AsRef<Path>, age: Duration) -> io::Result<Unfinished> {
    let mut found = Unfinished::default();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Of the entry itself, not of what a link points to.
        let (name, Ok(metadata)) = (entry.file_name(), entry.metadata()) else { continue };
        let has_end = |end: &str| name.to_str().is_some_and(|name| is_temporary(name, end));
        let is_dir = metadata.is_dir();
        let bytes = if metadata.is_file() && has_end(".part") {
            metadata.len()
        } else if is_dir && has_end(".parts") {
            sizes(&entry.path())
        } else {
            continue;
        };
        let is_old = untouched(&entry.path(), &metadata).is_some_and(|untouched| untouched >= age);
        if is_old && remove(&entry.path(), is_dir).is_ok() {
            found.removed_files += 1;
            found.removed_bytes = found.removed_bytes.saturating_add(bytes);
        } else {
            found.files += 1;
            found.bytes = found.bytes.saturating_add(bytes);
        }
    }
    Ok(found)
}

/// How long nobody wrote to a file, or to any of the files in a directory.
fn untouched(path: &Path, metadata: &fs::Metadata) -> Option<Duration> {
    let own = metadata.modified().ok()?.elapsed().ok()?;
    if !metadata.is_dir() {
        return Some(own);
    }
    let below = fs::read_dir(path).ok()?.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        metadata.modified().ok()?.elapsed().ok()
    });
    Some(below.fold(own, Duration::min))
}

/// Removes what nobody is writing.
fn remove(path: &Path, is_dir: bool) -> io::Result<()> {
    if is_dir {
        let held = lock(&path.join("lock"))?;
        return match held {
            Some(_lock) => folder::remove(path),
            None => Err(io::ErrorKind::WouldBlock.into()),
        };
    }
    let file = File::open(path)?;
    file.try_lock()?;
    fs::remove_file(path)
}

/// Whether a transfer gives what is unfinished such names.
fn is_temporary(name: &str, end: &str) -> bool {
    let hash = name.strip_prefix(".stt-").and_then(|rest| rest.strip_suffix(end));
    hash.is_some_and(|hash| {
        hash.len() == 32 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_ones_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(1_000);
        let make = |name: String, len: usize, at: Option<std::time::SystemTime>| {
            let path = dir.path().join(name);
            fs::write(&path, vec![1; len]).unwrap();
            let file = File::options().write(true).open(path).unwrap();
            if let Some(at) = at {
                file.set_modified(at).unwrap();
            }
            file
        };
        let part = |digit: &str| format!(".stt-{}.part", digit.repeat(32));
        make(part("a"), 3, Some(old));
        make(part("b"), 5, None);
        let held = make(part("c"), 7, Some(old));
        held.lock().unwrap();
        make(".stt-mine.part".into(), 9, Some(old));
        make("letter".into(), 9, Some(old));
        let found = unfinished(dir.path(), Duration::from_secs(500)).unwrap();
        assert_eq!((found.files, found.bytes), (2, 12));
        assert_eq!((found.removed_files, found.removed_bytes), (1, 3));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }
}
