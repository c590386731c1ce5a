//! Nodes over real sockets: starting, connecting, refusing, stopping.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use crate::common::{builder, connect, nodes, other_end, seed, session};
use stt::{
    Address, Admission, CloseReason, Coded, ConnectError, ConnectOptions, Event, EventEmitter,
    EventFilter, EventKind, Identity, Keyring, KeyringError, Mode, Node, NodeId, Refusal,
    RouteKind, SharedSeed, StartError, StreamError, events::EmitterConfig,
};
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn both_ends_know_the_session_by_the_same_id_and_each_other_by_name() {
    let (server, client, theirs, ours) = session().await;
    assert_eq!(ours.id(), theirs.id());
    assert_eq!(ours.peer_node_id(), server.node_id());
    assert_eq!(theirs.peer_node_id(), client.node_id());
    assert!(ours.is_initiator() && !theirs.is_initiator());
    assert!(ours.export("app") == theirs.export("app"));
    assert!(ours.export("app") != ours.export("other"));
    assert_eq!(server.stats().sessions.active, 1);
    assert_eq!(client.stats().sessions.total, 1);
    assert_eq!(client.sessions_with(server.node_id()).len(), 1);
}

#[tokio::test]
async fn messages_to_nobody_in_particular_arrive_at_receive() {
    let (server, client, _, ours) = session().await;
    let report = client.send_to_sessions(&[ours.id()], &b"hello"[..]).await;
    assert_eq!((report.sent, report.failed.len()), (1, 0));
    let packet = server.receive().await.unwrap();
    assert_eq!((packet.session_id, packet.stream_id), (ours.id(), 0));
    assert_eq!(packet.data, &b"hello"[..]);

    let report = server.send_to_all_on(7, &b"to all"[..]).await;
    assert_eq!(report.sent, 1);
    let packet = client.receive().await.unwrap();
    assert_eq!((packet.stream_id, &packet.data[..]), (7, &b"to all"[..]));
}

#[tokio::test]
async fn a_wrong_seed_is_answered_with_nothing() {
    let server = builder(&seed()).start(Mode::Server).await.unwrap();
    let client = builder(&seed()).start(Mode::Client).await.unwrap();
    let address = server.local_addr().to_string();
    let error =
        client.connect_with(&address, &ConnectOptions::new().timeout(SOON)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error:?}");
    assert_eq!(error.code(), "connect.no_answer");
    assert!(error.hint().unwrap().contains("wrong seed"));
    assert_eq!(client.stats().udp_transport.bytes_received, 0);
    assert_eq!(server.stats().udp_transport.bytes_sent, 0);
}

#[tokio::test]
async fn the_pinned_node_and_no_other_gets_a_session() {
    let (server, client) = nodes().await;
    let address = server.local_addr().to_string();
    let right = client
        .connect_with(
            &address,
            &ConnectOptions::new().expect(server.node_id()).timeout(Duration::from_secs(10)),
        )
        .await;
    assert_eq!(right.unwrap().peer_node_id(), server.node_id());

    let wrong = NodeId::from_bytes([7; 32]);
    let error = client
        .connect_with(&address, &ConnectOptions::new().expect(wrong).timeout(SOON))
        .await
        .unwrap_err();
    assert!(!matches!(error, ConnectError::Refused(_)), "{error:?}");
    assert_eq!(server.stats().sessions.total, 1);
}

#[tokio::test]
async fn a_node_that_does_not_accept_says_so_to_members_and_may_change_its_mind() {
    let (server, client) = nodes().await;
    server.set_accepting(false);
    assert!(!server.stats().accepting_connections);
    let error = client.connect(&server.local_addr().to_string()).await.unwrap_err();
    assert_eq!(error.code(), "connect.not_accepting");
    server.set_accepting(true);
    connect(&client, &server).await;

    // A client node refuses too, until told otherwise.
    let error = server.connect(&client.local_addr().to_string()).await.unwrap_err();
    assert_eq!(error.code(), "connect.not_accepting");
}

#[tokio::test]
async fn a_denied_node_is_told_and_loses_the_session_it_has() {
    let (server, client, _, ours) = session().await;
    server.set_admission(Admission::everyone().deny(client.node_id()));
    assert_eq!(ours.closed().await, CloseReason::Refused(Refusal::Denied));
    let error = client.connect(&server.local_addr().to_string()).await.unwrap_err();
    assert_eq!(error.code(), "connect.denied");
    assert!(!error.retry_helps());
    server.set_admission(Admission::only([client.node_id()]));
    connect(&client, &server).await;
}

#[tokio::test]
async fn a_device_without_a_clock_gets_in_where_that_is_allowed() {
    let (seed, dir) = (seed(), tempfile::tempdir().unwrap());
    let strict = builder(&seed).start(Mode::Server).await.unwrap();
    let lenient = builder(&seed).knock_log(dir.path().join("knocks")).admit_clockless(8);
    let lenient = lenient.start(Mode::Server).await.unwrap();
    let device = builder(&seed).clockless(true).start(Mode::Client).await.unwrap();
    let refused = device
        .connect_with(&strict.local_addr().to_string(), &ConnectOptions::new().timeout(SOON))
        .await;
    assert_eq!(refused.unwrap_err().code(), "connect.no_answer");
    connect(&device, &lenient).await;
    // Now it knows the time.
    connect(&device, &strict).await;
}

#[tokio::test]
async fn a_full_node_says_so() {
    let seed = seed();
    let server = builder(&seed).max_sessions(1).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    connect(&client, &server).await;
    let error = client.connect(&server.local_addr().to_string()).await.unwrap_err();
    assert_eq!(error.code(), "connect.full");
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = builder(&seed()).port(port).start(Mode::Server).await.unwrap_err();
    assert!(matches!(error, StartError::PortInUse { address } if address.port() == port));
    assert!(error.retry_helps());
}

#[tokio::test]
async fn hosts_and_addresses_that_are_none_are_clear_errors() {
    let client = builder(&seed()).start(Mode::Client).await.unwrap();
    let error = client.connect("no colon").await.unwrap_err();
    assert_eq!(error.code(), "address.malformed");
    let error = client.connect_udp("no-such-host.invalid", 1).await.unwrap_err();
    assert_eq!(error.code(), "connect.host_not_found");
    let error = client.connect("[::1]:9").await.unwrap_err();
    assert_eq!(error.code(), "connect.family");
    let error = builder(&seed()).host("no-such-host.invalid").start(Mode::Server).await;
    assert_eq!(error.unwrap_err().code(), "node.host_not_found");
}

#[tokio::test]
async fn a_guessable_seed_is_warned_about_and_refused_by_strict_nodes() {
    let phrase = SharedSeed::with_cost(b"password", None, stc::stretch::Cost::new(16, 1).unwrap());
    let phrase = phrase.unwrap();
    let node = builder(&phrase).start(Mode::Client).await.unwrap();
    assert!(node.seed_warning().is_some());
    let error = builder(&phrase).strict_seed(true).start(Mode::Client).await.unwrap_err();
    assert_eq!(error.code(), "seed.guessable");
    assert!(builder(&seed()).strict_seed(true).start(Mode::Client).await.is_ok());
}

#[tokio::test]
async fn node_ids_are_new_at_every_start_unless_asked_to_stay() {
    let seed = seed();
    let start = |persistent| {
        builder(&seed).node_seed([9; 32]).persistent_identity(persistent).start(Mode::Client)
    };
    let (a, b) = (start(false).await.unwrap(), start(false).await.unwrap());
    assert_ne!(a.node_id(), b.node_id());
    let (a, b) = (start(true).await.unwrap(), start(true).await.unwrap());
    assert_eq!(a.node_id(), b.node_id());
    let none = builder(&seed).persistent_identity(true).start(Mode::Client).await;
    assert_eq!(none.unwrap_err().code(), "node.no_node_seed");
}

#[tokio::test]
async fn the_peer_sees_why_a_session_was_closed() {
    let (server, _client, theirs, ours) = session().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let _subscription = server
        .on_session_closed(move |id, reason| {
            let _ = tell.send((id, reason.clone()));
        })
        .unwrap();
    ours.close("done for today").await;
    let reason = CloseReason::Closed { by_peer: true, text: "done for today".into() };
    assert_eq!(theirs.closed().await, reason);
    assert_eq!(told.recv().await.unwrap(), (ours.id(), reason));
    let CloseReason::Closed { by_peer: false, .. } = ours.close_reason().unwrap() else { panic!() };
    assert!(ours.open_stream().is_err());
}

#[tokio::test]
async fn every_node_answers_pings_while_the_session_lives() {
    let (_server, _client, theirs, ours) = session().await;
    let mut pings = tokio::task::JoinSet::new();
    for session in [&ours, &theirs].into_iter().cycle().take(300) {
        let session = session.clone();
        pings.spawn(async move { session.ping().await.is_ok() });
    }
    assert!(pings.join_all().await.into_iter().all(|answered| answered));
    ours.close("").await;
    assert_eq!(ours.ping().await.unwrap_err().code(), "stream.session_ended");
}

#[tokio::test]
async fn stopping_delivers_what_was_sent_and_ends_receive() {
    let (server, client, theirs, ours) = session().await;
    for _ in 0..100 {
        let report = client.send_to_sessions(&[ours.id()], vec![1; 10_000]).await;
        assert!(report.failed.is_empty());
    }
    client.stop_within(Duration::from_secs(5)).await;
    assert!(!client.is_running() && client.receive().await.is_none());
    assert_eq!(theirs.closed().await, CloseReason::Shutdown { by_peer: true });
    for _ in 0..100 {
        assert_eq!(server.receive().await.unwrap().data.len(), 10_000);
    }
    assert_eq!(client.connect("127.0.0.1:9").await.unwrap_err().code(), "connect.stopped");
}

#[tokio::test]
async fn a_peer_that_vanishes_is_noticed_by_its_silence() {
    let seed = seed();
    let quick = |mode| {
        builder(&seed)
            .heartbeat(Duration::from_millis(200))
            .idle_timeout(Duration::from_secs(1))
            .start(mode)
    };
    let server = quick(Mode::Server).await.unwrap();
    // The client lives on a runtime of its own, which is thrown away in the middle of a session.
    let address = server.local_addr().to_string();
    let builder = builder(&seed);
    let id = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (node, session) = runtime.block_on(async {
            let node = builder.start(Mode::Client).await.unwrap();
            let session = node.connect(&address).await.unwrap();
            (node, session.id())
        });
        std::mem::forget(node);
        runtime.shutdown_background();
        session
    })
    .await
    .unwrap();
    let session = server.session(id).unwrap();
    assert_eq!(session.closed().await, CloseReason::Timeout);
}

#[tokio::test]
async fn events_come_in_order() {
    let seed = seed();
    let events = EventEmitter::new();
    let mut told = events.subscribe(EventFilter::All).unwrap();
    let server = builder(&seed).events(events).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let ours = connect(&client, &server).await;
    other_end(&server, &ours).await;
    ours.close("").await;
    for name in ["peer_connected", "session_created", "session_closed", "peer_disconnected"] {
        assert_eq!(told.next().await.unwrap().name(), name);
    }
    // Nobody is there any more.
    assert_eq!(server.send_to_all(&b"x"[..]).await.sent, 0);
    assert_eq!(told.next().await.unwrap().name(), "warning");
}

/// A node and a handler that holds it are a cycle, which ends with the subscription.
#[tokio::test]
async fn a_handler_keeps_its_node_no_longer_than_its_subscription() {
    let (server, _client, theirs, ours) = session().await;
    drop(theirs);
    let held = server.clone();
    let subscription = server
        .on(EventKind::SessionClosed, move |_| {
            let node = held.clone();
            async move { drop(node) }
        })
        .unwrap();
    let mut events = server.subscribe(EventFilter::All).unwrap();
    drop(server);
    ours.ping().await.unwrap();
    drop(subscription);
    assert_eq!(ours.closed().await, CloseReason::Shutdown { by_peer: true });
    // Whoever listens without holding the node hears its end, and that there is nothing more.
    assert_eq!(events.next().await.unwrap().kind(), EventKind::SessionClosed);
    assert_eq!(events.next().await.unwrap().kind(), EventKind::PeerDisconnected);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn listeners_hear_of_messages_in_the_order_of_receive() {
    let seed = seed();
    let server = builder(&seed).start(Mode::Server).await.unwrap();
    let mut told = server.subscribe(EventKind::DataReceived).unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let (one, other) = (connect(&client, &server).await, connect(&client, &server).await);
    for number in 0..200_u8 {
        let session = if number % 2 == 0 { &one } else { &other };
        let report =
            client.send_to_sessions_on(&[session.id()], u32::from(number % 8), vec![number]).await;
        assert!(report.failed.is_empty());
        let packet = server.receive().await.unwrap();
        let event = told.next().await.unwrap();
        let Event::DataReceived { session_id, stream_id, data } = &*event else { panic!() };
        assert_eq!(
            (*session_id, *stream_id, data),
            (packet.session_id, packet.stream_id, &packet.data)
        );
        assert_eq!(packet.data, [number][..]);
    }
    assert_eq!(told.missed(), 0);
}

/// A node whose application has only a handler, and does not receive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_alone_hears_of_every_message() {
    const MESSAGES: u32 = 3_000;
    let (server, client) = nodes().await;
    let ours = connect(&client, &server).await;
    let stream = ours.get_stream(7).unwrap();
    // Before anybody listens messages wait in their stream.
    stream.send(&0_u32.to_be_bytes()).await.unwrap();
    ours.ping().await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let events = server.events();
    let _subscription = events
        .on(EventKind::DataReceived, move |event: std::sync::Arc<Event>| {
            let tell = tell.clone();
            async move {
                // Slower than the messages come.
                tokio::task::yield_now().await;
                let _ = tell.send(event);
            }
        })
        .unwrap();
    for number in 1..MESSAGES {
        stream.send(&number.to_be_bytes()).await.unwrap();
    }
    for number in 0..MESSAGES {
        let event = told.recv().await.unwrap();
        let Event::DataReceived { session_id, stream_id, data } = &*event else { panic!() };
        assert_eq!((*session_id, *stream_id), (ours.id(), 7));
        assert_eq!(data[..], number.to_be_bytes());
    }
    assert_eq!(events.stats().dropped, 0);
    // Who begins to receive now gets the last of them first, and then what comes.
    for number in MESSAGES - 1_024..MESSAGES {
        assert_eq!(server.receive().await.unwrap().data[..], number.to_be_bytes());
    }
    stream.send(b"new").await.unwrap();
    assert_eq!(server.receive().await.unwrap().data, &b"new"[..]);
    assert!(told.recv().await.is_some());
}

/// A handler of all events is no application that takes messages.
#[tokio::test]
async fn who_listens_to_all_events_takes_no_messages() {
    let (server, client) = nodes().await;
    let quiet = |_| std::future::ready(());
    let _all = server.on(EventFilter::All, quiet).unwrap();
    let _one = server.events().once(EventKind::DataReceived, quiet).unwrap();
    let ours = connect(&client, &server).await;
    let stream = ours.get_stream(7).unwrap();
    for number in 0..4_u8 {
        stream.send(&[number]).await.unwrap();
        ours.ping().await.unwrap();
    }
    // One was for the handler that wanted one; the others waited.
    for number in 0..4_u8 {
        assert_eq!(server.receive().await.unwrap().data, [number][..]);
    }
}

/// Peers come and go, and leave messages that nobody wants.
#[tokio::test]
async fn what_nobody_receives_does_not_stay_when_its_session_is_over() {
    let (server, client) = nodes().await;
    for _ in 0..4 {
        let ours = connect(&client, &server).await;
        for id in 0..4 {
            let stream = ours.get_stream(id).unwrap();
            stream.send(vec![7; 300_000]).await.unwrap();
            stream.close().await.unwrap();
        }
        let theirs = other_end(&server, &ours).await;
        ours.close("").await;
        theirs.closed().await;
    }
    let wait = async {
        while server.stats().limits.unread_bytes > 1 << 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    // The last of it is kept for who comes late.
    assert_eq!(server.receive().await.unwrap().data.len(), 300_000);
}

/// A group moves from one seed to the next while its nodes run.
#[tokio::test]
async fn seeds_change_while_nodes_run() {
    let (old, new) = (seed(), seed());
    let server = builder(&old).start(Mode::Server).await.unwrap();
    let ring = std::sync::Arc::new(Keyring::from(old.clone()));
    let client = Node::builder_with_keyring(std::sync::Arc::clone(&ring));
    let client = client.host("127.0.0.1").start(Mode::Client).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(client.keyring(), &ring));
    let before = connect(&client, &server).await;
    let first = server.keyring().seeds()[0];
    let second = server.keyring().add(&new).unwrap();
    let newcomer = builder(&new).start(Mode::Client).await.unwrap();
    connect(&newcomer, &server).await;
    assert_eq!(ring.add(&new), Ok(second));
    ring.make_current(second).unwrap();
    server.keyring().make_current(second).unwrap();
    server.keyring().retire(first).unwrap();
    connect(&client, &server).await;
    // A session that was made with the seed goes on, and nobody begins another one.
    before.ping().await.unwrap();
    let late = builder(&old).start(Mode::Client).await.unwrap();
    let address = server.local_addr().to_string();
    let refused = late
        .connect_with(&address, &ConnectOptions::new().timeout(Duration::from_millis(500)))
        .await;
    assert!(matches!(refused, Err(ConnectError::NoAnswer { .. })));
    assert_eq!(server.keyring().retire(second), Err(KeyringError::Last));
}

/// An application that keeps the keys itself.
#[tokio::test]
async fn an_identity_is_given_and_signs() {
    let root = stc::Key::generate().unwrap();
    let identity = || Identity::from_key(&root).unwrap();
    let node = builder(&seed()).identity(identity()).start(Mode::Client).await.unwrap();
    assert_eq!(node.node_id(), identity().node_id());
    let signature = node.identity().sign("test", b"message").unwrap();
    assert!(node.node_id().verifies("test", b"message", &signature));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_order_of_messages_is_one_for_listeners_and_receive_whatever_stream_they_come_on() {
    const STREAMS: u32 = 8;
    const EACH: u32 = 500;
    let seed = seed();
    let roomy = EmitterConfig::new().queue_events(65_536);
    let events = EventEmitter::with_config(roomy).unwrap();
    let mut told = events.subscribe("data_received").unwrap();
    let server = builder(&seed).events(events).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    // What comes is for `receive`, not for listeners alone.
    assert!(tokio::time::timeout(Duration::ZERO, server.receive()).await.is_err());
    let ours = connect(&client, &server).await;
    let mut sending = tokio::task::JoinSet::new();
    for id in 0..STREAMS {
        let stream = ours.get_stream(id).unwrap();
        sending.spawn(async move {
            for number in 0..EACH {
                stream.send(&number.to_be_bytes()).await.unwrap();
            }
        });
    }
    for _ in 0..STREAMS * EACH {
        let packet = server.receive().await.unwrap();
        let event = told.next().await.unwrap();
        let Event::DataReceived { stream_id, data, .. } = &*event else { panic!() };
        assert_eq!((*stream_id, data), (packet.stream_id, &packet.data));
    }
    sending.join_all().await;
}

#[tokio::test]
async fn nodes_of_one_process_are_strangers_without_the_seed() {
    let (server, client, ..) = session().await;
    let stats: [_; 2] = [server.stats(), client.stats()];
    for stats in stats {
        assert!(stats.running);
        assert!(stats.udp_transport.bytes_sent > 0 && stats.udp_transport.bytes_received > 0);
        assert_eq!(stats.websocket_connections, 0);
    }
    let stranger: Node = builder(&seed()).start(Mode::Client).await.unwrap();
    assert_eq!(stranger.stats().udp_transport.bytes_received, 0);
}

#[tokio::test]
async fn no_datagram_is_larger_than_the_bound_and_the_search_goes_up_to_it() {
    for bound in [1_200, 1_400] {
        let seed = seed();
        let bounded = || builder(&seed).max_mtu(bound);
        let server = bounded().start(Mode::Server).await.unwrap();
        let client = bounded().start(Mode::Client).await.unwrap();
        let ours = connect(&client, &server).await;
        let stream = ours.open_stream().unwrap();
        let echo = other_end(&server, &ours).await.get_stream(stream.id()).unwrap();
        // The search ends within 20 bytes of its bound, and probes go out beside data.
        for _ in 0..1_000 {
            stream.send(&[7; 5_000]).await.unwrap();
            echo.receive().await.unwrap();
            if ours.stats().path_mtu + 20 >= bound {
                break;
            }
        }
        let found = ours.stats().path_mtu;
        assert!((bound - 20..=bound).contains(&found), "{found} of {bound}");
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn what_a_loopback_interface_carries_is_known_and_not_searched_for() {
    let (server, client, theirs, ours) = session().await;
    let stream = ours.open_stream().unwrap();
    let echo = theirs.get_stream(stream.id()).unwrap();
    for _ in 0..20 {
        stream.send(b"ping").await.unwrap();
        assert_eq!(echo.receive().await.unwrap().unwrap(), &b"ping"[..]);
        echo.send(b"pong").await.unwrap();
        assert_eq!(stream.receive().await.unwrap().unwrap(), &b"pong"[..]);
    }
    assert_eq!(ours.stats().path_mtu, 65_507);
    for node in [server, client] {
        let sent = node.stats().udp_transport.bytes_sent;
        assert!(sent < 20_000, "{sent} bytes for a handshake and 20 small messages");
    }
}

#[tokio::test]
async fn numbers_out_of_range_are_refused_with_the_range() {
    let refused = [
        builder(&seed()).max_mtu(1_199),
        builder(&seed()).max_mtu(65_508),
        builder(&seed()).max_streams(0),
        builder(&seed()).max_streams(1_025),
        builder(&seed()).max_sessions(0),
        builder(&seed()).max_half_open(0),
        builder(&seed()).handshakes_per_second(0),
        builder(&seed()).max_session_buffer((1 << 62) + 1),
    ];
    for refused in refused {
        let error = refused.start(Mode::Client).await.unwrap_err();
        assert!(matches!(error, StartError::NumberOutOfRange { .. }), "{error:?}");
        assert_eq!(error.code(), "node.out_of_range");
    }
    let error = builder(&seed()).max_mtu(100).start(Mode::Client).await.unwrap_err();
    assert_eq!(error.to_string(), "max_mtu is 100; 1200 to 65507 are allowed");
    let error = builder(&seed()).heartbeat(Duration::ZERO).start(Mode::Client).await.unwrap_err();
    assert!(matches!(error, StartError::OutOfRange { setting: "heartbeat", .. }), "{error:?}");
    // The last word counts.
    builder(&seed()).max_mtu(100).max_mtu(1_452).start(Mode::Client).await.unwrap();
}

#[tokio::test]
async fn a_node_listens_and_connects_at_one_kind_of_address() {
    let seed = seed();
    let server = builder(&seed).listen("127.0.0.1:0").listen("ws://127.0.0.1:0");
    let server = server.start(Mode::Server).await.unwrap();
    let client = builder(&seed).listen("udp://127.0.0.1:0").start(Mode::Client).await.unwrap();
    let (udp, web) = (server.local_addr(), server.websocket_addr().unwrap());
    client.connect(udp).await.unwrap();
    client.connect(Address::from(udp)).await.unwrap();
    client.connect(&format!("udp://{udp}")).await.unwrap();
    let options = ConnectOptions::new().expect(server.node_id());
    let session = client.connect_with(&format!("ws://{web}/any"), &options).await.unwrap();
    assert_eq!(session.route().kind, RouteKind::WebSocket);
    session.move_to(&Address::udp("127.0.0.1", udp.port())).await.unwrap();
    assert_eq!(session.route().kind, RouteKind::Udp);
    // Port 0 is nowhere, and a name nothing that a socket is bound to.
    assert_eq!(client.connect("127.0.0.1:0").await.unwrap_err().code(), "address.malformed");
    assert_eq!(client.rebind("ws://127.0.0.1:1").unwrap_err().code(), "address.malformed");
    for (wrong, code) in [
        ("nowhere", "address.malformed"),
        ("wss://127.0.0.1:0", "node.listen"),
        ("ws://127.0.0.1:0/path", "node.listen"),
    ] {
        let error = builder(&seed).listen(wrong).start(Mode::Server).await.unwrap_err();
        assert_eq!(error.code(), code, "{wrong}");
    }
}

#[tokio::test]
async fn a_node_tells_those_it_connects_to_where_it_can_be_reached() {
    let seed = seed();
    let server = builder(&seed).start(Mode::Server).await.unwrap();
    let there: [SocketAddr; 2] = ["192.0.2.1:9".parse().unwrap(), "[::1]:9".parse().unwrap()];
    let client = builder(&seed).announce(there[0]).announce(there[1]);
    let client = client.start(Mode::Client).await.unwrap();
    let ours = connect(&client, &server).await;
    let theirs = server.session(ours.id()).unwrap();
    assert_eq!((theirs.peer_listens(), ours.peer_listens()), (&there[..], &[][..]));
    let many = (0..9).fold(builder(&seed), |builder, _| builder.announce(there[0]));
    let error = many.start(Mode::Client).await.unwrap_err();
    assert_eq!(error.to_string(), "announce is 9; 0 to 8 are allowed");
}

#[tokio::test]
async fn a_session_has_as_many_streams_as_its_node_allows() {
    let seed = seed();
    let server = builder(&seed).start(Mode::Server).await.unwrap();
    let client = builder(&seed).max_streams(2).start(Mode::Client).await.unwrap();
    let ours = connect(&client, &server).await;
    let _kept = (ours.open_stream().unwrap(), ours.open_stream().unwrap());
    assert_eq!(ours.open_stream().unwrap_err(), StreamError::TooMany { max: 2 });
}

#[tokio::test]
async fn a_stopped_node_gives_its_port_back_whatever_was_under_way() {
    let seed = seed();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let mut at = 0;
    for round in 0..10 {
        let open = || builder(&seed).port(at).start(Mode::Server);
        let server = {
            let mut waited = Duration::ZERO;
            loop {
                match open().await {
                    Ok(server) => break server,
                    Err(StartError::PortInUse { .. }) if waited < Duration::from_secs(20) => {
                        waited += Duration::from_millis(50);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(error) => panic!("round {round}, after {waited:?}: {error:?}"),
                }
            }
        };
        at = server.local_addr().port();
        let address = server.local_addr().to_string();
        let session = client.connect(&address).await.unwrap();
        let again = async {
            session.closed().await;
            // Some of these are given up while the node stops.
            for _ in 0..6 {
                let patience = Duration::from_millis(fastrand::u64(1..40));
                let _ =
                    client.connect_with(&address, &ConnectOptions::new().timeout(patience)).await;
            }
        };
        tokio::join!(server.stop_within(Duration::from_secs(1)), again);
    }
}

#[tokio::test]
async fn the_ports_are_free_when_stop_returns_whoever_holds_handles() {
    let seed = seed();
    let server = builder(&seed).websocket(([127, 0, 0, 1], 0).into());
    let server = server.start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let ours = connect(&client, &server).await;
    let theirs = server.accept().await.unwrap();
    let (ours_stream, theirs_stream) = (ours.open_stream().unwrap(), theirs.get_stream(1).unwrap());
    ours_stream.send(b"held").await.unwrap();
    let (udp, web) = (server.local_addr(), server.websocket_addr().unwrap());
    server.stop_within(Duration::from_secs(20)).await;
    drop(UdpSocket::bind(udp).unwrap());
    drop(std::net::TcpListener::bind(web).unwrap());
    client.stop_within(Duration::from_secs(20)).await;
    drop(UdpSocket::bind(client.local_addr()).unwrap());
    // What is left of them says where it was.
    assert_eq!((server.local_addr(), server.websocket_addr()), (udp, Some(web)));
    assert!(client.connect(&udp.to_string()).await.is_err());
    drop((theirs_stream, ours_stream));
}
