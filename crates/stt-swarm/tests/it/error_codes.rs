//! Every error has a code of its own, one line of text, and a row in docs/errors.md that says the
//! same about retries and what to do.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use stt::Coded;
use stt_swarm::{ContentError, SwarmError, TicketError};

use crate::error_page;

fn all() -> Vec<Box<dyn Coded>> {
    let path = || PathBuf::from("a");
    let node = stt::Identity::ephemeral().unwrap().node_id();
    let not_found = stt_store::StoreError::NotFound { item: "x".into() };
    vec![
        Box::new(TicketError::Malformed),
        Box::new(TicketError::Kind { kind: "x".into() }),
        Box::new(TicketError::Different),
        Box::new(TicketError::TooMuch { what: "x", max: 1 }),
        Box::new(ContentError::NotAFile { path: path() }),
        Box::new(ContentError::TooLarge { size: 2, max: 1 }),
        Box::new(ContentError::TooMany { max: 1 }),
        Box::new(ContentError::File { what: "read", path: path(), cause: io::Error::other("x") }),
        Box::new(ContentError::Exists { path: path() }),
        Box::new(ContentError::Busy { name: "a".into() }),
        Box::new(ContentError::Name),
        Box::new(ContentError::Manifest { cause: stc::Cause::text("x") }),
        Box::new(ContentError::NotFound { members: 1 }),
        Box::new(ContentError::NotAnnounced(SwarmError::Stopped)),
        Box::new(ContentError::NoProvider),
        Box::new(ContentError::OutOfRange { what: "x", min: 1, max: 2, got: 3 }),
        Box::new(ContentError::Unavailable { causes: Vec::new() }),
        Box::new(ContentError::Ended),
        Box::new(SwarmError::Engine { cause: stc::Cause::text("x") }),
        Box::new(SwarmError::Stopped),
        Box::new(SwarmError::Busy { what: "questions", max: 1 }),
        Box::new(SwarmError::TooLarge { what: "x", len: 2, max: 1 }),
        Box::new(SwarmError::OutOfRange { what: "x", min: 1, max: 2, got: 3 }),
        Box::new(SwarmError::TooMany { what: "x", max: 1 }),
        Box::new(SwarmError::Taken),
        Box::new(SwarmError::Timeout { within: Duration::from_secs(1) }),
        Box::new(SwarmError::NotSaved { cause: Arc::new(not_found) }),
        Box::new(SwarmError::NoBootstrap { causes: Vec::new() }),
        Box::new(SwarmError::Unreachable { node }),
        Box::new(SwarmError::NoSubscribers { topic: "x".into(), peers: 1 }),
    ]
}

#[test]
fn every_error_has_its_row() {
    error_page::compare_given(all());
}
