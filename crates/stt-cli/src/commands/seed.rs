//! `stt seed`: the secret that machines share.

use std::path::PathBuf;

use clap::Subcommand;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde_json::json;
use stc::Key;

use crate::{
    error::CliError,
    output::Output,
    path_text::{shown, with_path},
    private_file,
};

#[derive(Subcommand)]
pub(crate) enum SeedCommand {
    /// Make a new random seed and print it.
    New {
        /// Show it as a QR code, to be scanned from this screen.
        #[arg(long)]
        qr: bool,
        /// Write it to a new file that only you can read, instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl SeedCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let Self::New { qr, out } = self;
        let seed = Key::generate()
            .map_err(|error| CliError::doing("no seed was made", &error))?
            .to_printable();
        if qr {
            output.note(&qr_code(&seed)?);
        }
        match out {
            Some(path) => {
                private_file::create(&path, format!("{}\n", seed.as_str()).as_bytes())?;
                output.note(&format!(
                    "A new seed is in {}. Give it to the other machine over a channel you trust.",
                    shown(&path)
                ));
                output.json_line(&with_path(json!({}), "file", &path));
            }
            None => output.result(&seed, &json!({ "seed": seed.as_str() })),
        }
        Ok(())
    }
}

/// The seed in upper case takes the denser alphanumeric mode, and [`Key::parse`] reads it.
fn qr_code(seed: &str) -> Result<String, CliError> {
    QrCode::with_error_correction_level(seed.to_uppercase(), EcLevel::M)
        .map(|code| code.render::<Dense1x2>().quiet_zone(true).build())
        .map_err(|_| CliError::new("seed.qr", "the seed does not fit into a QR code"))
}
