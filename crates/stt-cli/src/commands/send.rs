//! `stt send`: a file to another node.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stt::{
    Session,
    transfer::{SendOptions, Sent, send_file},
};

use crate::{
    error::CliError,
    figures,
    network::{self, PeerArgs, SeedArgs},
    output::Output,
    path_text::shown,
    progress,
};

#[derive(Args)]
pub(crate) struct SendCommand {
    /// The file.
    file: PathBuf,
    /// Where `stt receive` listens.
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// Offer it under another name.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    peer: PeerArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

impl SendCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        if !self.file.is_file() {
            // Asked before the seed: nobody likes to type one for nothing.
            let cause = std::fs::metadata(&self.file).map_or_else(
                |error| CliError::file("could not open", &self.file, &error),
                |_| {
                    let path = self.file.clone();
                    let error = stt::transfer::TransferError::NotAFile { path };
                    CliError::doing("nothing was sent", &error)
                },
            );
            return Err(cause);
        }
        let builder = self.seed.builder(output)?;
        let sent = network::run(async {
            let (node, session) = self.peer.connect(builder, &self.to).await?;
            output.json_line(&json!({
                "connected": {
                    "node_id": node.node_id().to_string(),
                    "session": figures::session(&session),
                }
            }));
            let mut options = SendOptions::default();
            options.name = self.name.clone();
            options.progress = Some(progress::handler(output));
            let sent = send_file(&session, &self.file, &options).await.map_err(|error| {
                CliError::doing(format!("{} was not sent", shown(&self.file)), &error)
            });
            if let Ok(sent) = &sent {
                report(output, sent, &session);
            }
            network::stop(&node).await;
            sent
        })?;
        sent.map(drop).ok_or_else(|| network::interrupted("sending"))
    }
}

fn report(output: &Output, sent: &Sent, session: &Session) {
    let moved = sent.size.saturating_sub(sent.resumed_at);
    let speed = figures::megabytes_per_second(moved, sent.elapsed);
    let resumed = match sent.resumed_at {
        0 => String::new(),
        at => format!(", {} of it earlier", figures::bytes(at)),
    };
    output.note(&format!(
        "Sent {} ({}{resumed}) in {}, {speed:.0} MB/s. The receiver has verified it.",
        sent.name,
        figures::bytes(sent.size),
        figures::duration(sent.elapsed),
    ));
    output.json_line(&json!({
        "sent": {
            "name": sent.name,
            "bytes": sent.size,
            "resumed_at": sent.resumed_at,
            "blake3": hex(&sent.hash),
            "seconds": sent.elapsed.as_secs_f64(),
            "megabytes_per_second": speed,
            "session": figures::session(session),
        }
    }));
}

/// A hash as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
