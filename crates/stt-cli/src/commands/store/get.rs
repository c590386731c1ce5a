//! `stt store get`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stc::OutputFile;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Place, opened::Content};
use crate::{
    error::CliError,
    output::Output,
    path_text::{shown, with_path},
    progress::bar,
    sealed_file::{is_pipe, unwritable, writable},
};

#[derive(Args)]
pub(crate) struct GetCommand {
    #[command(flatten)]
    place: Place,
    /// Its id, or its name.
    #[arg(value_name = "ID")]
    id: String,
    /// Where to; - for standard output.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

impl GetCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let to_pipe = is_pipe(&self.output);
        if to_pipe && output.is_json() {
            return Err(CliError::new(
                "usage.json_pipe",
                "the result and the JSON report cannot both go to standard output",
            ));
        }
        if !to_pipe {
            writable(&self.output, self.force)?;
        }
        let store = self.place.open_for_reading(output).await?;
        let mut content = store.content(&self.id).await?;
        let (id, len) = (content.id.clone(), content.len);
        let bar = bar(output, Some(len));
        let progress = |done| bar.set_position(done);
        let unwritable = |error: std::io::Error| unwritable(&self.output, &error);
        if to_pipe {
            let copied = self.copy(&mut content, &mut tokio::io::stdout(), progress).await;
            bar.finish_and_clear();
            return copied?.map_err(unwritable);
        }
        let file = OutputFile::create(&self.output, self.force).map_err(unwritable)?;
        let mut writer = tokio::fs::File::from_std(file.file().try_clone().map_err(unwritable)?);
        let copied = self.copy(&mut content, &mut writer, progress).await;
        bar.finish_and_clear();
        copied?.map_err(unwritable)?;
        drop(writer);
        file.finish(true).map_err(unwritable)?;
        output.note(&format!("{} has {len} bytes, verified.", shown(&self.output)));
        let told = json!({ "id": id, "bytes": len });
        output.json_line(&with_path(told, "file", &self.output));
        Ok(())
    }
    /// Writes it to `out`, whose failure is the inner one.
    async fn copy(
        &self,
        content: &mut Content,
        out: &mut (impl AsyncWrite + Unpin),
        progress: impl Fn(u64),
    ) -> Result<std::io::Result<()>, CliError> {
        let mut done = 0;
        while let Some(piece) = content.next(&self.id).await? {
            if let Err(error) = out.write_all(&piece).await {
                return Ok(Err(error));
            }
            done += piece.len() as u64;
            progress(done);
        }
        Ok(out.flush().await)
    }
}
