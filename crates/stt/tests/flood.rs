//! A flood by somebody who holds the seed, against a node with the profile for little memory: how
//! much memory it takes, and whether others still get in. The flood comes from another process.
#![cfg(target_os = "linux")] // Resident memory, and more than one loopback address.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail by panicking")]

mod common;

use std::{
    num::NonZeroU64,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use common::{builder, other_end};
use stt::{ConnectOptions, Delivery, Mode, Node, Session, SharedSeed, StreamOptions};
use tokio::task::JoinSet;

const ADDRESS: &str = "STT_TEST_FLOOD";
const KIND: &str = "STT_TEST_FLOOD_KIND";
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
                let knocked = node
                    .connect_with(
                        &address,
                        &ConnectOptions::new().timeout(Duration::from_millis(100)),
                    )
                    .await;
                if let Ok(session) = knocked {
                    session.abort("one more");
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Bytes a second of each session, where a flood depends on what is held back.
const SLOWLY: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();
const FOR_EVER: Duration = Duration::from_secs(600);

/// Frames in datagrams, which nobody at the other end dispatches.
async fn frames(session: Session) {
    while session.close_reason().is_none() {
        let _ = session.send_frame_datagram(0x80, &[3; 1_000]).await;
    }
}

/// Repair-coded messages, the last packets of which never come.
async fn parts(session: Session) {
    session.set_bandwidth(Some(SLOWLY));
    let options = StreamOptions::new().delivery(Delivery::probabilistic(0.5).unwrap());
    let stream = session.open_stream_with(&options).unwrap();
    let message = vec![4; 250_000];
    while session.close_reason().is_none() {
        // A quarter of a second and more would be needed for all of it.
        let _ = tokio::time::timeout(Duration::from_millis(150), stream.send(&message)).await;
    }
}

/// Messages with a deadline far away, all of which are on their way for seconds.
async fn unfinished(session: Session) {
    session.set_bandwidth(Some(SLOWLY));
    let stream =
        session.open_stream_with(&StreamOptions::new().delivery(Delivery::Deadline(FOR_EVER)));
    let (stream, message) = (stream.unwrap(), vec![5; 1 << 20]);
    while stream.send(&message).await.is_ok() {}
}

/// A byte at a time, each in a datagram of its own, for streams that nobody reads.
async fn crumbs(session: Session) {
    let streams = (0..15).map(|_| session.open_stream().unwrap().into_raw());
    let mut streams: Vec<_> = streams.collect();
    while session.close_reason().is_none() {
        for stream in &mut streams {
            let _ = stream.write_chunk(Bytes::from_static(&[6])).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Not a test: what the other process does for the kinds outside of streams.
#[tokio::test]
#[ignore = "the flood itself, started by the tests below"]
async fn flood_apart() {
    let (Ok(address), Ok(kind)) = (std::env::var(ADDRESS), std::env::var(KIND)) else { return };
    let (mut pushing, mut nodes) = (JoinSet::new(), Vec::new());
    for last in 10..10 + ATTACKERS {
        let node =
            builder(&seed()).host(format!("127.0.0.{last}")).start(Mode::Client).await.unwrap();
        for _ in 0..SESSIONS {
            let Ok(session) = node.connect(&address).await else { continue };
            match kind.as_str() {
                "frames" => pushing.spawn(frames(session)),
                "parts" => pushing.spawn(parts(session)),
                "crumbs" => pushing.spawn(crumbs(session)),
                _ => pushing.spawn(unfinished(session)),
            };
        }
        nodes.push(node);
    }
    pushing.join_all().await;
}

/// One after the other, since each measures the memory of this process.
static ALONE: Mutex<()> = Mutex::new(());

/// Lets another process flood a node until `flooded`, and looks at memory and at somebody honest.
fn withstand(flood: &str, kind: &str, flooded: impl Fn(&Node) -> bool) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server: Node = runtime.block_on(async {
        let builder = builder(&seed()).low_memory().max_sessions(1_000);
        builder.start(Mode::Server).await.unwrap()
    });
    let honest = runtime.block_on(builder(&seed()).start(Mode::Client)).unwrap();
    let before = resident();
    let mut attacker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", flood, "--ignored"])
        .env(ADDRESS, server.local_addr().to_string())
        .env(KIND, kind)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let deadline = std::time::Instant::now() + Duration::from_secs(30);
            while !flooded(&server) {
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
            println!("{flood} {kind}: {} MiB more, {stats:?}", grown >> 20);
            assert!(stats.limits.unread_bytes > 1 << 20, "it counts what floods");
            assert!(stats.limits.unread_bytes <= 2 * (4 << 20) + (1 << 20));
            assert!(stats.limits.half_open <= 16);
            let bound = usize::try_from(stats.limits.memory_bound).unwrap();
            assert!(grown < bound / 5 * 6, "{grown} bytes, bound {bound}");
            // 4 MiB unread, as much again in the engine, and what sessions and the allocator need.
            assert!(grown < 24 << 20, "{} MiB", grown >> 20);
        });
    }));
    let _ = attacker.kill();
    let _ = attacker.wait();
    result.unwrap();
}

#[test]
fn a_flood_takes_no_more_memory_than_the_profile_says_and_others_get_in() {
    withstand("flood", "", |server| {
        let stats = server.stats();
        stats.limits.reads_held_up > 0 && stats.udp_transport.dropped_too_often > 100
    });
}

/// They are counted at what they hold, not at their length.
#[test]
#[ignore = "heavy: a datagram for each byte"]
fn nor_do_single_bytes_that_each_hold_a_datagram() {
    withstand("flood_apart", "crumbs", |server| server.stats().limits.unread_bytes > 5 << 18);
}

/// What all sessions of the node count together.
fn sum(server: &Node, of: impl Fn(&stt::SessionStats) -> u64) -> u64 {
    server.sessions().iter().map(|session| of(&session.stats())).sum()
}

/// What the profile may take, twice over.
const MUCH: u64 = 48 << 20;

#[test]
fn frames_in_datagrams_that_nobody_dispatches_take_no_more_than_that_either() {
    withstand("flood_apart", "frames", |server| {
        sum(server, |stats| stats.dropped_messages) > MUCH / 1_000
    });
}

#[test]
fn nor_do_repair_coded_messages_whose_last_packets_never_come() {
    withstand("flood_apart", "parts", |server| sum(server, |stats| stats.bytes_received) > MUCH);
}

#[test]
fn nor_do_messages_with_a_deadline_that_are_never_whole() {
    withstand("flood_apart", "unfinished", |server| server.stats().limits.reads_held_up > 0);
}
