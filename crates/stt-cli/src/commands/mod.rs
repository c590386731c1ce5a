//! One file per command.

mod decrypt;
mod encrypt;
mod inspect;
mod seed;
mod store;

use clap::Subcommand;

use crate::{error::CliError, output::Output};

/// What `stt` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the secret that your machines share.
    #[command(subcommand)]
    Seed(seed::SeedCommand),
    /// Encrypt a file with a password.
    Encrypt(encrypt::EncryptCommand),
    /// Decrypt what `stt encrypt` made.
    Decrypt(decrypt::DecryptCommand),
    /// Show what an encrypted file tells without its password.
    Inspect(inspect::InspectCommand),
    /// Keep files encrypted on this disk, found by their hash or by a name.
    #[command(subcommand)]
    Store(store::StoreCommand),
}

impl Command {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        match self {
            Self::Seed(command) => command.run(output),
            Self::Encrypt(command) => command.run(output),
            Self::Decrypt(command) => command.run(output),
            Self::Inspect(command) => command.run(output),
            Self::Store(command) => command.run(output),
        }
    }
}
