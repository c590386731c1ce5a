//! Every error has a code of its own, one line of text, and a row in docs/errors.md that says the
//! same about retries.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::{collections::HashSet, io, path::PathBuf, sync::Arc, time::Duration};

use stt::Coded;
use stt_swarm::{ContentError, SwarmError, TicketError};

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
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut seen = HashSet::new();
    for error in all() {
        let (code, text) = (error.code(), error.to_string());
        assert!(seen.insert(code), "{code} twice");
        assert!(!text.contains('\n') && !text.is_empty(), "{code}: {text}");
        let row = page.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let row = row.unwrap_or_else(|| panic!("{code} has no row"));
        let retry = if error.retry_helps() { "yes" } else { "no" };
        assert_eq!(row.split('|').nth(3).map(str::trim), Some(retry), "{code}");
        if let Some(hint) = error.hint() {
            let told = row.split('|').nth(4).map(|told| told.trim().replace('`', ""));
            assert_eq!(told, Some(hint.replace('`', "")), "{code}");
        }
    }
}
