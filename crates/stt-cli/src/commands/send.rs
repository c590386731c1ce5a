//! `stt send`: files and directories to another node.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::json;
use stt::{
    Session,
    transfer::{self, SendOptions, Sent, TransferError, printable},
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
    /// Files and directories; links in directories are left out.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where `stt receive` listens.
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// Offer it under another name; for one path.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    peer: PeerArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

impl SendCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        // Asked before the seed: nobody likes to type one for nothing.
        for path in &self.paths {
            let about = std::fs::metadata(path)
                .map_err(|error| CliError::file("could not open", path, &error))?;
            if !about.is_file() && !about.is_dir() {
                let error = TransferError::NotAFile { path: path.clone() };
                return Err(CliError::doing("nothing was sent", &error));
            }
        }
        if self.name.is_some() && self.paths.len() > 1 {
            let several = "one name cannot be that of several files or directories";
            return Err(CliError::new("usage.name", several).with_hint("send them one by one"));
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
            let sent = tokio::select! {
                sent = self.send_all(&session, output) => sent,
                never = watch(&session, output) => match never {},
            };
            network::stop(&node).await;
            sent
        })?;
        sent.ok_or_else(|| network::interrupted("sending"))
    }

    /// One after the other. What is declined keeps none of the others from going.
    async fn send_all(&self, session: &Session, output: &Output) -> Result<(), CliError> {
        let options =
            SendOptions::new().name(self.name.clone()).progress(progress::handler(output));
        let mut failed: Option<CliError> = None;
        for path in &self.paths {
            match send_one(session, path, &options).await {
                Ok(sent) => report(output, &sent, session),
                Err(error) => {
                    // The last one is told at the end.
                    if let Some(before) = failed.replace(error) {
                        output.error(&before);
                    }
                    if session.close_reason().is_some() {
                        break;
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

async fn send_one(session: &Session, path: &Path, options: &SendOptions) -> Result<Sent, CliError> {
    let failed = |error| CliError::doing(format!("{} was not sent", shown(path)), &error);
    transfer::send(session, path, options).await.map_err(failed)
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
    let of_files = if sent.is_dir {
        format!("{}, ", figures::counted(sent.files, "file"))
    } else {
        String::new()
    };
    output.note(&format!(
        "Sent {} ({of_files}{}{resumed}) in {}, {}. The receiver has verified it.",
        printable(&sent.name),
        figures::bytes(sent.size),
        figures::duration(sent.elapsed),
        figures::speed(speed),
    ));
    if sent.left_out > 0 {
        let links = figures::counted(sent.left_out, "link or special file");
        output.note(&format!("Left out: {links}."));
    }
    output.json_line(&json!({
        "sent": {
            "name": sent.name,
            "files": sent.files,
            "left_out": sent.left_out,
            "bytes": sent.size,
            "resumed_at": sent.resumed_at,
            "blake3": sent.hash.to_string(),
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
