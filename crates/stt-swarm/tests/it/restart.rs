//! What a swarm keeps in a chamber is there after `kill -9`: the process that is killed is this test
//! once more, with a directory to work in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail by panicking, and talks to its parent"
)]

use std::{
    future::Future,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use stt::{Node, SharedSeed};
use stt_swarm::{Swarm, SwarmOptions};

const DIR: &str = "STT_TEST_RESTART_DIR";

/// Nothing here may wait for ever.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it took too long")
}

async fn swarm(dir: &Path, node: u8) -> Swarm {
    let seed = SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
    let node = Node::builder(seed)
        .host("127.0.0.1")
        .port(0)
        .node_seed([node; 32])
        .persistent_identity(true)
        .chamber_path(dir.join(format!("{node}")))
        .start(stt::Mode::Server)
        .await
        .unwrap();
    let chamber = node.chamber().await.unwrap();
    Swarm::start_with(&node, &SwarmOptions::default(), &chamber).await.unwrap()
}

/// Stores two values and forgets one, says so, and waits to be killed.
#[tokio::test]
#[ignore = "run by the test below"]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let swarm = swarm(&PathBuf::from(dir), 1).await;
    swarm.dht().store(b"kept", b"value").await.unwrap();
    swarm.dht().store(b"given up", b"value").await.unwrap();
    assert!(swarm.dht().forget(b"given up").await.unwrap());
    assert!(!swarm.dht().forget(b"given up").await.unwrap());
    println!("\nstored");
    std::future::pending().await
}

#[tokio::test]
async fn an_own_value_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "restart::child", "--nocapture"])
        .env(DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stored = lines.any(|line| line.unwrap() == "stored");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(stored);

    let again = within(swarm(dir.path(), 1)).await;
    let value = within(again.dht().find_value(b"kept")).await.unwrap().unwrap();
    assert_eq!((&value.data[..], value.publisher), (&b"value"[..], again.node().node_id()));
    assert_eq!(within(again.dht().find_value(b"given up")).await.unwrap(), None);
    // It is told to those who are met later.
    let other = within(swarm(dir.path(), 2)).await;
    within(again.dht().bootstrap(&[other.node().local_addr().to_string()])).await.unwrap();
    within(async {
        while other.dht().find_value(b"kept").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A node that ends in peace and starts again knows what it kept for others, and joins by itself.
#[tokio::test]
async fn values_of_others_and_members_are_known_again() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (swarm(dir.path(), 3).await, swarm(dir.path(), 4).await);
    within(second.dht().bootstrap(&[first.node().local_addr().to_string()])).await.unwrap();
    let stored = within(first.dht().store(b"key", b"of the first")).await.unwrap();
    assert_eq!(stored.copies, 1);
    let node = second.node();
    drop(second);
    within(node.stop_within(Duration::from_secs(5))).await;
    drop(node);

    // The old chamber is closed once everything is written.
    let again = within(async {
        loop {
            let seed = SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
            let node = Node::builder(seed)
                .host("127.0.0.1")
                .port(0)
                .node_seed([4; 32])
                .persistent_identity(true)
                .chamber_path(dir.path().join("4"))
                .start(stt::Mode::Server)
                .await
                .unwrap();
            if let Ok(chamber) = node.chamber().await {
                let options = SwarmOptions::default();
                break Swarm::start_with(&node, &options, &chamber).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    within(async {
        loop {
            let peers = again.dht().peers().await.unwrap();
            if peers.iter().any(|peer| peer.linked && peer.node_id == first.node().node_id()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // The publisher is gone; the copy is not.
    let publisher = first.node().node_id();
    within(first.node().stop_within(Duration::from_secs(5))).await;
    let value = within(again.dht().find_value(b"key")).await.unwrap().unwrap();
    assert_eq!((&value.data[..], value.publisher), (&b"of the first"[..], publisher));
}
