//! `stt seed`: the secret that machines share.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};
use serde_json::{Value, json};
use stc::Key;

use crate::{
    error::CliError,
    output::Output,
    password,
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
    /// Show a seed that is there, to carry it over to another machine.
    Show {
        /// The file that it is in.
        #[arg(long, value_name = "FILE")]
        seed_file: PathBuf,
        /// Show it as a QR code, to be scanned from this screen.
        #[arg(long)]
        qr: bool,
    },
}

impl SeedCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        match self {
            Self::New { qr, out } => make(qr, out, output),
            Self::Show { seed_file, qr } => show(&seed_file, qr, output),
        }
    }
}

/// Shows the seed in a file as it is.
fn show(path: &Path, qr: bool, output: &Output) -> Result<(), CliError> {
    let bytes = password::from_file(path)?;
    let seed = std::str::from_utf8(&bytes).map_err(|_| {
        CliError::new("seed.text", format!("the seed in {} is no text", shown(path)))
    })?;
    if qr {
        // Printed seeds are the same in capitals, which take a smaller code; phrases are not.
        let printed = Key::parse(seed).is_ok();
        let code = qr_code(&if printed { seed.to_uppercase() } else { seed.to_owned() })?;
        output.result(&code, &json!({ "seed": seed, "qr": code }));
    } else {
        output.result(seed, &json!({ "seed": seed }));
    }
    Ok(())
}

/// Makes a new one.
fn make(qr: bool, out: Option<PathBuf>, output: &Output) -> Result<(), CliError> {
    let seed = Key::generate()
        .map_err(|error| CliError::doing("no seed was made", &error))?
        .to_printable();
    let code = if qr { Some(qr_code(&seed.to_uppercase())?) } else { None };
    if let Some(code) = &code {
        output.note(code);
    }
    match out {
        Some(path) => {
            private_file::create(&path, format!("{}\n", seed.as_str()).as_bytes())?;
            output.note(&format!(
                "A new seed is in {}. Give it to the other machine over a channel you trust.",
                shown(&path)
            ));
            output.json_line(&with_path(with_code(json!({}), code), "file", &path));
        }
        None => output.result(&seed, &with_code(json!({ "seed": seed.as_str() }), code)),
    }
    Ok(())
}

/// The QR code beside it, for machines that show it to somebody.
fn with_code(mut told: Value, code: Option<String>) -> Value {
    if let (Some(code), Some(told)) = (code, told.as_object_mut()) {
        told.insert("qr".into(), code.into());
    }
    told
}

/// Text in upper case takes the denser alphanumeric mode, and [`Key::parse`] reads it.
fn qr_code(seed: &str) -> Result<String, CliError> {
    QrCode::with_error_correction_level(seed, EcLevel::M)
        .map(|code| code.render::<Dense1x2>().quiet_zone(true).build())
        .map_err(|_| CliError::new("seed.qr", "the seed does not fit into a QR code"))
}
