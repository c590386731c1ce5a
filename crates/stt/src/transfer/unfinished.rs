//! What interrupted transfers left in a directory.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

/// Unfinished files in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Files that a sender can go on with.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files that were removed because nobody went on with them.
    pub removed_files: u64,
    /// Bytes of those.
    pub removed_bytes: u64,
}

/// Counts the unfinished files in `dir`, after removing those that nobody wrote to for `age`. What
/// is being received right now is left alone.
///
/// # Errors
/// The directory cannot be read. A file that cannot be removed is counted and stays.
pub fn unfinished(dir: &Path, age: Duration) -> io::Result<Unfinished> {
    let mut found = Unfinished::default();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let ours = entry.file_name().to_str().is_some_and(is_temporary);
        // Of the entry itself, not of what a link points to.
        let Some(metadata) = entry.metadata().ok().filter(|found| ours && found.is_file()) else {
            continue;
        };
        let untouched = metadata.modified().ok().and_then(|at| at.elapsed().ok());
        if untouched.is_some_and(|untouched| untouched >= age) && remove(&entry.path()).is_ok() {
            found.removed_files += 1;
            found.removed_bytes = found.removed_bytes.saturating_add(metadata.len());
        } else {
            found.files += 1;
            found.bytes = found.bytes.saturating_add(metadata.len());
        }
    }
    Ok(found)
}

/// Removes a file that nobody is writing.
fn remove(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.try_lock()?;
    fs::remove_file(path)
}

/// Whether a transfer gives unfinished files such names.
fn is_temporary(name: &str) -> bool {
    let hash = name.strip_prefix(".stt-").and_then(|rest| rest.strip_suffix(".part"));
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
