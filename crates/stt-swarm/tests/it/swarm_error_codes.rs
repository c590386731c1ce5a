//! Every error of the swarm has a code of its own, one line of text, and a row in docs/errors.md
//! that says the same about retries.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::{collections::HashSet, sync::Arc, time::Duration};

use stc::Coded;
use stt_swarm::SwarmError;

#[test]
fn every_error_has_its_row() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    let node = stt::Identity::ephemeral().unwrap().node_id();
    let all = [
        SwarmError::Engine { cause: stc::Cause::text("x") },
        SwarmError::Stopped,
        SwarmError::Busy { what: "questions", max: 1 },
        SwarmError::TooLarge { what: "x", len: 2, max: 1 },
        SwarmError::OutOfRange { what: "x", min: 1, max: 2, got: 3 },
        SwarmError::TooMany { what: "x", max: 1 },
        SwarmError::Taken,
        SwarmError::Timeout { within: Duration::from_secs(1) },
        SwarmError::NotSaved {
            cause: Arc::new(stt_store::StoreError::NotFound { item: "x".into() }),
        },
        SwarmError::NoBootstrap { causes: Vec::new() },
        SwarmError::Unreachable { node },
        SwarmError::NoSubscribers { topic: "x".into(), peers: 1 },
    ];
    let mut seen = HashSet::new();
    for error in all {
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
