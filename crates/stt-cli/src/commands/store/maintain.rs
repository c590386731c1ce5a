//! `stt store verify`, `gc` and `stats`.

use clap::Args;
use serde_json::json;
use stt_store::{ChamberOptions, Collected, StoreError};

use super::{EXIT_DAMAGED, Place, failed, told};
use crate::{
    error::CliError,
    figures::{bytes, count, counted},
    output::Output,
    progress::bar,
};

#[derive(Args)]
pub(crate) struct VerifyCommand {
    #[command(flatten)]
    place: Place,
}

impl VerifyCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let chamber = self.place.open_for_reading(output).await?;
        let failed = |error: StoreError| failed("the store was not verified", &error);
        let total = chamber.stats().await.map_err(failed)?.content_bytes;
        let bar = bar(output, Some(total));
        let report = chamber.verify(|_, bytes| bar.set_position(bytes)).await;
        bar.finish_and_clear();
        let report = report.map_err(failed)?;
        for problem in &report.problems {
            output.result(&problem.to_string(), &told(problem));
        }
        let value = json!({
            "files": report.contents,
            "damaged_files": report.damaged,
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
                format!(
                    "{} found in {}",
                    counted(report.problems_found, "problem"),
                    chamber.place()
                ),
            )
            .with_exit(EXIT_DAMAGED)
            .with_hint("put what is damaged again, which mends it, or remove it"));
        }
        output.note(&format!(
            "All is sound: {} ({}), {}.",
            counted(report.contents, "file"),
            bytes(report.bytes),
            counted(report.names, "name")
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
        let chamber = if self.dry_run {
            self.place.open_for_reading(output).await?
        } else {
            self.place.open(false, ChamberOptions::default(), output).await?
        };
        let done = chamber.collect(self.dry_run).await;
        let done = done.map_err(|error| failed("nothing was collected", &error))?;
        let value = json!({
            "dry_run": self.dry_run,
            "files": done.contents,
            "bytes": done.bytes,
            "leftover_files": done.leftovers.files,
            "leftover_bytes": done.leftovers.bytes,
        });
        output.note(&self.sentence(&done));
        output.json_line(&value);
        Ok(())
    }
}

impl CollectCommand {
    fn sentence(&self, done: &Collected) -> String {
        let mut parts = Vec::new();
        if done.contents > 0 {
            let files = counted(done.contents, "file");
            parts.push(format!("{files} that nothing keeps ({})", bytes(done.bytes)));
        }
        if done.leftovers.files > 0 {
            let leftovers = counted(done.leftovers.files, "leftover");
            parts.push(format!("{leftovers} of crashes ({})", bytes(done.leftovers.bytes)));
        }
        match (parts.is_empty(), self.dry_run) {
            (true, _) => "There is nothing to remove.".to_owned(),
            (false, true) => format!("Would remove {}.", parts.join(" and ")),
            (false, false) => format!("Removed {}.", parts.join(" and ")),
        }
    }
}

#[derive(Args)]
pub(crate) struct StatsCommand {
    #[command(flatten)]
    place: Place,
}

impl StatsCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let chamber = self.place.open_for_reading(output).await?;
        let stats = chamber.stats().await;
        let stats = stats.map_err(|error| failed("the store was not counted", &error))?;
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
            ("files".to_owned(), count(stats.contents)),
            ("their bytes, encrypted and padded".to_owned(), bytes(stats.content_bytes)),
            ("names".to_owned(), count(stats.names)),
            ("all stored bytes".to_owned(), bytes(stats.stored_bytes)),
        ];
        for (what, taken) in &stats.places {
            rows.push((format!("  {what}"), bytes(*taken)));
        }
        let sized = |number, taken| format!("{} ({})", count(number), bytes(taken));
        let collectable = sized(stats.collectable, stats.collectable_bytes);
        rows.push(("files that gc would remove".to_owned(), collectable));
        let leftovers = sized(stats.leftovers.files, stats.leftovers.bytes);
        rows.push(("leftovers of crashes".to_owned(), leftovers));
        let text: Vec<_> = rows.iter().map(|(what, value)| format!("{what:<36} {value}")).collect();
        output.result(&text.join("\n"), &value);
        Ok(())
    }
}
