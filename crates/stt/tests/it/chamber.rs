//! A node's encrypted storage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::{path::Path, process::Command, time::Duration};

use crate::common::{builder, seed};
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
    assert_eq!(node.chamber().await.unwrap().get(&id).await.unwrap(), "Important data");

    // Another node of the same seed is told that it is taken, and by whom.
    let second = start().await.unwrap();
    assert_ne!(second.node_id(), node.node_id());
    let error = second.chamber().await.unwrap_err();
    assert_eq!(error.code(), "store.in_use");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");

    // The same call works once the other one was stopped, whoever still refers to it.
    node.stop_within(Duration::ZERO).await;
    assert_eq!(node.chamber().await.unwrap_err().code(), "store.closed");
    assert_eq!(second.chamber().await.unwrap().get(&id).await.unwrap(), "Important data");
}

#[tokio::test]
async fn one_that_is_being_opened_when_the_node_stops_stays_closed() {
    let dir = tempfile::tempdir().unwrap();
    let key = stc::Key::generate().unwrap().to_printable();
    let start = || {
        let node = builder(&seed()).node_seed(key.as_bytes()).chamber_path(dir.path());
        node.start(Mode::Client)
    };
    let node = start().await.unwrap();
    let mut opening = std::pin::pin!(node.chamber());
    let begun = tokio::time::timeout(Duration::ZERO, &mut opening).await;
    node.stop_within(Duration::ZERO).await;
    // It may have been quick.
    if begun.is_err() {
        assert_eq!(opening.await.unwrap_err().code(), "store.closed");
    }
    drop(begun);
    start().await.unwrap().chamber().await.unwrap();
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

/// Tells the child process of the test below that it is one.
const IN_CHILD: &str = "STT_TEST_HOME_IS_SET";

/// In a process of its own, because the home directory belongs to the whole process.
#[tokio::test]
async fn without_a_path_the_chamber_is_in_the_home_directory_under_its_seed() {
    if let Ok(home) = std::env::var(IN_CHILD) {
        return in_home(Path::new(&home)).await;
    }
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([
        "--exact",
        "chamber::without_a_path_the_chamber_is_in_the_home_directory_under_its_seed",
    ]);
    for variable in ["HOME", "USERPROFILE", IN_CHILD] {
        child.env(variable, home.path());
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(home.path().join(".seigr/chambers").is_dir(), "the child ran nothing");
}

async fn in_home(home: &Path) {
    let start = async |number| {
        let key = stc::Key::from_bytes([number; 32]).to_printable();
        builder(&seed()).node_seed(key.as_bytes()).start(Mode::Client).await.unwrap()
    };
    let chambers = || std::fs::read_dir(home.join(".seigr/chambers")).unwrap().count();
    let node = start(1).await;
    let id = node.chamber().await.unwrap().put("Important data").await.unwrap();
    let seed = stc::Seed::from(stc::Key::from_bytes([1; 32]));
    let own = stt_store::ChamberKey::from_seed(&seed).unwrap().id();
    assert!(home.join(".seigr/chambers").join(own).join("format").is_file());
    assert_eq!(chambers(), 1);
    node.stop_within(Duration::ZERO).await;

    let other = start(2).await;
    let error = other.chamber().await.unwrap().get(&id).await.unwrap_err();
    assert_eq!(error.code(), "store.not_found");
    assert_eq!(chambers(), 2);

    let again = start(1).await;
    assert_eq!(again.chamber().await.unwrap().get(&id).await.unwrap(), "Important data");
    assert_eq!(chambers(), 2);
}
