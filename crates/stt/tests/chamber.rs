//! A node's encrypted storage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

mod common;

use std::time::Duration;

use common::{builder, seed};
use stt::{Coded, Mode};

#[tokio::test]
async fn the_chamber_stays_while_the_node_id_changes() {
    let dir = tempfile::tempdir().unwrap();
    let node_seed = stc::Key::generate().unwrap().to_printable();
    let start = || {
        let node = builder(&seed()).node_seed(node_seed.as_bytes()).chamber_path(dir.path());
        node.start(Mode::Client)
    };
    let node = start().await.unwrap();
    let id = node.chamber().await.unwrap().put("Important data").await.unwrap();
    assert_eq!(node.chamber().await.unwrap().get(&id).await.unwrap(), b"Important data");

    // Another node of the same seed is told that it is taken, and by whom.
    let second = start().await.unwrap();
    assert_ne!(second.node_id(), node.node_id());
    let error = second.chamber().await.unwrap_err();
    assert_eq!(error.code(), "store.in_use");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");

    node.stop(Duration::ZERO).await;
    drop(node);
    // The same call works once the other one is gone.
    assert_eq!(second.chamber().await.unwrap().get(&id).await.unwrap(), b"Important data");
}

#[tokio::test]
async fn another_node_seed_opens_nothing_and_none_has_no_chamber() {
    let dir = tempfile::tempdir().unwrap();
    for (number, code) in [(0, None), (1, Some("store.wrong_seed"))] {
        let node_seed = stc::Key::from_bytes([number; 32]).to_printable();
        let node = builder(&seed()).node_seed(node_seed.as_bytes()).chamber_path(dir.path());
        let node = node.start(Mode::Client).await.unwrap();
        let error = node.chamber().await.err();
        assert_eq!(error.as_ref().map(Coded::code), code);
    }
    let node = builder(&seed()).chamber_path(dir.path()).start(Mode::Client).await.unwrap();
    assert_eq!(node.chamber().await.unwrap_err().code(), "store.setting");
}
