//! `stt send`: a file to another node.

use std::{convert::Infallible, path::PathBuf, time::Duration};

use clap::Args;
use serde_json::json;
use stt::{
    Session,
    transfer::{SendOptions, Sent, printable, send_file},
};
use tokio::time::{Instant, sleep};

use crate::{
    error::CliError,
    figures,
    network::{self, PeerArgs, SeedArgs},
    output::Output,
    path_text::shown,
    progress,
};

/// How often the session is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long nothing has to come before that is told.
const SILENCE: Duration = Duration::from_secs(5);

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
            let sending = send_file(&session, &self.file, &options);
            let sent = tokio::select! {
                sent = sending => sent,
                never = watch(&session, output) => match never {},
            };
            let sent = sent.map_err(|error| {
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

/// Says so when nothing comes from the receiver: it may be gone, which the session itself gives a
/// minute and a half.
async fn watch(session: &Session, output: &Output) -> Infallible {
    let (mut seen, mut heard, mut told) = (0, Instant::now(), false);
    loop {
        sleep(LOOK).await;
        let received = session.stats().datagrams_received;
        if received != seen {
            (seen, heard) = (received, Instant::now());
            if std::mem::take(&mut told) {
                output.note("The receiver answers again.");
            }
        } else if heard.elapsed() >= SILENCE && !told {
            told = true;
            let seconds = heard.elapsed().as_secs();
            output.note(&format!("Nothing has come from the receiver for {seconds} s. Waiting."));
            output.json_line(&json!({ "silent": { "seconds": seconds } }));
        }
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
        "Sent {} ({}{resumed}) in {}, {}. The receiver has verified it.",
        printable(&sent.name),
        figures::bytes(sent.size),
        figures::duration(sent.elapsed),
        figures::speed(speed),
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

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
