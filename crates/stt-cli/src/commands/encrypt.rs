//! `stt encrypt`: a file under a password.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stc::{FileOptions, SealError, SealOptions};
use zeroize::Zeroizing;

use crate::{
    error::CliError,
    figures,
    output::Output,
    password,
    path_text::{shown, with_path},
    progress::bar,
    sealed_file::{context, input, is_pipe, not_encrypted, pipe_out, sealed_name, writable},
};

/// Passwords below this strength, as the health report measures it, are worth a word.
const WEAK: f64 = 0.5;

#[derive(Args)]
pub(crate) struct EncryptCommand {
    /// What to encrypt; - for standard input.
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// Where to; - for standard output. [default: FILE.stc]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// A harmless file that opens under a password of its own. Up to 3 times. The result is then 4
    /// to 8 times as large as the largest file in it.
    #[arg(long, value_name = "FILE")]
    decoy: Vec<PathBuf>,
    /// Leave room for decoys without having any, so that having none can be said of every file.
    #[arg(long)]
    decoys: bool,
    /// Read the password from this file instead of asking. STT_PASSWORD works too.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read the password of a decoy from this file, one for each --decoy, in their order.
    #[arg(long, value_name = "FILE")]
    decoy_password_file: Vec<PathBuf>,
    /// Make a seed necessary too; the password is then optional.
    #[arg(long, value_name = "FILE")]
    seed_file: Option<PathBuf>,
    /// Bytes in a chunk, 65536 to 4194304.
    #[arg(long, value_name = "BYTES", default_value_t = FileOptions::DEFAULT_CHUNK_LEN)]
    chunk_size: u32,
    /// Replace the result if it exists.
    #[arg(long)]
    force: bool,
}

impl EncryptCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let target = self.target();
        if !is_pipe(&target) {
            writable(&target, self.force)?;
        }
        let (reader, len) = input(&self.input)?;
        self.check_decoys()?;
        let password = self.password()?.map(password::composed);
        let decoy_passwords = self.decoy_passwords()?;
        let context = context(self.seed_file.as_deref())?;

        let mut options = SealOptions::new();
        if let Some(password) = &password {
            options = options.password(password.as_slice());
        }
        if self.decoys {
            options = options.use_decoys(true);
        }
        for (password, path) in decoy_passwords.iter().zip(&self.decoy) {
            options = options.decoy_file(password.as_slice(), path);
        }
        let bar = bar(output, len);
        let progress = |done, total| {
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
        };
        let files =
            FileOptions::new().chunk_len(self.chunk_size).overwrite(self.force).progress(&progress);
        let made = if is_pipe(&target) {
            let writer = pipe_out(output, self.output.is_some())?;
            context.encrypt_stream(reader, len, writer, &options, &files)
        } else {
            context.encrypt_into(reader, len, &target, &options, &files)
        };
        bar.finish_and_clear();
        let made = made.map_err(|error| not_encrypted(&self.input, &target, &error))?;
        let strength = context.entropy_health().password_strength;
        if strength.is_some_and(|strength| strength < WEAK) {
            output.note(
                "Somebody who has the file could guess this password. A longer one is safer.",
            );
        }
        if is_pipe(&target) {
            return Ok(());
        }
        let slots = made.metadata.slot_count();
        output.note(&format!(
            "Encrypted into {} ({slots} {}, {}).",
            shown(&target),
            if slots == 1 { "slot" } else { "slots" },
            figures::speed(made.throughput_mbps())
        ));
        let told = json!({
            "slots": slots,
            "chunks": made.chunks,
            "sealed_bytes": made.bytes,
            "seconds": made.elapsed.as_secs_f64(),
            "throughput_mbps": made.throughput_mbps(),
            "password_strength": strength,
            "buffer_bytes": made.peak_memory,
        });
        output.json_line(&with_path(told, "file", &target));
        Ok(())
    }

    fn target(&self) -> PathBuf {
        match &self.output {
            Some(path) => path.clone(),
            None if is_pipe(&self.input) => "-".into(),
            None => sealed_name(&self.input),
        }
    }

    /// A decoy is read to its end before anything is written, so it has to have one. Said with its
    /// name, and before anybody types passwords.
    fn check_decoys(&self) -> Result<(), CliError> {
        for path in &self.decoy {
            let found = std::fs::metadata(path)
                .map_err(|error| CliError::file("could not read the decoy", path, &error))?;
            if !found.is_file() {
                let what = format!("{} cannot be a decoy", shown(path));
                return Err(CliError::doing(what, &SealError::UnknownLength)
                    .with_hint("name a regular file"));
            }
            std::fs::File::open(path)
                .map_err(|error| CliError::file("could not read the decoy", path, &error))?;
        }
        Ok(())
    }

    fn password(&self) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
        match password::given(self.password_file.as_deref())? {
            None if self.seed_file.is_none() => password::ask("Password", true).map(Some),
            given => Ok(given),
        }
    }

    fn decoy_passwords(&self) -> Result<Vec<Zeroizing<Vec<u8>>>, CliError> {
        if self.decoy_password_file.len() > self.decoy.len() {
            return Err(CliError::new(
                "usage.decoy_password",
                format!(
                    "there are {} passwords for {} decoys",
                    self.decoy_password_file.len(),
                    self.decoy.len()
                ),
            ));
        }
        let mut files = self.decoy_password_file.iter();
        let password = |decoy: &PathBuf| match files.next() {
            Some(file) => password::from_file(file).map(password::composed),
            None => password::ask(&format!("Password for {}", shown(decoy)), true)
                .map(password::composed),
        };
        self.decoy.iter().map(password).collect()
    }
}
