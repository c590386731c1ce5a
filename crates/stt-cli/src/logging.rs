//! The log of a node that stays: what its libraries tell, on stderr.

use std::{
    fmt::Debug,
    io::{self, Write},
};

use stt_gateway::LogLevels;
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::{error::CliError, output::Output};

/// Longest text of levels, in bytes.
const LONGEST: usize = 4096;

/// The levels of the log, which may change while it runs.
pub(crate) struct Levels(reload::Handle<Targets, Registry>);

/// Begins to tell events of these levels. Once in a process.
pub(crate) fn start(levels: &str, output: &Output) -> Result<Levels, CliError> {
    let refused = |what: String| CliError::new("usage.log", what);
    let (filter, handle) = reload::Layer::new(parse(levels).map_err(refused)?);
    let lines = fmt::layer().with_ansi(false).with_writer(Lines(output.clone()));
    let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
    started.map_err(|error| CliError::new("log.start", format!("there is no log: {error}")))?;
    Ok(Levels(handle))
}

fn parse(levels: &str) -> Result<Targets, String> {
    if levels.len() > LONGEST {
        return Err(format!("levels have {LONGEST} bytes at most"));
    }
    // A component's name alone would mean all that it tells: more likely it is a level misspelt.
    let lone = levels.split(',').map(str::trim).filter(|part| !part.contains('='));
    if let Some(word) = lone.clone().find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(format!("`{word}` is no level"));
    }
    levels.parse().map_err(|error| format!("`{levels}` are no levels: {error}"))
}

impl Debug for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Levels").field(&self.get()).finish()
    }
}

impl LogLevels for Levels {
    fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    fn set(&self, levels: &str) -> Result<(), String> {
        let targets = parse(levels)?;
        self.0.reload(targets).map_err(|error| error.to_string())
    }
}

/// Lines of the log on their way to stderr.
struct Lines(Output);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine { output: &self.0, text: Vec::new() }
    }
}

/// One of them, which goes when it is whole.
struct LogLine<'a> {
    output: &'a Output,
    text: Vec<u8>,
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.output.log(String::from_utf8_lossy(&self.text).trim_end());
        }
    }
}
