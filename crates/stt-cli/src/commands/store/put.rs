//! `stt store put`.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use stt_gateway::proto::v1::PutContentResponse;
use stt_store::{ChamberOptions, FileSource, Keep};
use tokio::io::{AsyncRead, ReadBuf};

use super::{Place, Store};
use crate::{
    error::CliError,
    output::Output,
    path_text::{shown, with_path},
    progress::bar,
    sealed_file::is_pipe,
};

#[derive(Args)]
pub(crate) struct PutCommand {
    #[command(flatten)]
    place: Place,
    /// What to store; - for standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Give it a name as well, under which it can be got and removed.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Keep it only until the next `stt store gc`.
    #[arg(long, conflicts_with = "name")]
    cache: bool,
    /// Store nothing that would make the store larger than this many bytes.
    #[arg(long, value_name = "BYTES")]
    quota: Option<u64>,
}

impl PutCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        if self.name.is_some() && self.files.len() > 1 {
            return Err(CliError::new("usage.name", "one name cannot be given to several files"));
        }
        // Before a seed and a store are made for a mistyped name.
        for file in self.files.iter().filter(|file| !is_pipe(file)) {
            // A named pipe is opened once: its writer would not survive a reader that goes away.
            match tokio::fs::metadata(file).await {
                Ok(metadata) if metadata.file_type().is_file() || metadata.is_dir() => {
                    drop(open(file).await?);
                }
                Ok(_) => {}
                Err(error) => return Err(unreadable(file, &error)),
            }
        }
        let options = ChamberOptions::default().quota(self.quota);
        let store = self.place.open(true, options, output).await?;
        if let (Store::OfNode(dir, _), Some(_)) = (&store, self.quota) {
            let what = format!("no quota can be set for the node in {}", shown(dir));
            return Err(CliError::new("usage.quota", what).with_hint("leave --quota out"));
        }
        for file in &self.files {
            let keep = match (&self.name, self.cache) {
                (Some(name), _) => Keep::Named(name.clone()),
                (None, true) => Keep::Cached,
                (None, false) => Keep::Pinned,
            };
            let stored = put(&store, file, keep, output).await?;
            let moved = Some(&stored.name_pointed_to).filter(|before| !before.is_empty());
            if let Some(before) = moved {
                output.note(&format!(
                    "The name pointed to {before} before. `stt store gc` removes what nothing else \
                     keeps."
                ));
            }
            let value = json!({
                "id": stored.id,
                "bytes": stored.bytes,
                "name": self.name,
                "name_pointed_to": moved,
            });
            let text = if self.files.len() == 1 {
                stored.id.clone()
            } else {
                format!("{}  {}", stored.id, shown(file))
            };
            output.result(&text, &with_path(value, "file", file));
        }
        Ok(())
    }
}

async fn put(
    store: &Store,
    path: &Path,
    keep: Keep,
    output: &Output,
) -> Result<PutContentResponse, CliError> {
    let (source, len): (Box<dyn AsyncRead + Send + Unpin>, _) = if is_pipe(path) {
        (Box::new(tokio::io::stdin()), None)
    } else {
        let (file, len) = open(path).await?;
        (Box::new(file), len)
    };
    let bar = bar(output, len);
    let source = Counted { source, bar: bar.clone(), bytes: 0 };
    let stored = store.put(path, source, keep).await;
    bar.finish_and_clear();
    stored
}

/// Opens what is to be stored; its length, if that is known.
async fn open(path: &Path) -> Result<(FileSource, Option<u64>), CliError> {
    let file = FileSource::open(path).await.map_err(|error| unreadable(path, &error))?;
    let len = file.known_len();
    Ok((file, len))
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::file("could not read", path, error)
}

/// Counts what is read.
struct Counted {
    source: Box<dyn AsyncRead + Send + Unpin>,
    bar: ProgressBar,
    bytes: u64,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.source).poll_read(context, buffer);
        self.bytes += (buffer.filled().len() - before) as u64;
        self.bar.set_position(self.bytes);
        polled
    }
}
