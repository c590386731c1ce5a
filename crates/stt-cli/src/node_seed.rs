//! The secret of this machine: what its chamber is encrypted with.

use std::path::{Path, PathBuf};

use stc::{Key, Seed};
use zeroize::Zeroizing;

use crate::{error::CliError, output::Output, password, path_text::shown, private_file};

/// Environment variable that holds the node seed.
const VARIABLE: &str = "STT_NODE_SEED";

/// Where the node seed is unless something else is said.
fn default_path() -> Result<PathBuf, CliError> {
    let home = std::env::home_dir()
        .ok_or_else(|| CliError::new("node_seed.no_home", "this user has no home directory"))?;
    Ok(home.join(".seigr").join("node.seed"))
}

/// The node seed: from `file`, from [`VARIABLE`], or from its place in the home directory, where it
/// is made if `create`.
pub(crate) fn load(file: Option<&Path>, create: bool, output: &Output) -> Result<Seed, CliError> {
    if let Some(path) = file {
        return password::seed(path);
    }
    if let Ok(text) = std::env::var(VARIABLE)
        && !text.is_empty()
    {
        let bytes = Zeroizing::new(text.into_bytes());
        return Ok(Seed::from(password::composed(bytes).as_slice()));
    }
    let path = default_path()?;
    if path.exists() {
        return password::seed(&path);
    }
    if !create {
        return Err(CliError::new("node_seed.missing", "there is no node seed yet"));
    }
    let failed = |error: std::io::Error| CliError::file("could not make", &path, &error);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    create_at(&path, output).map(Seed::from)
}

/// Makes a node seed in a new file.
pub(crate) fn create_at(path: &Path, output: &Output) -> Result<Key, CliError> {
    let seed = Key::generate().map_err(|error| CliError::doing("no node seed was made", &error))?;
    let text = Zeroizing::new(format!("{}\n", seed.to_printable().as_str()));
    private_file::create(path, text.as_bytes())?;
    output.notice(&format!(
        "A node seed is now in {}. Without it nothing in the store can be read: back it up.",
        shown(path)
    ));
    Ok(seed)
}
