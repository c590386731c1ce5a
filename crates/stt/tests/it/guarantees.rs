//! What is promised when a connection dies before, during and after a call: one test for each row of
//! the table in `docs/sessions.md`, and one that compares the two. How long calls take then is
//! asserted on a clock of its own, in `src/simulated/guarantees.rs`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::common::{self, Relay, builder, other_end, seed};
use bytes::Bytes;
use stt::{
    CloseReason, Coded, ConnectError, ConnectOptions, Delivery, Mode, Node, Session, SharedSeed,
    Stream, StreamError, StreamOptions,
    delivery::{Chance, Probability},
    transfer::{self, ReceiveOptions, SendOptions},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Silence after which a session of these tests is given up.
const SILENCE: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(300);
const DEAD: StreamError = StreamError::SessionEnded(CloseReason::Timeout);

async fn node(seed: &SharedSeed, mode: Mode) -> Node {
    let builder = builder(seed).heartbeat(SILENCE / 4).idle_timeout(SILENCE);
    builder.start(mode).await.unwrap()
}

/// Two nodes with a session over a path that can die.
struct Pair {
    seed: SharedSeed,
    server: Node,
    client: Node,
    ours: Session,
    theirs: Session,
    path: Relay,
}

impl Pair {
    async fn new() -> Self {
        let seed = seed();
        let server = node(&seed, Mode::Server).await;
        let client = node(&seed, Mode::Client).await;
        let path = Relay::to(server.local_addr()).await;
        let ours = client.connect(&path.address().to_string()).await.unwrap();
        let theirs = other_end(&server, &ours).await;
        Self { seed, server, client, ours, theirs, path }
    }

    /// The path dies, and both sides have noticed.
    async fn die(&self) {
        self.path.cut();
        assert_eq!(self.ours.closed().await, CloseReason::Timeout);
        assert_eq!(self.theirs.closed().await, CloseReason::Timeout);
    }
}

#[tokio::test]
async fn connect() {
    let seed = seed();
    let (server, client) = (node(&seed, Mode::Server).await, node(&seed, Mode::Client).await);
    // Before, and during: whatever number of datagrams gets through.
    for datagrams in [0, 1, 2, 3] {
        let path = Relay::short_lived(server.local_addr(), datagrams).await;
        let error = client
            .connect_with(&path.address().to_string(), &ConnectOptions::new().timeout(SOON))
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error:?}");
        assert!(error.retry_helps());
        assert_eq!(client.sessions().len(), 0);
    }
    // What is left at the peer ends by its idle timeout.
    tokio::time::timeout(SILENCE * 4, async {
        while !server.sessions().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    // After.
    let pair = Pair::new().await;
    assert_eq!(pair.ours.close_reason(), None);
    pair.die().await;
    assert_eq!((pair.client.sessions().len(), pair.server.sessions().len()), (0, 0));
}

#[tokio::test]
async fn accept() {
    let pair = Pair::new().await;
    // During: who waits goes on when a session dies.
    assert_eq!(pair.server.accept().await.unwrap().id(), pair.ours.id());
    let died = async {
        pair.die().await;
        tokio::time::timeout(SOON, std::future::pending::<()>()).await
    };
    let waited = tokio::select! {
        session = pair.server.accept() => panic!("{session:?}"),
        waited = died => waited,
    };
    assert!(waited.is_err());
    let pair = Pair::new().await;
    pair.die().await;
    // Before: the one that died is not given out; the next one is, once.
    let ours = pair.client.connect(&pair.server.local_addr().to_string()).await.unwrap();
    let theirs = pair.server.accept().await.unwrap();
    assert_eq!(theirs.id(), ours.id());
    assert!(tokio::time::timeout(SOON, pair.server.accept()).await.is_err());
    ours.abort("after");
    assert!(matches!(theirs.closed().await, CloseReason::Closed { by_peer: true, .. }));
}

#[tokio::test]
async fn ping() {
    let pair = Pair::new().await;
    pair.ours.ping().await.unwrap();
    pair.path.cut();
    assert_eq!(pair.ours.ping().await.unwrap_err(), DEAD);
    assert_eq!(pair.ours.ping().await.unwrap_err(), DEAD);
}

/// What of numbered messages arrived, until the stream failed or ended.
async fn numbers(session: &Session, id: u32) -> (u32, Option<StreamError>) {
    numbers_of(&session.get_stream(id).unwrap()).await
}

async fn numbers_of(stream: &Stream) -> (u32, Option<StreamError>) {
    let mut next = 0_u32;
    loop {
        match stream.receive().await {
            Ok(Some(message)) => {
                assert_eq!(message[..4], next.to_be_bytes(), "in order, each once");
                next += 1;
            }
            Ok(None) => return (next, None),
            Err(error) => return (next, Some(error)),
        }
    }
}

fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut message = vec![0; len];
    message[..4].copy_from_slice(&number.to_be_bytes());
    message
}

#[tokio::test]
async fn send() {
    let pair = Pair::new().await;
    let stream = pair.ours.open_stream().unwrap();
    let sending = async {
        let mut taken = 0;
        loop {
            if taken == 500 {
                pair.path.cut();
            }
            match stream.send(numbered(taken, 10_000)).await {
                Ok(()) => taken += 1,
                // During: the one that waited for room was not taken.
                Err(error) => return (taken, error),
            }
        }
    };
    let ((taken, error), (arrived, end)) =
        tokio::join!(sending, numbers(&pair.theirs, stream.id()));
    assert_eq!((error, end), (DEAD, Some(DEAD)));
    // After: what arrived is a prefix of what was taken, and need not be all of it.
    assert!(arrived < taken, "{arrived} of {taken}");
    // Before.
    assert_eq!(stream.send(b"late").await.unwrap_err(), DEAD);
    assert_eq!(stream.send(Bytes::from_static(b"late")).await.unwrap_err(), DEAD);
    assert_eq!(stream.try_send(b"late").unwrap_err(), DEAD);
    assert_eq!(pair.ours.open_stream().unwrap_err(), DEAD);
}

#[tokio::test]
async fn flush() {
    let pair = Pair::new().await;
    let (small, large) = (pair.ours.open_stream().unwrap(), pair.ours.open_stream().unwrap());
    pair.path.cut();
    // After: it is with the transport, and that is all.
    small.send(b"handed over").await.unwrap();
    small.flush().await.unwrap();
    // During.
    large.send(vec![0; 8 << 20]).await.unwrap();
    assert_eq!(large.flush().await.unwrap_err(), DEAD);
    // Before.
    assert_eq!(small.flush().await.unwrap_err(), DEAD);
    assert!(pair.theirs.get_stream(small.id()).unwrap_err().to_string().contains("over"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_stream() {
    // After: the other side gets all of it and the end, though the session dies at that instant.
    let (server, client) = common::nodes().await;
    for _ in 0..20 {
        let ours = common::connect(&client, &server).await;
        let theirs = other_end(&server, &ours).await;
        let stream = ours.open_stream().unwrap();
        // Taken now: the session may be over before the task runs for the first time.
        let there = theirs.get_stream(1).unwrap();
        let receiving = tokio::spawn(async move { numbers_of(&there).await });
        for number in 0..50 {
            stream.send(numbered(number, 10_000)).await.unwrap();
        }
        stream.close().await.unwrap();
        ours.abort("");
        assert_eq!(receiving.await.unwrap(), (50, None));
    }
    // During and before: it may have arrived or not, and that is said.
    let pair = Pair::new().await;
    let stream = pair.ours.open_stream().unwrap();
    pair.path.cut();
    stream.send(b"perhaps").await.unwrap();
    assert_eq!(stream.close().await.unwrap_err(), DEAD);
    assert_eq!(stream.close().await.unwrap_err(), DEAD);
}

#[tokio::test]
async fn reset() {
    let pair = Pair::new().await;
    let (stream, other) = (pair.ours.open_stream().unwrap(), pair.ours.open_stream().unwrap());
    stream.send(b"before").await.unwrap();
    pair.ours.ping().await.unwrap();
    let there = pair.theirs.accept_stream().await.unwrap();
    stream.reset(0x777);
    let end = loop {
        match there.receive().await {
            Ok(message) => assert_eq!(message.unwrap(), &b"before"[..]),
            Err(error) => break error,
        }
    };
    assert_eq!(end, StreamError::Reset { id: stream.id(), code: 0x777 });
    // During: the peer does not hear of it, and learns of the death instead.
    other.send(b"other").await.unwrap();
    let there = pair.theirs.accept_stream().await.unwrap();
    assert!(there.receive().await.unwrap().is_some());
    pair.path.cut();
    other.reset(0x777);
    assert_eq!(there.receive().await.unwrap_err(), DEAD);
    // Before: nothing happens.
    other.reset(0x778);
    assert!(other.send(b"x").await.is_err());
}

#[tokio::test]
async fn receive() {
    let pair = Pair::new().await;
    let (stream, quiet) = (pair.ours.open_stream().unwrap(), pair.ours.open_stream().unwrap());
    for number in 0..10 {
        stream.send(numbered(number, 1_000)).await.unwrap();
    }
    quiet.send(b"once").await.unwrap();
    pair.ours.ping().await.unwrap();
    let waiting = pair.theirs.get_stream(quiet.id()).unwrap();
    assert_eq!(waiting.receive().await.unwrap().unwrap(), &b"once"[..]);
    // During: the wait ends with the session.
    let (during, ()) = tokio::join!(waiting.receive(), pair.die());
    assert_eq!(during.unwrap_err(), DEAD);
    // Before: what had arrived is there, then the reason.
    let there = pair.theirs.accept_stream().await.unwrap();
    for number in 0..10_u32 {
        assert_eq!(there.receive().await.unwrap().unwrap()[..4], number.to_be_bytes());
    }
    assert_eq!(there.receive().await.unwrap_err(), DEAD);
    assert_eq!(there.receive().await.unwrap_err(), DEAD);
}

#[tokio::test]
async fn raw_bytes() {
    // After a shutdown that returned, all is there, and the end.
    let (server, client) = common::nodes().await;
    let ours = common::connect(&client, &server).await;
    let theirs = other_end(&server, &ours).await;
    let mut writer = ours.open_stream().unwrap().into_raw();
    let reading = async {
        let mut reader = theirs.accept_stream().await.unwrap().into_raw();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.map(|_| all)
    };
    let writing = async {
        writer.write_all(&[7; 700_000]).await.unwrap();
        writer.shutdown().await.unwrap();
        ours.abort("");
    };
    let (all, ()) = tokio::join!(reading, writing);
    assert_eq!(all.unwrap().len(), 700_000);
    // A death in the middle is an error for the reader, never an end.
    let pair = Pair::new().await;
    let mut writer = pair.ours.open_stream().unwrap().into_raw();
    writer.write_all(b"half").await.unwrap();
    pair.ours.ping().await.unwrap();
    let mut reader = pair.theirs.accept_stream().await.unwrap().into_raw();
    let mut got = [0; 4];
    reader.read_exact(&mut got).await.unwrap();
    // During: who waits for bytes, or for room, gets the error.
    let broken = |error: io::Error| error.to_string().contains("the session is over");
    let mut full = pair.ours.open_stream().unwrap().into_raw();
    pair.path.cut();
    let filling = async {
        loop {
            if let Err(error) = full.write_all(&[0; 100_000]).await {
                return error;
            }
        }
    };
    let (read, written) = tokio::join!(reader.read(&mut got), filling);
    assert!(broken(read.unwrap_err()) && broken(written));
    // Before.
    assert!(broken(reader.read(&mut got).await.unwrap_err()));
    assert!(broken(writer.write_all(b"x").await.unwrap_err()));
    assert!(broken(writer.shutdown().await.unwrap_err()));
}

#[tokio::test]
async fn send_unreliable() {
    let pair = Pair::new().await;
    let open =
        |delivery| pair.ours.open_stream_with(&StreamOptions::new().delivery(delivery)).unwrap();
    let chance = Chance::Stated(Probability::new(0.9).unwrap());
    let streams =
        [Delivery::Datagram, Delivery::Deadline(SILENCE), Delivery::Probabilistic(chance)]
            .map(open);
    // After: it may arrive, whole and once. Here nothing is in its way.
    for stream in &streams {
        stream.send(&[7; 1_000]).await.unwrap();
        let there = pair.theirs.get_stream(stream.id()).unwrap();
        assert_eq!(there.receive().await.unwrap().unwrap(), vec![7; 1_000]);
        assert!(tokio::time::timeout(SOON / 10, there.receive()).await.is_err());
    }
    // During: nothing is promised, so nothing is reported either.
    pair.path.cut();
    for stream in &streams {
        stream.send(b"lost").await.unwrap();
    }
    pair.die().await;
    // Before.
    for stream in &streams {
        assert_eq!(stream.send(b"late").await.unwrap_err(), DEAD);
    }
}

#[tokio::test]
async fn send_to_all() {
    let pair = Pair::new().await;
    let other = common::connect(&pair.client, &pair.server).await;
    pair.path.cut();
    // During: whoever waits for the dead one is told so, and the others have it.
    let message = Bytes::from(vec![5; 2 << 20]);
    let reading = tokio::spawn(async move {
        let stream = other.get_stream(9).unwrap();
        for _ in 0..3 {
            assert_eq!(stream.receive().await.unwrap().unwrap().len(), 2 << 20);
        }
        other
    });
    let first = pair.server.send_to_all_on(9, message.clone()).await;
    assert_eq!((first.sent, first.failed.len()), (2, 0), "taken is not arrived");
    let second = pair.server.send_to_all_on(9, message.clone()).await;
    assert_eq!((second.sent, second.failed), (1, vec![(pair.ours.id(), DEAD)]));
    // Before: it is not there any more, and by its id it is reported.
    assert_eq!(pair.server.send_to_all_on(9, message.clone()).await.sent, 1);
    // The other one's queue may be full of what was sent before.
    let tried = pair.server.try_send_to_all_on(9, &b""[..]);
    assert_eq!((tried.sent + tried.full.len(), tried.failed.len()), (1, 0));
    assert!(!tried.full.contains(&pair.ours.id()));
    let by_id = pair.server.send_to_sessions_on(&[pair.ours.id()], 9, &b"x"[..]).await;
    assert_eq!((by_id.sent, by_id.failed[0].1.code()), (0, "stream.unknown_session"));
    reading.await.unwrap();
}

#[tokio::test]
async fn node_receive() {
    let pair = Pair::new().await;
    // The first call makes messages flow.
    for number in 0..4_u32 {
        let sent = pair.client.send_to_all_on(3, numbered(number, 100)).await;
        assert_eq!(sent.sent, 1);
        if number == 0 {
            pair.server.receive().await.unwrap();
        }
    }
    pair.ours.ping().await.unwrap();
    pair.die().await;
    for number in 1..4_u32 {
        let packet = pair.server.receive().await.unwrap();
        assert_eq!(packet.session_id, pair.ours.id());
        assert_eq!(packet.data[..4], number.to_be_bytes());
    }
    // During: a session dies and `receive` goes on, with what comes of another one.
    let other = common::connect(&pair.client, &pair.server).await;
    let (packet, ()) = tokio::join!(pair.server.receive(), async {
        other.abort("");
        let third = common::connect(&pair.client, &pair.server).await;
        third.get_stream(3).unwrap().send(b"third").await.unwrap();
        third.ping().await.unwrap();
    });
    assert_eq!(packet.unwrap().data, &b"third"[..]);
    // Until the node is stopped.
    let (packet, ()) = tokio::join!(pair.server.receive(), pair.server.stop_within(SOON));
    assert_eq!(packet, None);
}

#[tokio::test]
async fn close_session() {
    let pair = Pair::new().await;
    let stream = pair.ours.open_stream().unwrap();
    for number in 0..100 {
        stream.send(numbered(number, 5_000)).await.unwrap();
    }
    let receiving = numbers(&pair.theirs, stream.id());
    // After: what was sent is there, and the peer knows why it ended.
    let (arrived, ()) = tokio::join!(receiving, pair.ours.close("done"));
    assert_eq!(arrived, (100, None));
    let told = CloseReason::Closed { by_peer: true, text: "done".into() };
    assert_eq!(pair.theirs.closed().await, told);
    // Before: it returns at once, and the first reason stays.
    pair.ours.close("again").await;
    let first = CloseReason::Closed { by_peer: false, text: "done".into() };
    assert_eq!(pair.ours.close_reason(), Some(first));
    // During: it does not wait longer than the session lives.
    let pair = Pair::new().await;
    let stream = pair.ours.open_stream().unwrap();
    pair.path.cut();
    stream.send(b"lost").await.unwrap();
    pair.ours.close("unheard").await;
    assert_eq!(pair.ours.close_reason(), Some(CloseReason::Timeout));
    assert_eq!(pair.theirs.closed().await, CloseReason::Timeout);
}

#[tokio::test]
async fn abort_session() {
    let pair = Pair::new().await;
    pair.ours.abort("enough");
    let here = CloseReason::Closed { by_peer: false, text: "enough".into() };
    let there = CloseReason::Closed { by_peer: true, text: "enough".into() };
    assert_eq!((pair.ours.closed().await, pair.theirs.closed().await), (here, there));
    // During: the word is lost with the path, and the peer sees silence.
    let pair = Pair::new().await;
    pair.path.cut();
    pair.ours.abort("unheard");
    assert!(matches!(pair.ours.closed().await, CloseReason::Closed { by_peer: false, .. }));
    assert_eq!(pair.theirs.closed().await, CloseReason::Timeout);
    // Before: the first reason stays.
    pair.theirs.abort("later");
    assert_eq!(pair.theirs.close_reason(), Some(CloseReason::Timeout));
}

#[tokio::test]
async fn closed() {
    let pair = Pair::new().await;
    let told = Arc::new(AtomicUsize::new(0));
    let _subscriptions = [&pair.client, &pair.server].map(|node| {
        let (told, id) = (Arc::clone(&told), pair.ours.id());
        node.on_session_closed(move |session, reason| {
            assert_eq!((session, reason), (id, &CloseReason::Timeout));
            told.fetch_add(1, SeqCst);
        })
        .unwrap()
    });
    pair.die().await;
    // Any number of times, with one answer.
    assert_eq!(pair.ours.closed().await, CloseReason::Timeout);
    assert_eq!(pair.ours.close_reason(), Some(CloseReason::Timeout));
    pair.client.stop_within(SOON).await;
    pair.server.stop_within(SOON).await;
    tokio::time::timeout(SILENCE, async {
        while told.load(SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(told.load(SeqCst), 2, "each side once");
}

#[tokio::test]
async fn stop() {
    let pair = Pair::new().await;
    let stream = pair.ours.open_stream().unwrap();
    stream.send(b"last words").await.unwrap();
    pair.client.stop_within(SILENCE).await;
    assert_eq!(pair.theirs.closed().await, CloseReason::Shutdown { by_peer: true });
    let there = pair.theirs.accept_stream().await.unwrap();
    assert_eq!(there.receive().await.unwrap().unwrap(), &b"last words"[..]);
    assert_eq!(there.receive().await.unwrap(), None);
    assert!(stream.send(b"x").await.is_err());
    assert!(matches!(pair.client.connect("127.0.0.1:9").await, Err(ConnectError::Stopped)));
    // During: no longer than its patience, and a moment for the peers to hear of it.
    let pair = Pair::new().await;
    let stream = pair.ours.open_stream().unwrap();
    pair.path.cut();
    stream.send(b"lost").await.unwrap();
    pair.client.stop_within(Duration::from_millis(50)).await;
    assert_eq!(pair.ours.close_reason(), Some(CloseReason::Shutdown { by_peer: false }));
    assert_eq!(pair.theirs.closed().await, CloseReason::Timeout);
}

#[tokio::test]
async fn transfer() {
    let pair = Pair::new().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("file");
    let content: Vec<u8> = (0..6_000_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    std::fs::write(&path, &content).unwrap();
    // During: the path dies in the middle.
    pair.client.set_bandwidth(std::num::NonZeroU64::new(8_000_000));
    let sending = SendOptions::default();
    let receiving = ReceiveOptions::default();
    let inbox = common::Inbox::of(&pair.server);
    let taking = async || transfer::receive(inbox.next().await, to.path(), &receiving).await;
    let cut = async {
        while pair.theirs.stats().bytes_received < 3_000_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pair.path.cut();
    };
    let (sent, received, ()) =
        tokio::join!(transfer::send(&pair.ours, &path, &sending), taking(), cut);
    assert!(sent.is_err() && received.is_err());
    assert!(!to.path().join("file").exists(), "never a part under its name");
    // Again, over a new session: the rest is enough.
    let server = pair.server.local_addr().to_string();
    let ours = pair.client.connect(&server).await.unwrap();
    pair.client.set_bandwidth(None);
    let (sent, received) = tokio::join!(transfer::send(&ours, &path, &sending), taking());
    assert!(sent.unwrap().resumed_at > 0);
    // After: verified, and under its name.
    assert!(std::fs::read(received.unwrap().path).unwrap() == content);
    ours.abort("");
    assert!(transfer::send(&ours, &path, &sending).await.is_err());
    drop(pair.seed);
}

/// Every row of the table names a test of this file, and every test is a row.
#[test]
fn the_table_and_the_tests_are_the_same() {
    let doc = include_str!("../../../../docs/sessions.md");
    let table = doc.split_once("## Guarantees").unwrap().1.split_once("\n## ").unwrap().0;
    let mut rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|--"))
        .skip(1)
        .map(|line| line.rsplit('|').nth(1).unwrap().trim().trim_matches('`'))
        .collect();
    let own = include_str!("guarantees.rs");
    let mark = concat!("#[tokio", "::test");
    let mut tests: Vec<&str> = own
        .split(mark)
        .skip(1)
        .filter_map(|after| after.split_once("async fn ")?.1.split_once('('))
        .map(|(name, _)| name)
        .collect();
    rows.sort_unstable();
    tests.sort_unstable();
    assert_eq!(rows, tests);
}
