//! One node per directory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::record::{self, NAME, Record};
use crate::error::CliError;

/// Name of the file whose lock only one process has.
const LOCK: &str = "lock";

/// The right to run a node in a directory. Dropped, another process may have it.
pub(crate) struct Claim {
    dir: PathBuf,
    /// What the other commands read, locked as long as it holds true.
    told: Option<File>,
    _lock: File,
}

impl Claim {
    /// Takes the directory, which is made if it is not there.
    pub(crate) fn take(dir: &Path) -> Result<Self, CliError> {
        let dir = std::path::absolute(dir)
            .map_err(|error| CliError::file("could not find", dir, &error))?;
        let mut make = DirBuilder::new();
        make.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut make, 0o700);
        make.create(&dir).map_err(|error| CliError::file("could not make", &dir, &error))?;
        let path = dir.join(LOCK);
        let failed = |error: io::Error| CliError::file("could not lock", &path, &error);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(&dir)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self { dir, told: None, _lock: lock })
    }

    /// The directory, absolute.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Tells the other commands, in place of what was told before.
    pub(crate) fn tell(&mut self, record: &Record) -> Result<(), CliError> {
        let path = self.dir.join(NAME);
        let failed = |error: io::Error| CliError::file("could not write", &path, &error);
        let text = serde_json::to_string_pretty(record).map_err(|error| failed(error.into()))?;
        // Locked before it has its name, so that nobody sees it without.
        let mut file =
            tempfile::Builder::new().prefix(".up-").tempfile_in(&self.dir).map_err(failed)?;
        file.as_file().try_lock().map_err(|error| failed(error.into()))?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        let file = file.persist(&path).map_err(|error| failed(error.error))?;
        self.told = Some(file);
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.told.is_some() {
            // What stays is not locked any more, so it misleads nobody.
            let _ = fs::remove_file(self.dir.join(NAME));
        }
    }
}

fn taken(dir: &Path) -> CliError {
    let by = match record::find(dir) {
        Ok(Some(record)) => format!(", process {}", record.pid),
        // It is still starting, or it is another version.
        Ok(None) | Err(_) => String::new(),
    };
    CliError::new("up.running", format!("a node already runs in {}{by}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Phase, find};

    fn record(state: Phase) -> Record {
        Record {
            state,
            pid: 7,
            version: "1".into(),
            started_at_ms: 1,
            node_id: "ab".into(),
            address: "127.0.0.1:1".into(),
            websocket: None,
            gateway: "http://127.0.0.1:2".into(),
            token_file: "token".into(),
            store: "store".into(),
            swarm: true,
        }
    }

    #[test]
    fn what_was_told_counts_while_the_teller_lives() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find(dir.path()).unwrap().is_none());
        let mut claim = Claim::take(dir.path()).unwrap();
        assert!(find(dir.path()).unwrap().is_none(), "nothing was told yet");
        claim.tell(&record(Phase::Running)).unwrap();
        assert_eq!(find(dir.path()).unwrap().unwrap().pid, 7);
        claim.tell(&record(Phase::Stopping)).unwrap();
        assert_eq!(find(dir.path()).unwrap().unwrap().state, Phase::Stopping);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let second = Claim::take(dir.path()).map(drop).unwrap_err();
        assert_eq!(second.to_json()["error"]["code"], "up.running");

        let left = fs::read(dir.path().join(NAME)).unwrap();
        drop(claim);
        assert!(!dir.path().join(NAME).exists());
        // As after a kill: the file is there, and nobody holds it.
        fs::write(dir.path().join(NAME), left).unwrap();
        assert!(find(dir.path()).unwrap().is_none());
        Claim::take(dir.path()).unwrap();
    }
}
