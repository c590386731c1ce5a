//! `stt inspect`: what can be known of an encrypted file without its password.

use std::{io::Read, path::PathBuf};

use clap::Args;
use serde_json::json;
use stc::{EnvelopeError, Header, aead::Suite};

use crate::{
    error::CliError,
    output::Output,
    sealed_file::{input, not_an_envelope},
};

#[derive(Args)]
pub(crate) struct InspectCommand {
    /// What to look at; - for standard input.
    #[arg(value_name = "FILE")]
    input: PathBuf,
}

impl InspectCommand {
    pub(crate) fn run(self, output: &Output) -> Result<(), CliError> {
        let (reader, len) = input(&self.input)?;
        let mut first = Vec::new();
        reader
            .take(Header::MAX_LEN)
            .read_to_end(&mut first)
            .map_err(|error| CliError::file("could not read", &self.input, &error))?;
        let header = Header::parse(&first).map_err(|error| not_an_envelope(&self.input, &error))?;
        if let (Some(wanted), Some(got)) = (header.envelope_len(), len)
            && wanted != got
        {
            output.note(&format!("The file has {got} bytes and should have {wanted}."));
        }
        let text = describe(&header, len)?;
        let suite = suite_name(header.suite());
        output.result(
            &text,
            &json!({
                "format": "stc-envelope",
                "version": 1,
                "suite": suite,
                "slots": header.slot_count(),
                "lattice_size": header.cost().lattice_size(),
                "depth": header.cost().depth(),
                "stretch_kib": header.cost().kib(),
                "chunk_bytes": header.chunk_len(),
                "epoch": header.epoch(),
                "region_capacity": header.capacity(),
                "content_bytes": header.content_len(len),
                "bytes": len,
                "complete": header.envelope_len().zip(len).map(|(wanted, got)| wanted == got),
            }),
        );
        Ok(())
    }
}

fn suite_name(suite: Suite) -> &'static str {
    match suite {
        Suite::Aes256Gcm => "AES-256-GCM",
        Suite::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        _ => "another cipher",
    }
}

fn describe(header: &Header, len: Option<u64>) -> Result<String, CliError> {
    let cost = header.cost();
    let size = match (header.capacity(), header.content_len(len)) {
        (Some(capacity), _) => format!("at most {capacity} bytes in each slot"),
        (None, Some(content)) => format!("{content} bytes"),
        (None, None) if len.is_some() => {
            let short = EnvelopeError::Field { field: "length", value: len.unwrap_or(0) };
            return Err(CliError::doing("the file is cut off", &short));
        }
        (None, None) => "unknown, because the input is a pipe".to_owned(),
    };
    let hidden = if header.slot_count() == 1 {
        "One slot: there are no decoys in it."
    } else {
        "Any number of slots from 1 to 4 may hold something. Nothing tells which, or how many."
    };
    Ok(format!(
        "STC envelope, format 1\n\
         cipher    {}\n\
         slots     {}\n\
         content   {size}\n\
         chunks    {} bytes\n\
         stretch   Argon2id, {} MiB ({} x {} x {} KiB), {} passes\n\
         {hidden}\n\
         Whether it needs a password, a seed or context data cannot be seen.",
        suite_name(header.suite()),
        header.slot_count(),
        header.chunk_len(),
        cost.kib().div_ceil(1024),
        cost.lattice_size(),
        cost.lattice_size(),
        cost.depth(),
        cost.passes(),
    ))
}
