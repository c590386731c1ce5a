//! One message to many sessions: what it allocates, and that slow receivers harm themselves only.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail by panicking")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{builder, connect, other_end, seed};
use stt::{ConnectOptions, Mode, Node};
use tokio::{runtime::Runtime, task::JoinSet};

const STREAM: u32 = 7;

/// A server with `sessions` sessions of one client, in a runtime of this thread alone.
fn crowd(runtime: &Runtime, sessions: usize) -> (Node, Node) {
    let seed = seed();
    runtime.block_on(async {
        let server = builder(&seed).handshakes_per_second(1_000_000);
        let server = server.start(Mode::Server).await.unwrap();
        let client = builder(&seed).start(Mode::Client).await.unwrap();
        let (address, mut attempts) = (server.local_addr().to_string(), JoinSet::new());
        for at in 0..sessions {
            if at >= 64 {
                attempts.join_next().await.unwrap().unwrap();
            }
            let (client, address) = (client.clone(), address.clone());
            attempts.spawn(async move {
                client
                    .connect_with(&address, &ConnectOptions::new().timeout(Duration::from_secs(60)))
                    .await
                    .unwrap();
            });
        }
        attempts.join_all().await;
        assert_eq!(server.stats().sessions.active, sessions);
        (server, client)
    })
}

/// Allocation is counted for each thread, so everything runs in one.
fn not_copied(sessions: usize) {
    const LEN: usize = 1 << 20;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, _client) = crowd(&runtime, sessions);
    let message = Bytes::from(vec![7; LEN]);
    // What streams need is made by the first, small message.
    let warm_up = runtime.block_on(server.send_to_all_on(STREAM, &b"hello"[..]));
    assert_eq!(warm_up.sent, sessions);
    let used = allocation_counter::measure(|| {
        let report = runtime.block_on(server.send_to_all_on(STREAM, message.clone()));
        assert_eq!((report.sent, report.failed.len()), (sessions, 0));
    });
    let each = used.bytes_total / u64::try_from(sessions).unwrap();
    println!("{each} bytes allocated for each of {sessions} sessions, for a message of {LEN}");
    assert!(each < 4_096, "{each} bytes");
}

#[test]
fn a_message_to_a_hundred_sessions_is_not_copied() {
    not_copied(100);
}

#[test]
#[ignore = "heavy: 1,000 handshakes, 100 MiB"]
fn a_message_to_a_thousand_sessions_is_not_copied() {
    not_copied(1_000);
}

#[tokio::test]
async fn slow_receivers_neither_delay_nor_grow_the_others() {
    const LEN: usize = 64 << 10;
    const ROUNDS: usize = 100;
    let seed = seed();
    let server = builder(&seed).start(Mode::Server).await.unwrap();
    let mut readers = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = builder(&seed).start(Mode::Client).await.unwrap();
        let session = connect(&client, &server).await;
        other_end(&server, &session).await;
        readers.push(session.get_stream(STREAM).unwrap());
        clients.push((client, session));
    }
    let (_, slow) = clients.last().unwrap();
    let slow_stream = readers.pop().unwrap();
    let message = Bytes::from(vec![1; LEN]);
    let mut left_out = 0;
    for _ in 0..ROUNDS {
        let report = server.try_send_to_all_on(STREAM, message.clone());
        assert!(report.failed.is_empty());
        assert!(report.full.iter().all(|id| *id == slow.id()), "only the slow one is left out");
        left_out += report.full.len();
        // Each round ends when all the others have the message: nothing waits for the slow one.
        for reader in &readers {
            assert_eq!(reader.receive().await.unwrap().unwrap().len(), LEN);
        }
    }
    // It holds its queue at the sender and its window at the receiver, 1 MiB each.
    let taken = ROUNDS - left_out;
    assert!((16..=34).contains(&taken), "{taken} messages");
    assert_eq!(server.stats().limits.unread_bytes, 0);
    // And what it was sent is there when it comes round to reading.
    for _ in 0..taken {
        assert_eq!(slow_stream.receive().await.unwrap().unwrap().len(), LEN);
    }
}
