//! Sessions over WebSockets, and what a stranger sees of them.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{net::SocketAddr, time::Duration};

use crate::common::{self, builder, seed};
use stt::{Coded, ConnectOptions, Mode, Node, SharedSeed};
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
        .connect_with(
            &format!("ws://{address}/any/path"),
            &ConnectOptions::new().expect(server.node_id()).timeout(SOON * 20),
        )
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
    let old = ask(address, b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(old, plain, "HTTP/1.0 needs no host");
    for malformed in ["hello", "GET / HTTP/1.1", "GET / HTTP/2.0\r\nHost: x", "\x16\x03\x01"] {
        let answer = ask(address, format!("{malformed}\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{malformed}: {answer}");
    }
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

/// A client's request, as somebody on the path sees it.
async fn captured(seed: &SharedSeed) -> Vec<u8> {
    let tap = TcpListener::bind(ANY).await.unwrap();
    let tapped = tap.local_addr().unwrap();
    let tapping = async {
        let (mut client, _) = tap.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            client.read_buf(&mut request).await.unwrap();
        }
        request
    };
    let client = client(seed).await;
    let target = format!("ws://{tapped}");
    let options = ConnectOptions::new().timeout(SOON);
    let dialling = client.connect_with(&target, &options);
    tokio::join!(tapping, dialling).0
}

/// Says it to the listener, which takes it.
async fn upgraded(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut answer).await.unwrap();
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    stream
}

#[tokio::test]
async fn a_replayed_upgrade_gets_nothing() {
    let seed = seed();
    let (_server, address) = listening(&seed).await;
    let request = captured(&seed).await;
    let _first = upgraded(address, &request).await;
    assert!(ask(address, &request).await.starts_with("HTTP/1.1 404 "));
}

/// A request that is not all of an upgrade gets what a stranger gets, though its knock is good, and
/// the knock is not used up.
#[tokio::test]
async fn half_an_upgrade_gets_what_a_stranger_gets() {
    let seed = seed();
    let (_server, address) = listening(&seed).await;
    let plain = ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let request = String::from_utf8(captured(&seed).await).unwrap();
    for (from, to) in [
        ("GET ", "POST "),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Connection: Upgrade", "Connection: close"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        ("==\r\n", "=\r\n"),
        ("\r\n\r\n", "\r\n\r\nmore"),
    ] {
        let changed = request.replacen(from, to, 1);
        assert_ne!(changed, request);
        assert_eq!(ask(address, changed.as_bytes()).await, plain, "{from} is {to}");
    }
    upgraded(address, request.as_bytes()).await;
}

/// Who took over a client's connection, and knows no more than RFC 6455, gets what that says.
#[tokio::test]
async fn broken_frames_get_what_any_server_of_websockets_says() {
    let seed = seed();
    let (server, address) = listening(&seed).await;
    for (frames, code) in [(&b"\x82\x05Hello"[..], 1002_u16), (b"\x81\x85\0\0\0\0Hello", 1003)] {
        let mut stream = upgraded(address, &captured(&seed).await).await;
        stream.write_all(frames).await.unwrap();
        stream.write_all(&[0; 300_000]).await.unwrap();
        let mut answer = Vec::new();
        // Not a reset: it is there, and then the end.
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [&[0x88, 2][..], &code.to_be_bytes()].concat());
    }
    while server.stats().websocket_connections > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_said() {
    let seed = seed();
    let client = client(&seed).await;
    let odd = client.connect("http://localhost/x").await.unwrap_err();
    assert_eq!(odd.code(), "address.malformed");
    let free = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
    let closed = client.connect(&format!("ws://{free}")).await.unwrap_err();
    assert_eq!(closed.code(), "connect.websocket");
    assert!(closed.retry_helps());
}
