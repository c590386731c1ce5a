//! Who has a store open: a lock, and a note beside it that says whose it is.

use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::fs::Fs;
use crate::{Holder, StoreError};

/// Longest note that is read.
const NOTE_MAX: u64 = 4096;

/// Held as long as the store is open.
pub(crate) struct Lock {
    /// `None` where a reader found no file to lock: nobody can write there.
    _lock: Option<Box<dyn Send + Sync>>,
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Lock {
    /// Takes the lock of the store in `dir`.
    pub(crate) fn take(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Self, StoreError> {
        let place = dir.display().to_string();
        let lock = fs
            .try_lock(&dir.join("lock"))
            .map_err(|error| StoreError::io(format!("the lock of {place}"), &error))?;
        let Some(lock) = lock else {
            return Err(StoreError::InUse { place, holder: read_note(fs, dir) });
        };
        // The note only serves messages: the lock counts without it.
        let _ = write_note(fs, dir);
        Ok(Self { _lock: Some(lock) })
    }

    /// Takes a share of the lock, which other readers can have too. Changes nothing.
    pub(crate) fn share(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Self, StoreError> {
        let place = dir.display().to_string();
        match fs.try_share(&dir.join("lock")) {
            Ok(Some(lock)) => Ok(Self { _lock: Some(lock) }),
            Ok(None) => Err(StoreError::InUse { place, holder: read_note(fs, dir) }),
            // A copy without it, on a medium that cannot be written to.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self { _lock: None }),
            Err(error) => Err(StoreError::io(format!("the lock of {place}"), &error)),
        }
    }
}

fn write_note(fs: &Arc<dyn Fs>, dir: &Path) -> std::io::Result<()> {
    let path = dir.join("holder");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    let note = format!(
        "pid={}\nsince={since}\nprogram={}\n",
        std::process::id(),
        program.to_string_lossy()
    );
    if fs.exists(&path)? {
        fs.remove(&path)?;
    }
    fs.create_new(&path)?.write_at(0, note.as_bytes())
}

fn read_note(fs: &Arc<dyn Fs>, dir: &Path) -> Holder {
    let read = || -> std::io::Result<Vec<u8>> {
        let file = fs.open(&dir.join("holder"), false)?;
        let len = usize::try_from(file.len()?.min(NOTE_MAX)).unwrap_or_default();
        let mut note = vec![0; len];
        file.read_at(0, &mut note)?;
        Ok(note)
    };
    parse_note(&String::from_utf8_lossy(&read().unwrap_or_default()))
}

fn parse_note(note: &str) -> Holder {
    let field = |name: &str| {
        let mut values = note.lines().filter_map(|line| line.split_once('='));
        values.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    // What another program wrote into the file must not reach a terminal as control characters.
    let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(64).collect::<String>();
    Holder {
        pid: field("pid").and_then(|text| text.parse().ok()),
        since: field("since").and_then(|text| text.parse().ok()),
        program: field("program").map(clean).filter(|text| !text.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_note_is_no_reason_to_fail() {
        let nobody = Holder { pid: None, since: None, program: None };
        assert_eq!(parse_note(""), nobody);
        assert_eq!(parse_note("pid=-1\nsince=x\nprogram=\u{1b}\u{7}\n==\n"), nobody);
        let known = parse_note("pid=7\nsince=9\nprogram=stt\n");
        assert_eq!(known, Holder { pid: Some(7), since: Some(9), program: Some("stt".into()) });
    }
}
