//! Used knocks on disk, so that a restart does not let a recorded one in again.
//!
//! One record of 20 bytes for each: what was seen on the wire, and nothing else.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::packet_header::KNOCK_LEN;

/// A file of knocks.
#[derive(Debug)]
pub(crate) struct KnockLog {
    file: File,
    path: PathBuf,
    records: usize,
}

/// A log, what it held, and whether it was there before.
pub(crate) struct Opened {
    pub(crate) log: KnockLog,
    pub(crate) knocks: Vec<[u8; KNOCK_LEN]>,
    pub(crate) existed: bool,
}

impl KnockLog {
    /// Opens the log at `path`, or starts one. What a crash left of a last record is ignored.
    pub(crate) fn open(path: &Path) -> io::Result<Opened> {
        let held = match fs::read(path) {
            Ok(held) => Some(held),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let existed = held.is_some();
        let knocks: Vec<_> = held.unwrap_or_default().as_chunks::<KNOCK_LEN>().0.to_vec();
        let log = Self::write_anew(path, &knocks)?;
        Ok(Opened { log, knocks, existed })
    }

    /// Adds a knock. `sync` waits until it is on the disk.
    pub(crate) fn append(&mut self, knock: &[u8; KNOCK_LEN], sync: bool) -> io::Result<()> {
        self.file.write_all(knock)?;
        self.records += 1;
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    /// Records in the file, those that are no longer needed included.
    pub(crate) const fn records(&self) -> usize {
        self.records
    }

    /// Leaves only `knocks` in the file.
    pub(crate) fn compact(&mut self, knocks: &[[u8; KNOCK_LEN]]) -> io::Result<()> {
        *self = Self::write_anew(&self.path, knocks)?;
        Ok(())
    }

    /// Writes under another name and renames, so that there is always one whole file.
    fn write_anew(path: &Path, knocks: &[[u8; KNOCK_LEN]]) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let temporary = path.with_file_name(name);
        // What is left of an attempt that a crash ended, or a link that somebody else put there.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(knocks.as_flattened())?;
        file.sync_all()?;
        stc_durable::rename(&temporary, path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { file, path: path.to_owned(), records: knocks.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_the_unfinished_log_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let path = folder.path().join("knocks");
        std::os::unix::fs::symlink(&victim, folder.path().join("knocks.new")).unwrap();
        let opened = KnockLog::open(&path).unwrap();
        assert!(!opened.existed);
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[test]
    fn knocks_survive_and_a_torn_record_does_not_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("knocks");
        let Opened { mut log, knocks, existed } = KnockLog::open(&path).unwrap();
        assert!(knocks.is_empty() && !existed);
        log.append(&[1; KNOCK_LEN], false).unwrap();
        log.append(&[2; KNOCK_LEN], true).unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[3; 7]).unwrap();

        let Opened { mut log, knocks, existed } = KnockLog::open(&path).unwrap();
        assert!(existed);
        assert_eq!(knocks, [[1; KNOCK_LEN], [2; KNOCK_LEN]]);
        log.append(&[4; KNOCK_LEN], false).unwrap();
        log.compact(&[[2; KNOCK_LEN]]).unwrap();
        log.append(&[5; KNOCK_LEN], false).unwrap();
        assert_eq!(log.records(), 2);
        let Opened { knocks, .. } = KnockLog::open(&path).unwrap();
        assert_eq!(knocks, [[2; KNOCK_LEN], [5; KNOCK_LEN]]);
    }
}
