//! `stt`: every job a person does with STT.
//!
//! One file per command under `commands`; `output` decides who may print what; `error` turns any
//! failure into a sentence, a cause, a hint and a stable code.

mod commands;
mod daemon;
mod demo;
mod drops;
mod error;
mod figures;
mod hints;
mod listen;
mod logging;
mod members;
mod network;
mod node_seed;
mod output;
mod password;
mod path_text;
mod private_file;
mod progress;
mod publisher;
mod sealed_file;
mod settings_file;
mod signals;
mod supervisor;
mod terminal;

use std::{env, process::ExitCode};

use clap::{FromArgMatches, Parser, error::ErrorKind};

use crate::{commands::Command, error::CliError, output::Output};

/// Exit code: the command line makes no sense. The parser's own.
const EXIT_USAGE: u8 = 2;

/// Private byte streams between machines that share a seed.
#[derive(Parser)]
#[command(name = "stt", version, propagate_version = true)]
pub(crate) struct Cli {
    /// Print results and errors as JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(said) => return not_understood(&said),
    };
    let output = Output::new(cli.json);
    let cli = match cli.command.settings_file().map(|file| settings_file::parse_with(&file)) {
        None => cli,
        Some(Ok(Ok(cli))) => cli,
        Some(Ok(Err(said))) => return not_understood(&said),
        Some(Err(error)) => {
            output.error(&error);
            let _ = output.finish();
            return ExitCode::from(error.exit());
        }
    };
    signals::watch(&output);
    let done = cli.command.run(&output);
    if let Err(error) = &done {
        output.error(error);
    }
    if let Err(unwritten) = output.finish() {
        // What nobody has does not count as done.
        output.unwritten(&unwritten);
        return ExitCode::FAILURE;
    }
    done.map_or_else(
        |error| {
            if error.is_interrupted() {
                signals::end_as_told();
            }
            ExitCode::from(error.exit())
        },
        |()| ExitCode::SUCCESS,
    )
}

fn parse() -> Result<Cli, clap::Error> {
    let mut found = settings_file::parser::<Cli>().try_get_matches()?;
    Cli::from_arg_matches_mut(&mut found)
}

/// The command line asked for help, or was wrong.
fn not_understood(said: &clap::Error) -> ExitCode {
    let json = env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if !(json && said.use_stderr()) {
        said.exit();
    }
    let text = said.to_string();
    let what = match said.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is missing",
        _ => text.lines().next().unwrap_or_default(),
    };
    let output = Output::new(true);
    output.error(&CliError::new("usage.arguments", what.strip_prefix("error: ").unwrap_or(what)));
    let _ = output.finish();
    ExitCode::from(EXIT_USAGE)
}
