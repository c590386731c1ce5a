//! `stt store ls` and `stt store rm`.

use clap::Args;
use serde_json::json;
use stt_store::{ChamberOptions, StoreError};

use super::{Place, as_id, failed};
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
        let chamber = self.place.open_for_reading(output).await?;
        let (mut listed, mut unreadable) = (0u64, 0u64);
        let walked = chamber.contents(|info| {
            match info {
                Ok(info) => {
                    listed += 1;
                    let pinned = info.pinned.then(|| "pinned".to_owned());
                    // A name may hold anything; a terminal gets it escaped.
                    let names = info.names.iter().map(|name| format!("{name:?}"));
                    let kept: Vec<_> = pinned.into_iter().chain(names).collect();
                    let kept = if kept.is_empty() { "cached".to_owned() } else { kept.join(" ") };
                    let value = json!({
                        "id": info.id.to_string(),
                        "bytes": info.len,
                        "stored_bytes": info.stored,
                        "pinned": info.pinned,
                        "names": info.names,
                    });
                    let text = format!("{}  {:>12}  {kept}", info.id, info.len);
                    output.result(&text, &value);
                }
                Err(problem) => {
                    unreadable += 1;
                    output.note(&problem.to_string());
                    output.json_line(&super::told(&problem));
                }
            }
            true
        });
        walked.await.map_err(|error| failed("the store was not listed", &error))?;
        if unreadable > 0 {
            return Err(CliError::new(
                "store.damaged",
                format!("{} in {} cannot be read", counted(unreadable, "file"), chamber.place()),
            )
            .with_exit(super::EXIT_DAMAGED)
            .with_hint("put them again, which mends them, or remove them"));
        }
        if listed == 0 {
            output.note(&format!("The store in {} is empty.", chamber.place()));
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
        let chamber = self.place.open(false, ChamberOptions::default(), output).await?;
        for text in &self.ids {
            let failed = |error: StoreError| failed(format!("{text} was not removed"), &error);
            let before = chamber.stored_bytes().await.map_err(failed)?;
            let mut by_name = true;
            let is_id = as_id(&chamber, text).await.map_err(failed)?;
            if let Some(id) = &is_id {
                by_name = false;
                chamber.remove(id).await.map_err(failed)?;
            } else if !chamber.remove_name(text).await.map_err(failed)? {
                match chamber.remove_unreadable(text).await {
                    Err(StoreError::NotFound { .. }) => {
                        let item = format!("the entry {text:?}");
                        return Err(failed(StoreError::NotFound { item }));
                    }
                    removed => removed.map_err(failed)?,
                }
                by_name = false;
            }
            let after = chamber.stored_bytes().await.map_err(failed)?;
            let freed = before.saturating_sub(after);
            output.note(&if by_name {
                format!(
                    "Removed the name {text:?}. `stt store gc` removes what nothing else keeps."
                )
            } else {
                format!("Removed {text} ({} freed).", bytes(freed))
            });
            output.json_line(&json!({ "removed": text, "freed_bytes": freed }));
        }
        Ok(())
    }
}
