//! Sessions that change their route while data flows, over real sockets.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::common::{self, builder, seed};
use crate::path::Relay;
use stt::{Event, EventEmitter, EventFilter, EventStream, Mode, Node, RouteKind, Session};
use tokio::net::UdpSocket;

const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A server that also listens for WebSockets, and a client of it.
async fn nodes() -> (Node, Node, Session, Session) {
    let seed = seed();
    let server = builder(&seed).websocket(V4).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let ours = common::connect(&client, &server).await;
    let theirs = common::other_end(&server, &ours).await;
    (server, client, theirs, ours)
}

/// Numbered messages from one end to the other for as long as `act` takes; none is lost, none comes
/// twice, and all are in order. Returns how many there were.
async fn under_load<T>(from: &Session, to: &Session, act: impl Future<Output = T>) -> (u64, T) {
    let sender = from.open_stream().unwrap();
    let (from, to) = (from.clone(), to.clone());
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let sending = tokio::spawn(async move {
        let _session = from;
        let mut number = 0u64;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let mut message = vec![0; 10_000];
            message[..8].copy_from_slice(&number.to_be_bytes());
            sender.send(&message).await.unwrap();
            number += 1;
        }
        sender.send(b"end").await.unwrap();
        // Waits until the peer has it all.
        assert_eq!(sender.receive().await.unwrap().unwrap(), &b"all"[..]);
        number
    });
    let receiving = tokio::spawn(async move {
        let stream = to.accept_stream().await.unwrap();
        let mut number = 0u64;
        loop {
            let message = stream.receive().await.unwrap().unwrap();
            if message == b"end"[..] {
                stream.send(b"all").await.unwrap();
                return (number, stream);
            }
            assert_eq!(message[..8], number.to_be_bytes());
            number += 1;
        }
    });
    let result = act.await;
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = sending.await.unwrap();
    let (received, _stream) = receiving.await.unwrap();
    assert_eq!(sent, received);
    (sent, result)
}

/// Waits until the session's datagrams go to `address`.
async fn remote_becomes(session: &Session, address: SocketAddr) {
    let wait = async {
        while session.remote_address() != address {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_changes_its_port_under_load() {
    let (_server, client, theirs, ours) = nodes().await;
    let before = theirs.remote_address();
    let moving = async {
        let after = client.rebind(V4).unwrap();
        assert_ne!(after, before);
        remote_becomes(&theirs, after).await;
        assert_eq!(ours.route().local, Some(after));
        after
    };
    let (sent, after) = under_load(&ours, &theirs, moving).await;
    assert!(sent > 0);
    assert_eq!(client.local_addr(), after);
    // The address that was left is free for another peer.
    let (_, ()) = under_load(&theirs, &ours, async {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_changes_its_port_under_load() {
    let (server, _client, theirs, ours) = nodes().await;
    let moving = async {
        let after = server.rebind(V4).unwrap();
        remote_becomes(&ours, after).await;
    };
    under_load(&ours, &theirs, moving).await;
    under_load(&theirs, &ours, async {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_to_a_websocket_and_back_under_load() {
    let (server, _client, theirs, ours) = nodes().await;
    let udp = ours.remote_address();
    let moving = async {
        let route = ours.move_to_kind(RouteKind::WebSocket).await.unwrap();
        assert_eq!(route.kind, RouteKind::WebSocket);
        assert_eq!(Some(route.remote), server.websocket_addr());
        assert_eq!(theirs.route().kind, RouteKind::WebSocket);
        assert_eq!(Some(theirs.remote_address()), route.local);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let route = ours.move_to_kind(RouteKind::Udp).await.unwrap();
        assert_eq!((route.kind, route.remote), (RouteKind::Udp, udp));
        assert_eq!(theirs.route().kind, RouteKind::Udp);
    };
    let (sent, ()) = under_load(&ours, &theirs, moving).await;
    assert!(sent > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_side_moves_it_as_well() {
    let (_server, _client, theirs, ours) = nodes().await;
    let moving = async {
        let route = theirs.move_to_kind(RouteKind::WebSocket).await.unwrap();
        assert_eq!(route.kind, RouteKind::WebSocket);
        assert_eq!(ours.route().kind, RouteKind::WebSocket);
        theirs.move_to_kind(RouteKind::Udp).await.unwrap();
        assert_eq!(ours.route().kind, RouteKind::Udp);
    };
    under_load(&theirs, &ours, moving).await;
}

/// An emitter, and everything that it emits, in order.
fn heard() -> (EventEmitter, EventStream) {
    let events = EventEmitter::new();
    let told = events.subscribe(EventFilter::All).unwrap();
    (events, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_of_the_route_is_one_event_between_those_of_the_session() {
    let seed = seed();
    let (at_server, server_hears) = heard();
    let (at_client, client_hears) = heard();
    let server = builder(&seed).websocket(V4).events(at_server).start(Mode::Server).await.unwrap();
    let client = builder(&seed).events(at_client).start(Mode::Client).await.unwrap();
    let ours = common::connect(&client, &server).await;
    let theirs = common::other_end(&server, &ours).await;
    let mut hearing = [(server_hears, theirs.clone()), (client_hears, ours.clone())];
    let next = async |told: &mut EventStream| {
        tokio::time::timeout(Duration::from_secs(10), told.next()).await.unwrap().unwrap()
    };
    for (told, _) in &mut hearing {
        assert_eq!(next(told).await.name(), "peer_connected");
        assert_eq!(next(told).await.name(), "session_created");
    }
    let mut kind = RouteKind::Udp;
    for target in [RouteKind::WebSocket, RouteKind::Udp, RouteKind::WebSocket] {
        ours.move_to_kind(target).await.unwrap();
        for (told, session) in &mut hearing {
            let event = next(told).await;
            let Event::RouteChanged { session_id, peer, from, to } = &*event else {
                panic!("{event:?}")
            };
            assert_eq!((*session_id, *peer), (session.id(), session.peer_node_id()));
            assert_eq!((from.kind, to.kind, to.remote), (kind, target, session.remote_address()));
        }
        kind = target;
    }
    ours.close("").await;
    for (told, _) in &mut hearing {
        assert_eq!(next(told).await.name(), "session_closed");
        assert_eq!(next(told).await.name(), "peer_disconnected");
    }
}

/// A server that also listens for WebSockets, and a client that reaches it over UDP through a relay.
async fn through_relay() -> (Node, Node, Relay, Session, Session) {
    let seed = seed();
    let server = builder(&seed).websocket(V4).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let relay = Relay::start(server.local_addr()).await;
    let ours = client.connect(&format!("udp://{}", relay.address)).await.unwrap();
    let theirs = common::other_end(&server, &ours).await;
    (server, client, relay, theirs, ours)
}

async fn kind_becomes(session: &Session, kind: RouteKind) {
    let wait = async {
        while session.route().kind != kind {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipv4_to_ipv6_and_back() {
    let seed = seed();
    // Not every machine that tests this has IPv6.
    let Ok(server) = builder(&seed).host("::").start(Mode::Server).await else { return };
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let port = server.local_addr().port();
    let ours = client.connect(&format!("127.0.0.1:{port}")).await.unwrap();
    let theirs = common::other_end(&server, &ours).await;
    assert!(theirs.remote_address().is_ipv4());
    let to_v6 = format!("udp://[::1]:{port}");
    assert_eq!(stt::Coded::code(&ours.move_to(&to_v6).await.unwrap_err()), "route.family");
    let Ok(_) = client.rebind("[::1]:0") else { return };
    let moving = async {
        let route = ours.move_to(&to_v6).await.unwrap();
        assert!(route.remote.is_ipv6());
        assert!(theirs.remote_address().is_ipv6());
        ours.move_to(&format!("udp://127.0.0.1:{port}")).await.unwrap();
        assert!(theirs.remote_address().is_ipv4());
    };
    under_load(&ours, &theirs, moving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nat_that_forgets_is_noticed_under_load() {
    let (_server, _client, relay, theirs, ours) = through_relay().await;
    let (before, quiet) = (theirs.remote_address(), ours.stats().bytes_received);
    let rebinding = async {
        // A client that has heard nothing of the load does not miss it.
        while ours.stats().bytes_received < quiet + 100_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        relay.forget();
        let wait = async {
            while theirs.remote_address() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    };
    under_load(&theirs, &ours, rebinding).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_udp_dies_a_websocket_takes_over_until_it_lives_again() {
    let (_server, _client, relay, theirs, ours) = through_relay().await;
    let dying = async {
        relay.set_dead(true);
        kind_becomes(&ours, RouteKind::WebSocket).await;
        kind_becomes(&theirs, RouteKind::WebSocket).await;
        relay.set_dead(false);
        kind_becomes(&ours, RouteKind::Udp).await;
        kind_becomes(&theirs, RouteKind::Udp).await;
    };
    under_load(&ours, &theirs, dying).await;
}

/// The datagrams of a loopback interface are wider than the path that the session moves to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_width_of_a_path_is_learned_anew() {
    let (_server, _client, relay, theirs, ours) = through_relay().await;
    ours.move_to_kind(RouteKind::WebSocket).await.unwrap();
    under_load(&ours, &theirs, tokio::time::sleep(Duration::from_millis(20))).await;
    assert!(ours.stats().path_mtu > 1_200, "{}", ours.stats().path_mtu);
    relay.set_widest(1_452);
    let narrow = async {
        ours.move_to_kind(RouteKind::Udp).await.unwrap();
        let wait = async {
            while !(1_201..=1_452).contains(&ours.stats().path_mtu) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    };
    under_load(&ours, &theirs, narrow).await;
}

/// A stranger who repeats what went over the wire, from another address, gets nothing, and the
/// session stays where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captured_datagrams_sent_from_elsewhere_get_no_byte() {
    let seed = seed();
    let server = builder(&seed).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let tap = UdpSocket::bind(V4).await.unwrap();
    let back = UdpSocket::bind(V4).await.unwrap();
    let tapped = format!("udp://{}", tap.local_addr().unwrap());
    let to = server.local_addr();
    let captured = Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = Arc::clone(&captured);
    let tapping = tokio::spawn(async move {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((length, from)) = tap.recv_from(&mut up) => {
                    client = Some(from);
                    notes.lock().unwrap().push(up[..length].to_vec());
                    back.send_to(&up[..length], to).await.unwrap();
                }
                Ok((length, _)) = back.recv_from(&mut down) => {
                    let Some(client) = client else { continue };
                    tap.send_to(&down[..length], client).await.unwrap();
                }
            }
        }
    });
    let ours = client.connect(&tapped).await.unwrap();
    let theirs = common::other_end(&server, &ours).await;
    under_load(&ours, &theirs, tokio::time::sleep(Duration::from_millis(5))).await;
    // Silence after a flow is asked about: those are among what was captured.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let at = theirs.remote_address();
    let stranger = UdpSocket::bind(V4).await.unwrap();
    let captured = std::mem::take(&mut *captured.lock().unwrap());
    assert!(captured.iter().any(|datagram| (98..196).contains(&datagram.len())));
    for datagram in &captured {
        stranger.send_to(datagram, to).await.unwrap();
    }
    ours.ping().await.unwrap();
    let mut answer = [0; 2048];
    assert!(stranger.try_recv(&mut answer).is_err(), "not a byte");
    assert_eq!(theirs.remote_address(), at);
    tapping.abort();
}
