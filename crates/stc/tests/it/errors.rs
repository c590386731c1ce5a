//! Every error says one sentence, has a code of its own, and stands in `docs/errors.md`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;

use stc::{
    ChunkError, Coded, ContentIdError, EnvelopeError, KeyParseError, OpenError, RecordError,
    SealError, SeedError, StateError,
    random::RandomError,
    stretch::{Cost, StretchError},
};

use crate::error_page;

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
        Box::new(ContentIdError),
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
fn every_error_has_its_row() {
    error_page::compare_given(all());
}

#[test]
fn messages_are_sentences() {
    for error in all() {
        let (code, text) = (error.code(), error.to_string());
        assert!(!text.contains('{') && !text.ends_with('.'), "{text}");
        assert!(text.len() > 15 && !text.starts_with(char::is_uppercase), "{code}: {text}");
        assert!(error.hint().is_none_or(|hint| !hint.contains('\n')), "{code}");
    }
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
