//! `stt store verify`, `gc` and `stats`.

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;
use stc::Coded;
use stt_store::{ChamberOptions, StoreError};

use super::{EXIT_DAMAGED, Place};
use crate::{error::CliError, output::Output, progress::bar};

#[derive(Args)]
pub(crate) struct VerifyCommand {
    #[command(flatten)]
    place: Place,
}

impl VerifyCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let chamber = self.place.open(false, ChamberOptions::default(), output).await?;
        let failed = |error: StoreError| CliError::doing("the store was not verified", &error);
        let total = chamber.stats().await.map_err(failed)?.content_bytes;
        let bar = bar(output, Some(total));
        let report = chamber.verify(|_, bytes| bar.set_position(bytes)).await;
        bar.finish_and_clear();
        let report = report.map_err(failed)?;
        for problem in &report.problems {
            let value = json!({
                "damaged": problem.error.to_string(),
                "code": problem.error.code(),
                "id": problem.id.map(|id| id.to_string()),
            });
            output.result(&problem.error.to_string(), &value);
        }
        let value = json!({
            "files": report.contents,
            "bytes": report.bytes,
            "names": report.names,
            "problems": report.problems_found,
            "leftover_files": report.leftovers.files,
            "leftover_bytes": report.leftovers.bytes,
        });
        output.json_line(&value);
        if !report.is_sound() {
            return Err(CliError::new(
                "store.damaged",
                format!("{} problems were found in {}", report.problems_found, chamber.place()),
            )
            .with_exit(EXIT_DAMAGED)
            .with_hint("remove what is damaged and put it again"));
        }
        output.note(&format!(
            "{} files ({}) and {} names are sound.",
            report.contents,
            HumanBytes(report.bytes),
            report.names
        ));
        Ok(())
    }
}

#[derive(Args)]
pub(crate) struct CollectCommand {
    #[command(flatten)]
    place: Place,
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
}

impl CollectCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let chamber = self.place.open(false, ChamberOptions::default(), output).await?;
        let done = chamber.collect(self.dry_run).await;
        let done = done.map_err(|error| CliError::doing("nothing was collected", &error))?;
        let value = json!({
            "dry_run": self.dry_run,
            "files": done.contents,
            "bytes": done.bytes,
            "leftover_files": done.leftovers.files,
            "leftover_bytes": done.leftovers.bytes,
        });
        output.note(&format!(
            "{} {} files that nothing kept ({}), and {} leftovers ({}).",
            if self.dry_run { "Would remove" } else { "Removed" },
            done.contents,
            HumanBytes(done.bytes),
            done.leftovers.files,
            HumanBytes(done.leftovers.bytes)
        ));
        output.json_line(&value);
        Ok(())
    }
}

#[derive(Args)]
pub(crate) struct StatsCommand {
    #[command(flatten)]
    place: Place,
}

impl StatsCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let chamber = self.place.open(false, ChamberOptions::default(), output).await?;
        let stats = chamber.stats().await;
        let stats = stats.map_err(|error| CliError::doing("the store was not counted", &error))?;
        let places: serde_json::Map<_, _> =
            stats.places.iter().map(|(what, bytes)| ((*what).to_owned(), json!(bytes))).collect();
        let value = json!({
            "place": chamber.place(),
            "files": stats.contents,
            "file_bytes": stats.content_bytes,
            "names": stats.names,
            "stored_bytes": stats.stored_bytes,
            "collectable_files": stats.collectable,
            "collectable_bytes": stats.collectable_bytes,
            "leftover_files": stats.leftovers.files,
            "leftover_bytes": stats.leftovers.bytes,
            "places": places,
        });
        let mut rows = vec![
            ("place".to_owned(), chamber.place()),
            ("files".to_owned(), stats.contents.to_string()),
            ("their bytes, encrypted and padded".to_owned(), human(stats.content_bytes)),
            ("names".to_owned(), stats.names.to_string()),
            ("all stored bytes".to_owned(), human(stats.stored_bytes)),
        ];
        for (what, bytes) in &stats.places {
            rows.push((format!("  {what}"), human(*bytes)));
        }
        let collectable = format!("{} ({})", stats.collectable, human(stats.collectable_bytes));
        rows.push(("files that gc would remove".to_owned(), collectable));
        let leftovers = format!("{} ({})", stats.leftovers.files, human(stats.leftovers.bytes));
        rows.push(("leftovers of crashes".to_owned(), leftovers));
        let text: Vec<_> = rows.iter().map(|(what, value)| format!("{what:<36} {value}")).collect();
        output.result(&text.join("\n"), &value);
        Ok(())
    }
}

fn human(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
