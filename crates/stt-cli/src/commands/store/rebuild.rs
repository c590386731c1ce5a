//! `stt store rebuild`.

use clap::Args;
use serde_json::json;
use stt_store::{Chamber, RebuildReport};

use super::{Place, failed, user_of};
use crate::{error::CliError, figures::counted, output::Output, path_text::shown};

#[derive(Args)]
pub(crate) struct RebuildCommand {
    #[command(flatten)]
    place: Place,
}

impl RebuildCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let (key, dir) = self.place.find(false, output)?;
        let made = Chamber::rebuild(&key, &dir).await;
        let made = made.map_err(|error| {
            let told = failed("the store was not rebuilt", &error);
            match user_of(&dir, &error) {
                Some(node) => told.with_hint(format!("end the node in {} first", shown(node))),
                None => told,
            }
        })?;
        output.note(&format!("Rebuilt the index of {}: {}.", shown(&dir), found(&made)));
        output.notice(
            "Short files (up to 40 KiB), names and pins were in the old index only: those that it \
             no longer gave are lost.",
        );
        if made.pinned > 0 {
            let pinned = counted(made.pinned, "file");
            output.note(&format!("Pinned what has no name, so that gc keeps it: {pinned}."));
        }
        if let Some(old) = &made.old_index {
            output.note(&format!("The old index is {} now. Remove it when all is well.", old));
        }
        output.note("`stt store verify` reads all files and says which of them are damaged.");
        output.json_line(&json!({
            "place": dir.display().to_string(),
            "files": made.files,
            "short_files": made.small,
            "names": made.names,
            "pinned": made.pinned,
            "old_index": made.old_index,
        }));
        Ok(())
    }
}

fn found(made: &RebuildReport) -> String {
    let files = counted(made.files, "file");
    if made.old_index.is_none() {
        return files;
    }
    let (small, names) = (counted(made.small, "short file"), counted(made.names, "name"));
    format!("{files}; {small} and {names} from the old index")
}
