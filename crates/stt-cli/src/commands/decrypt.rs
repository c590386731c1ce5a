//! `stt decrypt`: what `stt encrypt` made, back again.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;
use stc::{FileOptions, OpenError, OpenOptions};

use crate::{
    error::CliError,
    figures,
    output::Output,
    password,
    path_text::{shown, with_path},
    progress::bar,
    sealed_file::{context, input, is_pipe, not_decrypted, pipe_out, writable},
};

#[derive(Args)]
pub(crate) struct DecryptCommand {
    /// What to decrypt; - for standard input.
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// Where to; - for standard output. [default: FILE without .stc]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Read the password from this file instead of asking. STT_PASSWORD works too.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The seed that it was encrypted with.
    #[arg(long, value_name = "FILE")]
    seed_file: Option<PathBuf>,
    /// Replace the result if it exists.
    #[arg(long)]
    force: bool,
}

impl DecryptCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let target = self.target()?;
        if !is_pipe(&target) {
            writable(&target, self.force)?;
        }
        let (reader, len) = input(&self.input)?;
        let password = match password::given(self.password_file.as_deref())? {
            None if self.seed_file.is_none() => Some(password::ask("Password", false)?),
            given => given,
        };
        let context = context(self.seed_file.as_deref())?;
        let bar = bar(output, len);
        let progress = |done, _| bar.set_position(done);
        let files = FileOptions::new().overwrite(self.force).progress(&progress);
        let asked = self.output.is_some();
        let open = |reader: Box<dyn Read + Send>, password: Option<&[u8]>| {
            let mut options = OpenOptions::new();
            if let Some(password) = password {
                options = options.password(password);
            }
            Ok(if is_pipe(&target) {
                let writer = pipe_out(output, asked)?;
                context.decrypt_stream(reader, len, writer, &options, &files)
            } else {
                context.decrypt_into(reader, len, &target, &options, &files)
            })
        };
        let mut forms = password.iter().flat_map(password::forms);
        let mut opened = open(reader, forms.next().as_ref().map(|form| form.as_slice()))?;
        // What is no file can be read once only.
        for form in forms.take_while(|_| !is_pipe(&self.input)) {
            if !matches!(opened, Err(OpenError::NothingOpens)) {
                break;
            }
            opened = open(input(&self.input)?.0, Some(form.as_slice()))?;
        }
        bar.finish_and_clear();
        let opened = opened.map_err(|error| not_decrypted(&self.input, &target, &error))?;
        if is_pipe(&target) {
            return Ok(());
        }
        output.note(&format!(
            "Decrypted into {} ({} bytes, {}).",
            shown(&target),
            opened.bytes,
            figures::speed(opened.throughput_mbps())
        ));
        let told = json!({
            "bytes": opened.bytes,
            "chunks": opened.chunks,
            "slot": opened.slot.map(|slot| slot.index),
            "slots": opened.metadata.slot_count(),
            "slot_found_seconds": opened.slot.map(|slot| slot.elapsed.as_secs_f64()),
            "seconds": opened.elapsed.as_secs_f64(),
            "throughput_mbps": opened.throughput_mbps(),
            "buffer_bytes": opened.peak_memory,
        });
        output.json_line(&with_path(told, "file", &target));
        Ok(())
    }

    fn target(&self) -> Result<PathBuf, CliError> {
        match &self.output {
            Some(path) => Ok(path.clone()),
            None if is_pipe(&self.input) => Ok("-".into()),
            None => without_suffix(&self.input).ok_or_else(|| {
                CliError::new(
                    "usage.output",
                    format!("{} does not end in .stc", shown(&self.input)),
                )
            }),
        }
    }
}

fn without_suffix(path: &Path) -> Option<PathBuf> {
    (path.extension()? == "stc").then(|| path.with_extension(""))
}
