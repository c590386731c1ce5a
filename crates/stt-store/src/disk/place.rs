//! Whether a directory is a store, may become one, or belongs to somebody else, and which files in
//! its `tmp` are ours.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{fs::Fs, shards::shard_at};
use crate::StoreError;

/// What the file `format` says.
pub(super) const FORMAT: &[u8] = b"stt-store 1\n";

/// Names in the directory of a store whose making was interrupted.
const HALF_MADE: [&str; 5] = ["tmp", "files", "lock", "holder", "index.redb"];
/// Names in its `tmp`.
const HALF_MADE_TMP: [&str; 2] = ["index.redb", "format"];

/// Refuses a directory that is neither a store, nor empty, nor a store that was not made to its end.
/// Changes nothing.
///
/// # Errors
/// [`StoreError::NotAStore`].
pub(super) fn check(fs: &Arc<dyn Fs>, dir: &Path) -> Result<(), StoreError> {
    let place = dir.display().to_string();
    let failed = |error: io::Error| StoreError::io(format!("the store in {place}"), &error);
    let format = dir.join("format");
    if fs.exists(&format).map_err(failed)? {
        return if is_ours(fs, &format).map_err(failed)? {
            Ok(())
        } else {
            Err(StoreError::NotAStore { place, found: "format".to_owned() })
        };
    }
    match foreign(fs, dir).map_err(failed)? {
        // Another process may have made the store to its end meanwhile.
        Some(found) if !fs.exists(&format).map_err(failed)? => {
            Err(StoreError::NotAStore { place, found })
        }
        _ => Ok(()),
    }
}

fn is_ours(fs: &Arc<dyn Fs>, format: &Path) -> io::Result<bool> {
    let file = fs.open(format, false)?;
    let mut text = vec![0; FORMAT.len()];
    Ok(match file.len()? {
        // Written before its name, so a crash leaves it whole; the index tells its version.
        len if len < FORMAT.len() as u64 => false,
        _ => {
            file.read_at(0, &mut text)?;
            text.starts_with(b"stt-store ")
        }
    })
}

/// Something that the making of a store does not leave.
fn foreign(fs: &Arc<dyn Fs>, dir: &Path) -> io::Result<Option<String>> {
    let name = |path: &Path| {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let one_of = |known: &[&str], path: &Path| known.contains(&name(path).as_str());
    for path in fs.list(dir)? {
        if !one_of(&HALF_MADE, &path) || fs.is_link(&path)? {
            return Ok(Some(name(&path)));
        }
    }
    for path in fs.list(&dir.join("tmp"))? {
        if !one_of(&HALF_MADE_TMP, &path) || fs.is_link(&path)? {
            return Ok(Some(format!("tmp/{}", name(&path))));
        }
    }
    for shard in fs.list(&dir.join("files"))? {
        let mut inside = match shard_at(&shard) {
            Some(_) if !fs.is_link(&shard)? => fs.list(&shard)?,
            _ => vec![shard],
        };
        if let Some(path) = inside.pop() {
            return Ok(Some(format!("files/{}", name(&path))));
        }
    }
    Ok(None)
}

/// The files in `tmp` that have names as we give them. What else is there, somebody put there.
pub(super) fn leftovers(fs: &Arc<dyn Fs>, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let tmp = dir.join("tmp");
    if fs.is_link(&tmp)? {
        return Ok(Vec::new());
    }
    let mut found = fs.list(&tmp)?;
    found.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        HALF_MADE_TMP.contains(&name) || (name.len() == 32 && name.bytes().all(digit))
    });
    Ok(found)
}
