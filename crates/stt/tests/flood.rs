//! A flood by somebody who holds the seed, against a node with the profile for little memory: how
//! much memory it takes, and whether others still get in. The flood comes from another process.
#![cfg(target_os = "linux")] // Resident memory, and more than one loopback address.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail by panicking")]

mod common;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use common::{builder, other_end};
use stt::{Mode, Node, SharedSeed};
use tokio::task::JoinSet;

const ADDRESS: &str = "STT_TEST_FLOOD";
/// Attackers, each at an address of its own, and sessions and streams of each.
const ATTACKERS: u8 = 12;
const SESSIONS: usize = 4;
const STREAMS: usize = 20;

fn seed() -> SharedSeed {
    SharedSeed::from_key(stc::Key::from_bytes([0xf1; 32]))
}

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Not a test: what the other process does.
#[tokio::test]
#[ignore = "the flood itself, started by the test below"]
async fn flood() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let mut pushing = JoinSet::new();
    let mut nodes = Vec::new();
    for last in 10..10 + ATTACKERS {
        let host = format!("127.0.0.{last}");
        let node = builder(&seed()).host(host).start(Mode::Client).await.unwrap();
        for _ in 0..SESSIONS {
            let Ok(session) = node.connect(&address).await else { continue };
            for _ in 0..STREAMS {
                let mut stream = session.open_stream().unwrap().into_raw();
                pushing.spawn(async move {
                    let piece = Bytes::from(vec![1; 64 << 10]);
                    while stream.write_chunk(piece.clone()).await.is_ok() {}
                });
            }
            let session = session.clone();
            pushing.spawn(async move {
                let stream = session.open_stream().unwrap();
                let piece = vec![2; 1_000];
                while session.close_reason().is_none() {
                    let _ = stream.send(&piece).await;
                }
            });
        }
        nodes.push(node);
    }
    // More knocks than anybody should have, all the while.
    for _ in 0..1_000 {
        for node in &nodes {
            let (node, address) = (node.clone(), address.clone());
            pushing.spawn(async move {
                let knocked = node.connect_to(&address, None, Duration::from_millis(100)).await;
                if let Ok(session) = knocked {
                    session.abort("one more");
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_flood_takes_no_more_memory_than_the_profile_says_and_others_get_in() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server: Node = runtime.block_on(async {
        let builder = builder(&seed()).low_memory().max_sessions(1_000);
        builder.start(Mode::Server).await.unwrap()
    });
    let honest = runtime.block_on(builder(&seed()).start(Mode::Client)).unwrap();
    let before = resident();
    let mut attacker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "flood", "--ignored"])
        .env(ADDRESS, server.local_addr().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let flooded = |stats: &stt::NodeStats| {
                stats.limits.reads_held_up > 0 && stats.udp_transport.dropped_too_often > 100
            };
            let deadline = std::time::Instant::now() + Duration::from_secs(30);
            while !flooded(&server.stats()) {
                assert!(std::time::Instant::now() < deadline, "{:?}", server.stats());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let session = honest.connect(&server.local_addr().to_string()).await.unwrap();
            let theirs = other_end(&server, &session).await;
            let stream = session.open_stream().unwrap();
            let there = theirs.get_stream(stream.id()).unwrap();
            for _ in 0..20 {
                stream.send(&[7; 10_000]).await.unwrap();
                assert_eq!(there.receive().await.unwrap().unwrap().len(), 10_000);
            }
            let (stats, grown) = (server.stats(), resident().saturating_sub(before));
            println!("{} MiB more, {stats:?}", grown >> 20);
            assert!(stats.limits.unread_bytes <= 2 * (4 << 20) + (1 << 20));
            assert!(stats.limits.half_open <= 16);
            // 4 MiB unread, as much again in the engine, and what sessions and the allocator need.
            assert!(grown < 24 << 20, "{} MiB", grown >> 20);
        });
    }));
    let _ = attacker.kill();
    let _ = attacker.wait();
    result.unwrap();
}
