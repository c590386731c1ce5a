//! One file per command.

mod seed;

use clap::Subcommand;

use crate::{error::CliError, output::Output};

/// What `stt` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the secret that your machines share.
    #[command(subcommand)]
    Seed(seed::SeedCommand),
}

impl Command {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        match self {
            Self::Seed(command) => command.run(output),
        }
    }
}
