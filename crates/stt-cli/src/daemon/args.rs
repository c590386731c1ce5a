//! Which running node a command uses.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Client, not_running};
use crate::{error::CliError, path_text::shown};

/// The running node that a command uses, if it is to use one.
#[derive(Args)]
pub(crate) struct NodeArgs {
    /// Let the node do it that `stt up` runs in this directory, instead of one of the command's
    /// own.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["seed_file", "strict_seed", "node_seed_file"]
    )]
    dir: Option<PathBuf>,
}

impl NodeArgs {
    /// The directory of the node, if one is to be used.
    pub(crate) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }
}

/// A path as the running node finds it.
pub(crate) fn path_for(path: &Path) -> Result<String, CliError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| CliError::file("could not find", path, &error))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| CliError::new("up.path", format!("{} cannot be said to a node", shown(path))))
}

/// Connects to the node that has to run in `dir`.
pub(crate) async fn connect(dir: &Path) -> Result<Client, CliError> {
    Client::connect(dir).await?.ok_or_else(|| not_running(dir))
}
