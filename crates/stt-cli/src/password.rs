//! Where passwords come from: never from the command line, which other users can read.

use std::{fs, io::IsTerminal, path::Path};

use stc::Seed;
use zeroize::Zeroizing;

use crate::{error::CliError, path_text::shown};

/// Environment variable that holds the password.
pub(crate) const VARIABLE: &str = "STT_PASSWORD";

/// A secret file without its line ending.
pub(crate) fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut bytes = fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| CliError::file("could not read", path, &error))?;
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Err(CliError::new("password.empty", format!("{} is empty", shown(path))));
    }
    Ok(bytes)
}

/// The seed in a file, as `stt seed new --out` writes it, or a phrase.
pub(crate) fn seed(path: &Path) -> Result<Seed, CliError> {
    from_file(path).map(|bytes| Seed::from(bytes.as_slice()))
}

/// From the file, or from [`VARIABLE`]; `None` when there is neither.
pub(crate) fn given(file: Option<&Path>) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
    if let Some(path) = file {
        return from_file(path).map(Some);
    }
    match std::env::var_os(VARIABLE) {
        Some(value) if !value.is_empty() => Ok(Some(Zeroizing::new(value.into_encoded_bytes()))),
        _ => Ok(None),
    }
}

/// Asks a person; twice for a new password, because nothing opens what a typing error sealed.
pub(crate) fn ask(prompt: &str, new: bool) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|_| {
            let why = if std::io::stdin().is_terminal() {
                "the password could not be read"
            } else {
                "there is no terminal to ask for the password"
            };
            CliError::new("password.missing", why)
                .with_hint(format!("use --password-file, or set {VARIABLE}"))
        })
    };
    let password = ask(format!("{prompt}: "))?;
    if password.is_empty() {
        return Err(CliError::new("password.empty", "the password is empty"));
    }
    if new && *ask(format!("{prompt}, again: "))? != *password {
        return Err(CliError::new("password.mismatch", "the two passwords differ")
            .with_hint("nothing was written; run it again"));
    }
    Ok(Zeroizing::new(password.as_bytes().to_vec()))
}
