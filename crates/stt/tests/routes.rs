//! Sessions that change their route while data flows, over real sockets.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use common::{builder, seed};
use stt::{Mode, Node, RouteKind, Session};

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
