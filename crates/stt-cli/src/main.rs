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
mod listen;
mod network;
mod node_seed;
mod output;
mod password;
mod private_file;
mod progress;
mod sealed_file;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::{commands::Command, output::Output};

/// Private byte streams between machines that share a seed.
#[derive(Parser)]
#[command(name = "stt", version, propagate_version = true)]
struct Cli {
    /// Print results and errors as JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
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
