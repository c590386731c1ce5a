//! Files that hold secrets: created with mode 0600, never overwriting anything.

use std::{fs::OpenOptions, io::Write, path::Path};

use crate::error::CliError;

/// Writes `contents` to a new file that only its owner can read.
pub(crate) fn create(path: &Path, contents: &[u8]) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()))
        .map_err(|error| CliError::file("could not write", path, &error))
}
