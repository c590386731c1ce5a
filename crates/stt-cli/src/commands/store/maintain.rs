//! `stt store verify`, `gc` and `stats`.

use clap::Args;
use serde_json::json;
use stt_gateway::proto::v1::CollectStoreResponse;
use stt_store::ChamberOptions;

use super::{EXIT_DAMAGED, Place, told};
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
        let store = self.place.open_for_reading(output).await?;
        let total = store.stats().await?.content_bytes;
        let bar = bar(output, Some(total));
        let mut problems = Vec::new();
        let report =
            store.verify(|bytes| bar.set_position(bytes), |problem| problems.push(problem)).await;
        bar.finish_and_clear();
        let report = report?;
        for problem in &problems {
            output.result(&problem.text, &told(problem));
        }
        let leftovers = report.leftovers.unwrap_or_default();
        let value = json!({
            "files": report.contents,
            "damaged_files": report.damaged,
            "bytes": report.bytes,
            "names": report.names,
            "problems": report.problems,
            "leftover_files": leftovers.files,
            "leftover_bytes": leftovers.bytes,
        });
        output.json_line(&value);
        if report.problems > 0 {
            return Err(CliError::new(
                "store.damaged",
                format!("{} found in {}", counted(report.problems, "problem"), store.place()),
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
        let store = if self.dry_run {
            self.place.open_for_reading(output).await?
        } else {
            self.place.open(false, ChamberOptions::default(), output).await?
        };
        let done = store.collect(self.dry_run).await?;
        let leftovers = done.leftovers.unwrap_or_default();
        let value = json!({
            "dry_run": self.dry_run,
            "files": done.contents,
            "bytes": done.bytes,
            "leftover_files": leftovers.files,
            "leftover_bytes": leftovers.bytes,
        });
        output.note(&self.sentence(&done));
        output.json_line(&value);
        Ok(())
    }
}

impl CollectCommand {
    fn sentence(&self, done: &CollectStoreResponse) -> String {
        let mut parts = Vec::new();
        if done.contents > 0 {
            let files = counted(done.contents, "file");
            parts.push(format!("{files} that nothing keeps ({})", bytes(done.bytes)));
        }
        let leftovers = done.leftovers.unwrap_or_default();
        if leftovers.files > 0 {
            let files = counted(leftovers.files, "leftover");
            parts.push(format!("{files} of crashes ({})", bytes(leftovers.bytes)));
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
        let stats = self.place.open_for_reading(output).await?.stats().await?;
        let leftovers = stats.leftovers.unwrap_or_default();
        let places: serde_json::Map<_, _> =
            stats.uses.iter().map(|space| (space.what.clone(), json!(space.bytes))).collect();
        let value = json!({
            "place": stats.place,
            "files": stats.contents,
            "file_bytes": stats.content_bytes,
            "names": stats.names,
            "stored_bytes": stats.stored_bytes,
            "collectable_files": stats.collectable,
            "collectable_bytes": stats.collectable_bytes,
            "leftover_files": leftovers.files,
            "leftover_bytes": leftovers.bytes,
            "places": places,
        });
        let mut rows = vec![
            ("place".to_owned(), stats.place),
            ("files".to_owned(), count(stats.contents)),
            ("their bytes, encrypted and padded".to_owned(), bytes(stats.content_bytes)),
            ("names".to_owned(), count(stats.names)),
            ("all stored bytes".to_owned(), bytes(stats.stored_bytes)),
        ];
        for space in &stats.uses {
            rows.push((format!("  {}", space.what), bytes(space.bytes)));
        }
        let sized = |number, taken| format!("{} ({})", count(number), bytes(taken));
        let collectable = sized(stats.collectable, stats.collectable_bytes);
        rows.push(("files that gc would remove".to_owned(), collectable));
        rows.push(("leftovers of crashes".to_owned(), sized(leftovers.files, leftovers.bytes)));
        let text: Vec<_> = rows.iter().map(|(what, value)| format!("{what:<36} {value}")).collect();
        output.result(&text.join("\n"), &value);
        Ok(())
    }
}
