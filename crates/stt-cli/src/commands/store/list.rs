//! `stt store ls` and `stt store rm`.

use clap::Args;
use serde_json::json;
use stt_store::ChamberOptions;

use super::Place;
use crate::{
    error::CliError,
    figures::{bytes, counted},
    output::Output,
};

#[derive(Args)]
pub(crate) struct ListCommand {
    #[command(flatten)]
    place: Place,
}

impl ListCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let store = self.place.open_for_reading(output).await?;
        let (mut listed, mut unreadable) = (0u64, 0u64);
        let walked = store.list(|info| match info {
            Ok(info) => {
                listed += 1;
                let pinned = info.pinned.then(|| "pinned".to_owned());
                // A name may hold anything; a terminal gets it escaped.
                let names = info.names.iter().map(|name| format!("{name:?}"));
                let kept: Vec<_> = pinned.into_iter().chain(names).collect();
                let kept = if kept.is_empty() { "cached".to_owned() } else { kept.join(" ") };
                let value = json!({
                    "id": info.id,
                    "bytes": info.bytes,
                    "stored_bytes": info.stored_bytes,
                    "pinned": info.pinned,
                    "names": info.names,
                });
                output.result(&format!("{}  {:>12}  {kept}", info.id, info.bytes), &value);
            }
            Err(problem) => {
                unreadable += 1;
                output.note(&problem.text);
                output.json_line(&super::told(&problem));
            }
        });
        walked.await?;
        if unreadable > 0 {
            return Err(CliError::new(
                "store.damaged",
                format!("{} in {} cannot be read", counted(unreadable, "file"), store.place()),
            )
            .with_exit(super::EXIT_DAMAGED)
            .with_hint("put them again, which mends them, or remove them"));
        }
        if listed == 0 {
            output.note(&format!("The store in {} is empty.", store.place()));
        }
        Ok(())
    }
}

#[derive(Args)]
pub(crate) struct RemoveCommand {
    #[command(flatten)]
    place: Place,
    /// Ids, names, or the blobs that `verify` tells. Removing a name leaves the file to `stt store
    /// gc`, unless something else keeps it.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

impl RemoveCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let store = self.place.open(false, ChamberOptions::default(), output).await?;
        for text in &self.ids {
            let removed = store.remove(text).await?;
            output.note(&if removed.name_only {
                format!(
                    "Removed the name {text:?}. `stt store gc` removes what nothing else keeps."
                )
            } else {
                format!("Removed {text} ({} freed).", bytes(removed.freed_bytes))
            });
            let freed = removed.freed_bytes;
            output.json_line(&json!({ "removed": text, "freed_bytes": freed }));
        }
        Ok(())
    }
}
