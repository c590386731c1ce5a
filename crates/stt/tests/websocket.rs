//! Sessions over WebSockets, and what a stranger sees of them.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::{net::SocketAddr, time::Duration};

use common::{builder, seed};
use stt::{Coded, Mode, Node, SharedSeed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const SOON: Duration = Duration::from_millis(300);

async fn listening(seed: &SharedSeed) -> (Node, SocketAddr) {
    let node = builder(seed).websocket(ANY).start(Mode::Server).await.unwrap();
    let address = node.websocket_addr().unwrap();
    (node, address)
}

async fn client(seed: &SharedSeed) -> Node {
    builder(seed).start(Mode::Client).await.unwrap()
}

async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_session_over_a_websocket_carries_both_ways() {
    let seed = seed();
    let (server, address) = listening(&seed).await;
    assert_eq!(address.port(), server.local_addr().port(), "the UDP port unless told otherwise");
    let client = client(&seed).await;
    let session = client
        .connect_to(&format!("ws://{address}/any/path"), Some(server.node_id()), SOON * 20)
        .await
        .unwrap();
    assert_eq!(session.peer_node_id(), server.node_id());

    let payload = vec![7; 3 << 20];
    let stream = session.open_stream().unwrap();
    let sending = stream.send(&payload);
    let receiving = async {
        let theirs = common::other_end(&server, &session).await;
        let stream = theirs.accept_stream().await.unwrap();
        let message = stream.receive().await.unwrap().unwrap();
        stream.send(b"thanks").await.unwrap();
        (message, stream)
    };
    let (sent, (message, _theirs)) = tokio::join!(sending, receiving);
    sent.unwrap();
    assert_eq!(message, payload);
    assert_eq!(stream.receive().await.unwrap().unwrap(), &b"thanks"[..]);
    assert_eq!(client.stats().udp_transport.send_errors, 0);
}

#[tokio::test]
async fn a_plain_address_falls_back_to_a_websocket() {
    let seed = seed();
    // The node's UDP is at another port: at this one only TCP answers.
    let at: SocketAddr = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
    let server = builder(&seed).websocket(at).start(Mode::Server).await.unwrap();
    assert_ne!(server.local_addr().port(), at.port());
    let client = client(&seed).await;
    let session = client.connect(&at.to_string()).await.unwrap();
    assert_eq!(session.peer_node_id(), server.node_id());
}

#[tokio::test]
async fn a_stranger_meets_a_dull_web_server() {
    let seed = seed();
    let (_server, address) = listening(&seed).await;
    let plain = ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 404 Not Found\r\n"), "{plain}");

    let head = ask(address, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(plain.starts_with(&head) && head.ends_with("\r\n\r\n"), "{head}");
    let form = [
        b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".as_slice(),
        &vec![b'x'; 1_000_000],
    ];
    assert_eq!(
        ask(address, &form.concat()).await,
        plain,
        "all of it, though nobody wants the body"
    );

    let knock = "00".repeat(20);
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Cookie: id={knock}\r\n\r\n"
    );
    assert_eq!(ask(address, upgrade.as_bytes()).await, plain, "an upgrade without a seed");
    let malformed = ask(address, b"hello\r\n\r\n").await;
    assert!(malformed.starts_with("HTTP/1.1 400 "), "{malformed}");
    let long = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 8192]].concat();
    assert!(ask(address, &long).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_wrong_seed_gets_no_websocket() {
    let (_server, address) = listening(&seed()).await;
    let client = client(&seed()).await;
    let error = client.connect(&format!("ws://{address}")).await.unwrap_err();
    assert_eq!(error.code(), "connect.websocket");
    assert!(error.to_string().contains("404"), "{error}");
}

/// Notes what a client says to a listener, and says it again.
#[tokio::test]
async fn a_replayed_upgrade_gets_nothing() {
    let seed = seed();
    let (_server, address) = listening(&seed).await;
    let tap = TcpListener::bind(ANY).await.unwrap();
    let tapped = tap.local_addr().unwrap();
    let tapping = async {
        let (mut client, _) = tap.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            client.read_buf(&mut request).await.unwrap();
        }
        let mut upstream = TcpStream::connect(address).await.unwrap();
        upstream.write_all(&request).await.unwrap();
        let mut answer = vec![0; 12];
        upstream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 101");
        request
    };
    let client = client(&seed).await;
    let target = format!("ws://{tapped}");
    let (request, _) = tokio::join!(tapping, client.connect_to(&target, None, SOON));
    assert!(ask(address, &request).await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn what_cannot_be_reached_is_said() {
    let seed = seed();
    let client = client(&seed).await;
    let odd = client.connect("http://localhost/x").await.unwrap_err();
    assert_eq!(odd.code(), "connect.malformed");
    let free = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
    let closed = client.connect(&format!("ws://{free}")).await.unwrap_err();
    assert_eq!(closed.code(), "connect.websocket");
    assert!(closed.retry_helps());
}
