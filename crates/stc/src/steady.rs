//! Files that stay the same while they are read.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::Path,
    time::SystemTime,
};

/// What tells whether a file was written to: its length, when it was last modified, and, where the
/// system knows, when anything about it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    len: u64,
    modified: Option<SystemTime>,
    changed: Option<(i64, i64)>,
}

impl FileStamp {
    /// The stamp that `metadata` has.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let changed = {
            use std::os::unix::fs::MetadataExt;
            Some((metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let changed = None;
        Self { len: metadata.len(), modified: metadata.modified().ok(), changed }
    }

    /// Compares with what `file` is by now.
    ///
    /// # Errors
    /// [`FileChanged`] inside of an [`io::Error`], or what the system says.
    pub fn verify(&self, file: &File) -> io::Result<()> {
        if Self::of(&file.metadata()?) == *self { Ok(()) } else { Err(FileChanged.into()) }
    }
}

/// A file was written to, cut or renamed while it was read: what was read is neither the old file
/// nor the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file changed while it was read")]
pub struct FileChanged;

impl FileChanged {
    /// Whether `error` is one.
    #[must_use]
    pub fn is_inside(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl From<FileChanged> for io::Error {
    fn from(changed: FileChanged) -> Self {
        Self::other(changed)
    }
}

/// A reader whose end is an error when the file changed since it was opened. Pipes and devices,
/// which always change, are read as they are.
#[derive(Debug)]
pub struct SteadyFile {
    file: File,
    stamp: Option<FileStamp>,
}

impl SteadyFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::IsADirectory`].
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// Reads `file` from where it is.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let stamp = metadata.is_file().then(|| FileStamp::of(&metadata));
        Ok(Self { file, stamp })
    }

    /// Bytes of the file; `None` for pipes and devices.
    #[must_use]
    pub fn known_len(&self) -> Option<u64> {
        self.stamp.map(|stamp| stamp.len)
    }

    /// The file and its stamp, for a reader that compares by itself.
    #[must_use]
    pub fn into_parts(self) -> (File, Option<FileStamp>) {
        (self.file, self.stamp)
    }
}

impl Read for SteadyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if read == 0
            && !buffer.is_empty()
            && let Some(stamp) = &self.stamp
        {
            stamp.verify(&self.file)?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    /// Reads half, lets `change` do something to the path, and reads the rest.
    fn read_around(change: impl FnOnce(&Path)) -> io::Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, [7; 1000]).unwrap();
        let mut file = SteadyFile::open(&path).unwrap();
        assert_eq!(file.known_len(), Some(1000));
        let mut got = vec![0; 500];
        file.read_exact(&mut got).unwrap();
        change(&path);
        file.read_to_end(&mut got).map(|_| got)
    }

    #[test]
    fn a_file_that_is_left_alone_is_read_to_its_end() {
        assert_eq!(read_around(|_| {}).unwrap(), [7; 1000]);
        assert_eq!(read_around(|path| drop(fs::read(path).unwrap())).unwrap(), [7; 1000]);
    }

    #[test]
    fn every_change_is_noticed_at_the_end() {
        let open = |path: &Path| File::options().write(true).open(path).unwrap();
        let longer = |path: &Path| {
            File::options().append(true).open(path).unwrap().write_all(b"x").unwrap();
        };
        let shorter = |path: &Path| open(path).set_len(700).unwrap();
        // Its length stays, and its time is set back.
        let rewritten = |path: &Path| {
            let before = fs::metadata(path).unwrap().modified().unwrap();
            // The time of the change is what tells, and has the grain of the kernel's clock tick.
            std::thread::sleep(std::time::Duration::from_millis(20));
            open(path).write_all(&[8; 1000]).unwrap();
            open(path).set_modified(before).unwrap();
        };
        for change in [&longer as &dyn Fn(&Path), &shorter, &rewritten] {
            assert!(FileChanged::is_inside(&read_around(change).unwrap_err()));
        }
    }
}
