//! `up.json`: what a running node tells the other commands.

use std::{
    fs::{File, TryLockError},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// Name of the file.
pub(super) const NAME: &str = "up.json";
/// Most bytes that are read of it.
const MAX: u64 = 64 << 10;

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// It takes calls.
    Running,
    /// It was told to end.
    Stopping,
}

/// What a running node tells the other commands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) state: Phase,
    /// Process id.
    pub(crate) pid: u32,
    pub(crate) version: String,
    /// Milliseconds since 1970 (UTC).
    pub(crate) started_at_ms: u64,
    pub(crate) node_id: String,
    /// Where it listens for peers, HOST:PORT of UDP.
    pub(crate) address: String,
    /// The same for WebSockets: an URL.
    pub(crate) websocket: Option<String>,
    /// Where its gateway listens: an URL.
    pub(crate) gateway: String,
    /// File that holds the gateway's token.
    pub(crate) token_file: PathBuf,
    /// Directory of its store.
    pub(crate) store: PathBuf,
    /// Whether it takes part in the swarm.
    #[serde(default)]
    pub(crate) swarm: bool,
}

/// What the node that runs in `dir` told, if one runs there.
///
/// Its process holds a lock on the very file: what a killed one left behind is not locked, and says
/// nothing.
pub(crate) fn find(dir: &Path) -> Result<Option<Record>, CliError> {
    let path = dir.join(NAME);
    let failed = |error| CliError::file("could not read", &path, &error);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text).map_err(failed)?;
    serde_json::from_str(&text).map(Some).map_err(|error| {
        let what = format!("{} says nothing that this version knows: {error}", path.display());
        CliError::new("up.record", what)
    })
}
