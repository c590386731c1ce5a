//! What peers that hold the seed may take, and that others do not notice: over real sockets.
#![cfg(target_os = "linux")] // Other systems have one loopback address only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU64,
    time::{Duration, Instant},
};

use crate::common::{self, builder, connect, other_end, seed, session};
use bytes::Bytes;
use stt::{Coded, ConnectOptions, Mode, Node, Session, SharedSeed, StreamError};
use tokio::{
    net::{TcpSocket, UdpSocket},
    task::JoinSet,
};

const SOON: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(30);

/// A client at 127.0.0.`last`.
async fn client_at(seed: &SharedSeed, last: u8) -> Node {
    builder(seed).host(format!("127.0.0.{last}")).start(Mode::Client).await.unwrap()
}

/// Begins a handshake from 127.0.0.`last` and goes silent after its first datagram.
async fn begin_and_vanish(seed: &SharedSeed, last: u8, server: SocketAddr) -> Node {
    let relay = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).await.unwrap();
    let attacker = client_at(seed, last).await;
    let (attempt, address) = (attacker.clone(), relay.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        attempt.connect_with(&address, &ConnectOptions::new().timeout(LONG)).await
    });
    let mut datagram = [0; 2048];
    let (len, _) = relay.recv_from(&mut datagram).await.unwrap();
    relay.send_to(&datagram[..len], server).await.unwrap();
    attacker
}

/// Waits until `condition` holds at the node.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn too_many_handshakes_from_one_address_are_dropped_and_others_connect() {
    let seed = seed();
    let server = builder(&seed).handshakes_per_second(1).start(Mode::Server).await.unwrap();
    let address = server.local_addr().to_string();
    let greedy = client_at(&seed, 2).await;
    let mut attempts = JoinSet::new();
    for _ in 0..20 {
        let (greedy, address) = (greedy.clone(), address.clone());
        attempts.spawn(async move {
            greedy.connect_with(&address, &ConnectOptions::new().timeout(SOON)).await.is_ok()
        });
    }
    let in_time = attempts.join_all().await.into_iter().filter(|done| *done).count();
    assert!((2..=3).contains(&in_time), "{in_time} of 20");
    assert!(server.stats().udp_transport.dropped_too_often >= 17);
    connect(&client_at(&seed, 3).await, &server).await;
    // A try that was dropped is no lasting harm: the next ones get in.
    let later = greedy.connect_with(&address, &ConnectOptions::new().timeout(LONG)).await;
    assert!(later.is_ok(), "{later:?}");
}

#[tokio::test]
async fn handshakes_that_are_never_finished_neither_fill_the_node_nor_shut_others_out() {
    let seed = seed();
    let builder = builder(&seed).max_half_open(8);
    let server = builder.start(Mode::Server).await.unwrap();
    let mut attackers = Vec::new();
    for last in [2, 2, 2, 3, 3, 4, 4, 5, 5] {
        attackers.push(begin_and_vanish(&seed, last, server.local_addr()).await);
    }
    until("the table to be full", || server.stats().limits.half_open == 8).await;
    until("its share", || server.stats().udp_transport.dropped_crowded >= 1).await;
    // Somebody else waits for one second at most until a stale one gives way.
    let honest = client_at(&seed, 9).await;
    let session = honest.connect(&server.local_addr().to_string()).await.unwrap();
    session.ping().await.unwrap();
    let stats = server.stats();
    assert!(stats.limits.half_open <= 8);
    assert!(stats.udp_transport.handshakes_expired >= 1);
}

#[tokio::test]
async fn connections_without_a_request_do_not_shut_others_out_of_the_listener() {
    let seed = seed();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = builder(&seed).websocket(any).start(Mode::Server).await.unwrap();
    let address = server.websocket_addr().unwrap();
    let mut silent = Vec::new();
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        silent.push(socket.connect(address).await.unwrap());
    }
    until("a share", || server.stats().udp_transport.dropped_requests == 100 - 64).await;
    let honest = builder(&seed).start(Mode::Client).await.unwrap();
    let session = honest.connect(&format!("ws://{address}")).await.unwrap();
    session.ping().await.unwrap();
}

#[tokio::test]
async fn no_more_sessions_begin_than_there_may_be_however_many_knock_at_once() {
    let seed = seed();
    let server = builder(&seed).max_sessions(4).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let mut attempts = JoinSet::new();
    for _ in 0..16 {
        let (client, address) = (client.clone(), server.local_addr().to_string());
        attempts.spawn(async move { client.connect(&address).await });
    }
    let (kept, refused): (Vec<_>, Vec<_>) =
        attempts.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((kept.len(), refused.len()), (4, 12));
    assert!(refused.into_iter().all(|error| error.unwrap_err().code() == "connect.full"));
    assert_eq!(server.stats().sessions.total, 4);
    assert_eq!(server.stats().limits.sessions_refused, 12);
    for session in kept {
        session.unwrap().close("").await;
    }
    until("room", || server.stats().sessions.active == 0).await;
    connect(&client, &server).await;
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_one_by_one() {
    let seed = seed();
    let server = builder(&seed).max_streams(8).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let session = connect(&client, &server).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let stream = session.open_stream().unwrap();
        stream.send(b"hello").await.unwrap();
        streams.push(stream);
    }
    until("refusals", || server.stats().limits.streams_refused == 12).await;
    let theirs = other_end(&server, &session).await;
    assert_eq!(theirs.stats().active_streams, 8);
    let mut refused = 0;
    for stream in &streams {
        if let Err(error) = stream.close().await {
            assert!(matches!(error, StreamError::Reset { code: 2, .. }), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 12);
    session.ping().await.unwrap();
}

/// Sends until nothing more is taken, and returns how much was.
async fn fill(session: &Session, piece: usize) -> usize {
    let stream = session.open_stream().unwrap();
    let message = vec![7; piece];
    let mut taken = 0;
    while tokio::time::timeout(SOON, stream.send(&message)).await.is_ok_and(|sent| sent.is_ok()) {
        taken += piece;
    }
    taken
}

#[tokio::test]
async fn a_path_that_acknowledges_nothing_holds_no_more_than_what_may_be_in_flight() {
    const PIECE: usize = 16 << 10;
    let seed = seed();
    let server = builder(&seed).start(Mode::Server).await.unwrap();
    for (limit, held) in [(64 << 10, 64 << 10), (64 << 20, 256 << 10)] {
        // Over a datagram of 64 KiB the first congestion window would be larger than either.
        let client = builder(&seed).max_mtu(1_452).max_in_flight(limit);
        let client = client.start(Mode::Client).await.unwrap();
        let relay = common::Relay::to(server.local_addr()).await;
        let session = client.connect(&relay.address().to_string()).await.unwrap();
        relay.cut();
        // The queue of the stream, one message beyond, and what the transport holds.
        let most = (1 << 20) + 2 * PIECE + held;
        let taken = fill(&session, PIECE).await;
        assert!((1 << 20..=most).contains(&taken), "{taken} of {most}");
    }
}

#[tokio::test]
async fn sessions_without_a_share_of_the_nodes_bytes_in_flight_still_deliver() {
    let seed = seed();
    let server = builder(&seed).start(Mode::Server).await.unwrap();
    let client = builder(&seed).max_node_in_flight(0).start(Mode::Client).await.unwrap();
    let message = Bytes::from(vec![9; 4 << 20]);
    for _ in 0..2 {
        let session = connect(&client, &server).await;
        let theirs = other_end(&server, &session).await;
        let stream = session.open_stream().unwrap();
        stream.send(message.clone()).await.unwrap();
        let got = theirs.accept_stream().await.unwrap().receive().await.unwrap().unwrap();
        assert!(got == message);
    }
    assert!(client.stats().limits.send_windows_held_down > 0);
    assert_eq!(server.stats().limits.send_windows_held_down, 0);
}

#[tokio::test]
async fn unread_bytes_are_bounded_for_the_whole_node_and_a_modest_session_does_not_notice() {
    const LIMIT: u64 = 1 << 20;
    let seed = seed();
    let server = builder(&seed).max_node_buffer(LIMIT).max_mtu(1_452);
    let server = server.start(Mode::Server).await.unwrap();
    let greedy = builder(&seed).start(Mode::Client).await.unwrap();
    let mut flood = JoinSet::new();
    for _ in 0..4 {
        let session = connect(&greedy, &server).await;
        for _ in 0..4 {
            let mut stream = session.open_stream().unwrap().into_raw();
            flood.spawn(async move {
                let piece = Bytes::from(vec![1; 64 << 10]);
                while stream.write_chunk(piece.clone()).await.is_ok() {}
            });
        }
    }
    until("the node to be full", || server.stats().limits.reads_held_up > 0).await;
    let honest = builder(&seed).start(Mode::Client).await.unwrap();
    let session = connect(&honest, &server).await;
    let theirs = other_end(&server, &session).await;
    let (ours, message) = (session.open_stream().unwrap(), vec![5; 10_000]);
    for _ in 0..100 {
        ours.send(&message).await.unwrap();
        let stream = theirs.get_stream(ours.id()).unwrap();
        assert_eq!(stream.receive().await.unwrap().unwrap().len(), message.len());
        let unread = server.stats().limits.unread_bytes;
        assert!(unread <= 2 * LIMIT, "{unread}");
    }
}

#[tokio::test]
async fn messages_that_wait_for_receive_are_bounded_in_bytes() {
    const LIMIT: u64 = 1 << 20;
    let seed = seed();
    let server = builder(&seed).max_node_buffer(LIMIT);
    let server = server.start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let session = connect(&client, &server).await;
    // The first one makes messages flow to the queue; the others are then not taken.
    assert_eq!(client.send_to_all_on(1, &b"first"[..]).await.sent, 1);
    server.receive().await.unwrap();
    let sending = tokio::spawn(async move {
        let stream = session.open_stream().unwrap();
        for _ in 0..64 {
            stream.send(&[3; 100_000]).await.unwrap();
        }
    });
    let mut most = 0;
    for _ in 0..64 {
        most = most.max(server.stats().limits.unread_bytes);
        assert_eq!(server.receive().await.unwrap().data.len(), 100_000);
    }
    sending.await.unwrap();
    assert!(most <= 2 * LIMIT, "{most}");
    until("all of it to be taken", || server.stats().limits.unread_bytes == 0).await;
}

/// Sends `bytes` and returns how long it took until all of it was there.
async fn timed(ours: &Session, theirs: &Session, bytes: usize) -> Duration {
    let start = Instant::now();
    let stream = ours.open_stream().unwrap();
    let there = theirs.get_stream(stream.id()).unwrap();
    stream.send(vec![0; bytes]).await.unwrap();
    assert_eq!(there.receive().await.unwrap().unwrap().len(), bytes);
    start.elapsed()
}

#[tokio::test]
async fn bandwidth_of_a_session_and_of_a_node_is_kept_and_may_be_changed() {
    let (_server, client, theirs, ours) = session().await;
    let rate = NonZeroU64::new(2_000_000);
    ours.set_bandwidth(rate);
    assert_eq!(ours.bandwidth(), rate);
    // All but a burst of 20 ms takes its time.
    let took = timed(&ours, &theirs, 500_000).await;
    assert!(took >= Duration::from_millis(225), "{took:?}");
    // The other direction is that of the peer, and has no limit.
    ours.set_bandwidth(None);
    client.set_bandwidth(NonZeroU64::new(4_000_000));
    let (a, b) = tokio::join!(timed(&ours, &theirs, 500_000), timed(&ours, &theirs, 500_000));
    assert!(a.max(b) >= Duration::from_millis(225), "{a:?} {b:?}");
    // Whoever waits under a limit goes on when it is lifted.
    client.set_bandwidth(NonZeroU64::new(1_000));
    let slow = timed(&ours, &theirs, 200_000);
    let lift = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.set_bandwidth(None);
    };
    let (took, ()) = tokio::join!(slow, lift);
    assert!(took < Duration::from_secs(100), "{took:?}");
}

#[tokio::test]
async fn bandwidths_may_be_given_from_the_start() {
    let seed = seed();
    let server = builder(&seed).start(Mode::Server).await.unwrap();
    let rate = NonZeroU64::new(2_000_000);
    for limited in [builder(&seed).session_bandwidth(rate), builder(&seed).node_bandwidth(rate)] {
        let client = limited.start(Mode::Client).await.unwrap();
        let ours = connect(&client, &server).await;
        let theirs = other_end(&server, &ours).await;
        let took = timed(&ours, &theirs, 500_000).await;
        assert!(took >= Duration::from_millis(225), "{took:?}");
    }
}

#[tokio::test]
async fn the_node_says_how_long_messages_of_all_its_streams_may_be() {
    let seed = seed();
    let server = builder(&seed).max_frame_size(1_000).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let ours = connect(&client, &server).await;
    let theirs = other_end(&server, &ours).await;
    let (stream, there) = (ours.get_stream(1).unwrap(), theirs.get_stream(1).unwrap());
    stream.send(&[0; 1_000]).await.unwrap();
    assert_eq!(there.receive().await.unwrap().unwrap().len(), 1_000);
    let error = StreamError::FrameTooLarge { len: 1_001, max: 1_000 };
    assert_eq!(there.send(&[0; 1_001]).await, Err(error.clone()));
    stream.send(&[0; 1_001]).await.unwrap();
    assert_eq!(there.receive().await, Err(error));
}

#[tokio::test]
async fn streams_get_wider_windows_only_within_what_a_session_may_hold_unread() {
    let seed = seed();
    for (node, grows) in [(builder(&seed).max_session_buffer(0), false), (builder(&seed), true)] {
        let server = node.start(Mode::Server).await.unwrap();
        let client = builder(&seed).start(Mode::Client).await.unwrap();
        let ours = connect(&client, &server).await;
        let theirs = other_end(&server, &ours).await;
        let mut there = theirs.get_stream(1).unwrap().into_raw();
        let writing = tokio::spawn(async move {
            let (mut stream, piece) = (ours.get_stream(1).unwrap().into_raw(), vec![1; 64 << 10]);
            let piece = Bytes::from(piece);
            loop {
                let write = stream.write_chunk(piece.clone());
                if !tokio::time::timeout(SOON, write).await.is_ok_and(|done| done.is_ok()) {
                    return (ours, stream);
                }
            }
        });
        // More than half of a stream's first window, after which it may grow; then no more.
        let mut taken = 0;
        while taken < 600_000 {
            taken += there.read_chunk(10_000).await.unwrap().unwrap().len();
        }
        let _open = writing.await.unwrap();
        let unread = server.stats().limits.unread_bytes;
        assert_eq!(unread > 1 << 20, grows, "{unread}");
    }
}

#[tokio::test]
async fn limits_out_of_range_are_refused_by_name() {
    let refused = [
        builder(&seed()).max_half_open(0),
        builder(&seed()).max_in_flight(1),
        builder(&seed()).max_node_in_flight(u64::MAX),
        builder(&seed()).max_node_buffer(1),
    ];
    for refused in refused {
        let error = refused.start(Mode::Client).await.unwrap_err();
        assert_eq!(error.code(), "node.out_of_range", "{error}");
    }
}

#[tokio::test]
async fn the_profile_for_little_memory_talks_to_the_defaults_both_ways() {
    let seed = seed();
    let small = builder(&seed).low_memory().start(Mode::Server).await.unwrap();
    let large = builder(&seed).start(Mode::Server).await.unwrap();
    for (from, to) in [(&small, &large), (&large, &small)] {
        let ours = connect(from, to).await;
        let theirs = other_end(to, &ours).await;
        timed(&ours, &theirs, 1 << 20).await;
        timed(&theirs, &ours, 1 << 20).await;
    }
}
