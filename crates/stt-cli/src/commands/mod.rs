//! One file per command.

mod config;
mod decrypt;
mod demo;
mod encrypt;
pub(crate) mod fetch;
mod inspect;
mod log;
mod peers;
mod ping;
mod publish;
mod receive;
mod seed;
mod send;
mod share;
mod status;
mod store;
mod subscribe;
mod up;

use std::path::PathBuf;

use clap::Subcommand;

use crate::{error::CliError, output::Output};

/// What `stt` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show it all: two nodes on this machine, a real file between them, and the proof.
    Demo(demo::DemoCommand),
    /// Make the secret that your machines share.
    #[command(subcommand)]
    Seed(seed::SeedCommand),
    /// Send a file to a node that runs `stt receive`.
    Send(send::SendCommand),
    /// Receive files from nodes that share the seed.
    Receive(receive::ReceiveCommand),
    /// Run a node with its store, for other programs and the other commands, until it is told to
    /// end.
    Up(up::UpCommand),
    /// Print all settings of `stt up`, as a file to begin with.
    Config(config::ConfigCommand),
    /// Show what runs in the directory of `stt up`.
    Status(status::StatusCommand),
    /// Show or change what of the log of a running node is told.
    Log(log::LogCommand),
    /// Let members fetch a file or folder from this machine; prints the ticket that they need.
    Share(share::ShareCommand),
    /// Fetch what members share, from all of them at once.
    Fetch(fetch::FetchCommand),
    /// Publish messages to all members who subscribe to a topic.
    Pub(publish::PubCommand),
    /// Print what members publish on a topic.
    Sub(subscribe::SubCommand),
    /// Show who is in the swarm.
    Peers(peers::PeersCommand),
    /// Ask whether a node is there, and how far away it is.
    Ping(ping::PingCommand),
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
    /// The file with the settings of the command, if it has such and there is one.
    pub(crate) fn settings_file(&self) -> Option<PathBuf> {
        match self {
            Self::Up(command) => command.settings_file(),
            _ => None,
        }
    }

    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        match self {
            Self::Demo(command) => command.run(output),
            Self::Seed(command) => command.run(output),
            Self::Send(command) => command.run(output),
            Self::Receive(command) => command.run(output),
            Self::Up(command) => command.run(output),
            Self::Config(command) => command.run(output),
            Self::Status(command) => command.run(output),
            Self::Log(command) => command.run(output),
            Self::Share(command) => command.run(output),
            Self::Fetch(command) => command.run(output),
            Self::Pub(command) => command.run(output),
            Self::Sub(command) => command.run(output),
            Self::Peers(command) => command.run(output),
            Self::Ping(command) => command.run(output),
            Self::Encrypt(command) => command.run(output),
            Self::Decrypt(command) => command.run(output),
            Self::Inspect(command) => command.run(output),
            Self::Store(command) => command.run(output),
        }
    }
}
