//! `stt receive`: files and directories from other nodes.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::Args;
use serde_json::json;
use stt::{
    Mode, Node, ProtocolStream, Session,
    transfer::{self, ReceiveOptions, Received, TransferError, Unfinished, unfinished},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    drops,
    error::CliError,
    figures,
    listen::ListenArgs,
    network::{self, SeedArgs},
    output::Output,
    path_text::{shown, with_path},
    progress,
};

/// Unfinished files that nobody went on with for so long are removed.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[derive(Args)]
pub(crate) struct ReceiveCommand {
    /// Where files are put; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Replace files that have the name of one that arrives; directories never are.
    #[arg(long)]
    overwrite: bool,
    /// Keep the sender's permissions, but for those of others to write, and times of last change.
    #[arg(long)]
    preserve: bool,
    /// End after one file or directory.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

/// A file that arrived or did not.
type Outcome = (Session, Result<Received, TransferError>);

impl ReceiveCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|error| CliError::file("could not make", &self.dir, &error))?;
        // Found out now, and not by the first sender.
        tempfile::tempfile_in(&self.dir)
            .map_err(|error| CliError::file("could not write into", &self.dir, &error))?;
        let unfinished = unfinished(&self.dir, FORGOTTEN)
            .map_err(|error| CliError::file("could not read", &self.dir, &error))?;
        let builder = self.listen.apply(self.seed.builder(output)?)?;
        let options = ReceiveOptions::new()
            .overwrite(self.overwrite)
            .preserve(self.preserve)
            .progress(progress::handler(output))
            .files_left(self.once.then(|| Arc::new(AtomicUsize::new(1))));
        let moving = Arc::new(AtomicUsize::new(0));
        let ended = network::run(async {
            let node = network::start(builder, Mode::Server).await?;
            let websocket = node.websocket_addr();
            output.note(&format!(
                "Listening on {}{} as {}. Files go to {}. Ctrl-C ends it.",
                node.local_addr(),
                websocket.map(|at| format!(" and ws://{at}")).unwrap_or_default(),
                node.node_id(),
                shown(&self.dir)
            ));
            output.json_line(&json!({
                "listening": {
                    "address": node.local_addr().to_string(),
                    "websocket": websocket.map(|at| format!("ws://{at}")),
                    "node_id": node.node_id().to_string(),
                    "unfinished_files": unfinished.files,
                    "unfinished_bytes": unfinished.bytes,
                    "removed_files": unfinished.removed_files,
                    "removed_bytes": unfinished.removed_bytes,
                }
            }));
            tell_unfinished(output, &unfinished);
            let result = tokio::select! {
                result = serve(&node, (&self.dir, self.once), &options, &moving, output) => result,
                () = drops::watch(&node, output) => Ok(()),
            };
            network::stop(&node).await;
            result
        })?;
        let cut_off = u64::try_from(moving.load(Ordering::SeqCst)).unwrap_or(u64::MAX);
        if ended.is_none() && cut_off > 0 {
            let transfers = figures::counted(cut_off, "transfer");
            output.note(&format!("Cut off {transfers}. What arrived stays for the next attempt."));
            output.json_line(&json!({ "cut_off": cut_off }));
        }
        Ok(())
    }
}

/// Says what interrupted transfers left.
fn tell_unfinished(output: &Output, found: &Unfinished) {
    let sized = |files, bytes| {
        format!("{} ({})", figures::counted(files, "unfinished file"), figures::bytes(bytes))
    };
    if found.files > 0 {
        let left = sized(found.files, found.bytes);
        output.note(&format!("There: {left} that senders can go on with."));
    }
    if found.removed_files > 0 {
        let gone = sized(found.removed_files, found.removed_bytes);
        output.note(&format!("Removed: {gone} that nobody went on with for a week."));
    }
}

/// A transfer that is under way.
struct Moving(Arc<AtomicUsize>);

impl Moving {
    /// It came to its end. One that is dropped instead was cut off.
    fn over(self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

/// Takes files into `dir`, one if it is to be `once`.
async fn serve(
    node: &Node,
    (dir, once): (&Path, bool),
    options: &ReceiveOptions,
    moving: &Arc<AtomicUsize>,
    output: &Output,
) -> Result<(), CliError> {
    // The next one waits for this loop.
    let (offer, mut offered) = mpsc::channel(1);
    let _handler = node
        .handle_protocol(transfer::LABEL, move |session, stream| {
            let offer = offer.clone();
            async move { drop(offer.send((session, stream)).await) }
        })
        .map_err(|error| CliError::doing("no files are taken", &error))?;
    // Dropped with this, so that a transfer ends when the command does.
    let (mut transfers, mut sessions) = (JoinSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            Some(session) = node.accept() => {
                sessions.spawn(turn_away(session, output.clone()));
            }
            Some(_) = sessions.join_next() => {}
            Some((session, stream)) = offered.recv() => {
                let (dir, options) = (dir.to_owned(), options.clone());
                transfers.spawn(take(session, stream, dir, options, Moving::begin(moving)));
            }
            // One that panicked has told its sender.
            Some(Ok((session, outcome))) = transfers.join_next() => match outcome {
                Ok(received) => {
                    report(output, &received, &session);
                    if once {
                        return Ok(());
                    }
                }
                // Another one is about to arrive.
                Err(TransferError::Over) => {}
                Err(error) => {
                    let failed = CliError::doing("a file did not arrive", &error);
                    if once {
                        return Err(failed);
                    }
                    output.error(&failed);
                }
            },
        }
    }
}

/// Tells senders of the first version that they are declined, and who runs this why.
async fn turn_away(session: Session, output: Output) {
    let mut told = false;
    while let Ok(stream) = session.accept_stream().await {
        let _ = transfer::decline_first_version(stream).await;
        if !std::mem::replace(&mut told, true) {
            let peer = session.peer_node_id();
            let old = format!("{peer:.16}… sends as the first version did, and was declined");
            output.error(&CliError::new("transfer.version", old));
        }
    }
}

async fn take(
    session: Session,
    stream: ProtocolStream,
    dir: PathBuf,
    options: ReceiveOptions,
    moving: Moving,
) -> Outcome {
    let outcome = transfer::receive(stream, &dir, &options).await;
    moving.over();
    (session, outcome)
}

fn report(output: &Output, received: &Received, session: &Session) {
    let moved = received.size.saturating_sub(received.resumed_at);
    let speed = figures::megabytes_per_second(moved, received.elapsed);
    let of_files = if received.is_dir {
        format!("{}, ", figures::counted(received.files, "file"))
    } else {
        String::new()
    };
    output.note(&format!(
        "Received {} ({of_files}{}) from {:.16}… in {}, {}.",
        shown(&received.path),
        figures::bytes(received.size),
        session.peer_node_id().to_string(),
        figures::duration(received.elapsed),
        figures::speed(speed),
    ));
    let told = json!({
        "name": received.name,
        "files": received.files,
        "bytes": received.size,
        "resumed_at": received.resumed_at,
        "blake3": received.hash.to_string(),
        "seconds": received.elapsed.as_secs_f64(),
        "megabytes_per_second": speed,
        "session": figures::session(session),
    });
    output.json_line(&json!({ "received": with_path(told, "path", &received.path) }));
}
