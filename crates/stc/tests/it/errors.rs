//! Every error says one sentence, has a code of its own, and stands in `docs/errors.md`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, io};

use stc::{
    ChunkError, Coded, EnvelopeError, KeyParseError, OpenError, RecordError, SealError, SeedError,
    StateError,
    random::RandomError,
    stretch::{Cost, StretchError},
};

fn io_error() -> io::Error {
    io::Error::other("the disk is gone")
}

/// One of every variant that has a code of its own.
fn all() -> Vec<Box<dyn Coded>> {
    let cost = StretchError::Cost { lattice_size: 1, depth: 1, kib: 1 };
    vec![
        Box::new(KeyParseError::Checksum),
        Box::new(KeyParseError::NotAKey),
        Box::new(KeyParseError::Length { got: 31 }),
        Box::new(RandomError::Unavailable),
        Box::new(RandomError::Stuck),
        Box::new(cost),
        Box::new(StretchError::Failed { kib: 1 }),
        Box::new(SeedError::Empty),
        Box::new(EnvelopeError::NotAnEnvelope),
        Box::new(EnvelopeError::Version { got: 2 }),
        Box::new(EnvelopeError::Field { field: "slots", value: 2 }),
        Box::new(EnvelopeError::Cost(cost)),
        Box::new(EnvelopeError::HeaderTooShort { needed: 170, got: 3 }),
        Box::new(EnvelopeError::HeaderTooLong { extra: 1 }),
        Box::new(OpenError::NothingOpens),
        Box::new(OpenError::Chunk { chunk: 3 }),
        Box::new(OpenError::Truncated { missing: 3 }),
        Box::new(OpenError::Trailing),
        Box::new(OpenError::Trailer),
        Box::new(OpenError::Content),
        Box::new(OpenError::NotText),
        Box::new(OpenError::Range { start: 1, end: 2, len: 1 }),
        Box::new(OpenError::TooDear { kib: 2, allowed: 1 }),
        Box::new(OpenError::Io { what: "read the envelope", source: io_error() }),
        Box::new(SealError::NoSecret),
        Box::new(SealError::EmptyPassword),
        Box::new(SealError::SamePassword),
        Box::new(SealError::TooManyDecoys { got: 4 }),
        Box::new(SealError::UnknownLength),
        Box::new(SealError::LengthChanged { expected: 1 }),
        Box::new(SealError::Changed),
        Box::new(SealError::TooLong { chunk_len: 65_536 }),
        Box::new(SealError::ChunkLen { got: 1 }),
        Box::new(SealError::Cipher),
        Box::new(SealError::Io { what: "write the envelope", source: io_error() }),
        Box::new(ChunkError::TooLarge { got: 1 << 24 }),
        Box::new(ChunkError::Header),
        Box::new(ChunkError::Length { expected: 16, got: 15 }),
        Box::new(ChunkError::Forged),
        Box::new(ChunkError::Replayed { sequence: 1 }),
        Box::new(ChunkError::TooOld { sequence: 1 }),
        Box::new(ChunkError::OtherSender),
        Box::new(ChunkError::OutOfRange { knob: "max_depth", got: 0, least: 1, most: 15 }),
        Box::new(ChunkError::Metadata),
        Box::new(RecordError::NotOne),
        Box::new(RecordError::Forged),
        Box::new(RecordError::Content),
        Box::new(RecordError::Mixed),
        Box::new(StateError::Io { what: "read", source: io_error() }),
    ]
}

#[test]
fn codes_are_unique_and_documented_and_messages_are_sentences() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (mut codes, mut wrong) = (BTreeSet::new(), Vec::new());
    for error in all() {
        let (code, text) = (error.code(), error.to_string());
        assert!(codes.insert(code), "{code} stands for two errors");
        let row = page.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let row = row.unwrap_or_else(|| panic!("{code} is not in docs/errors.md"));
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let retry = if error.retry_helps() { "yes" } else { "no" };
        if cells[3] != retry {
            wrong.push(format!("{code}: a retry helps: {retry}"));
        }
        if let Some(hint) = error.hint()
            && cells[4].replace('`', "") != hint.replace('`', "")
        {
            wrong.push(format!("{code}: {hint}"));
        }
        assert!(!text.contains('\n') && !text.contains('{') && !text.ends_with('.'), "{text}");
        assert!(text.len() > 15 && !text.starts_with(char::is_uppercase), "{code}: {text}");
        assert!(error.hint().is_none_or(|hint| !hint.contains('\n')), "{code}");
    }
    assert!(wrong.is_empty(), "docs/errors.md says something else of\n{}", wrong.join("\n"));
}

#[test]
fn an_error_inside_another_keeps_its_code() {
    let cost = Cost::new(1, 1).unwrap_err();
    assert_eq!(SealError::from(cost).code(), cost.code());
    assert_eq!(OpenError::from(cost).code(), cost.code());
    assert_eq!(ChunkError::from(SeedError::from(cost)).code(), cost.code());
    assert_eq!(OpenError::from(EnvelopeError::NotAnEnvelope).code(), "envelope.not_one");
    assert_eq!(StateError::from(RecordError::Mixed).code(), "record.mixed");
    assert_eq!(ChunkError::Marks(RecordError::Mixed).code(), "record.mixed");
    assert_eq!(SealError::from(RandomError::Stuck).code(), "random.stuck");
}
