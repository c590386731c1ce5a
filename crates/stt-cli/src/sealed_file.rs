//! What `encrypt`, `decrypt` and `inspect` share: inputs, outputs, contexts, exit codes.

use std::{
    io::{self, ErrorKind, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use stc::{Coded, Context, OpenError, OutputFile, SealError, SteadyFile};

use crate::{error::CliError, output::Output, password, path_text::shown};

/// Exit code: no password, seed or context data fitted.
const EXIT_NOTHING_OPENS: u8 = 3;
/// Exit code: the data is no envelope, damaged, or cut off.
const EXIT_DAMAGED: u8 = 4;

/// The name that stands for standard input or output.
pub(crate) fn is_pipe(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Where data comes from, and how much of it there is if that is known.
pub(crate) fn input(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), CliError> {
    if is_pipe(path) {
        return Ok((Box::new(io::stdin()), None));
    }
    let file =
        SteadyFile::open(path).map_err(|error| CliError::file("could not read", path, &error))?;
    let len = file.known_len();
    Ok((Box::new(file), len))
}

/// Standard output, for bytes. A person's terminal gets none of them unasked.
pub(crate) fn pipe_out(output: &Output, asked: bool) -> Result<impl Write + Send, CliError> {
    if output.is_json() {
        return Err(CliError::new(
            "usage.json_pipe",
            "the result and the JSON report cannot both go to standard output",
        ));
    }
    if !asked && io::stdout().is_terminal() {
        return Err(CliError::new("usage.terminal", "the result would go to the terminal"));
    }
    Ok(io::stdout())
}

/// Whether the output `path` may be written; asked before anything is worked on.
pub(crate) fn writable(path: &Path, force: bool) -> Result<(), CliError> {
    OutputFile::check(path, force).map_err(|error| unwritable(path, &error))
}

/// The output `path` could not be written.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> CliError {
    let told = CliError::file("could not write", path, error);
    if error.kind() == io::ErrorKind::AlreadyExists {
        return told.with_hint("choose another name with -o, or replace it with --force");
    }
    told
}

/// A context from a seed file, or one whose only secret is the password.
pub(crate) fn context(seed: Option<&Path>) -> Result<Context, CliError> {
    let made = match seed {
        Some(path) => Context::new(password::seed(path)?),
        None => Context::seedless().build(),
    };
    made.map_err(|error| CliError::doing("no context was made", &error))
}

/// A file operation inside of `error`, told with the file's name.
fn file_error(what: &str, output: &Path, source: &io::Error) -> Option<CliError> {
    let full = matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    ((what.contains("output") || full) && !is_pipe(output)).then(|| unwritable(output, source))
}

/// `input` was not encrypted.
pub(crate) fn not_encrypted(input: &Path, output: &Path, error: &SealError) -> CliError {
    if let SealError::Io { what, source } = error
        && let Some(told) = file_error(what, output, source)
    {
        return told;
    }
    CliError::doing(format!("{} was not encrypted", shown(input)), error)
}

/// `input` was not decrypted.
pub(crate) fn not_decrypted(input: &Path, output: &Path, error: &OpenError) -> CliError {
    if let OpenError::Io { what, source } = error
        && let Some(told) = file_error(what, output, source)
    {
        return told;
    }
    let told = CliError::doing(format!("{} was not decrypted", shown(input)), error);
    match error {
        OpenError::NothingOpens => told.with_exit(EXIT_NOTHING_OPENS),
        OpenError::Io { .. } | OpenError::Stretch(_) | OpenError::TooDear { .. } => told,
        _ => told.with_exit(EXIT_DAMAGED),
    }
}

/// `input` is not an envelope.
pub(crate) fn not_an_envelope(input: &Path, error: &impl Coded) -> CliError {
    CliError::doing(format!("{} cannot be inspected", shown(input)), error).with_exit(EXIT_DAMAGED)
}

/// `path` with `.stc` at its end.
pub(crate) fn sealed_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".stc");
    name.into()
}
