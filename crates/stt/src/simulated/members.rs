//! What members can do who mean harm, and that the others do not notice.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use stc::Key;
use stt_transport::testing::{Weather, websocket_cookie};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::world::World;
use crate::{ConnectOptions, Mode, SharedSeed};

/// How long a handshake may take, and a moment.
const TIME: Duration = Duration::from_secs(11);

/// Opens a WebSocket with a good knock from 10.0.0.`host`, begins no session, and says that it is
/// there every second. How long it was open; `None` if none was opened.
async fn idle_websocket(world: World, host: u8, nonce: u64) -> Option<Duration> {
    let seed = SharedSeed::from_key(Key::from_bytes([1; 32]));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let cookie = websocket_cookie(seed, nonce.to_be_bytes(), u32::try_from(now).unwrap());
    let mut stream = world.stream(IpAddr::from([10, 0, 0, host]), "10.0.0.1", 1).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Cookie: {cookie}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.ok()?;
    if !answer.ends_with(b"101") {
        return None;
    }
    let since = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let saying = async {
        while since.elapsed() < TIME * 5 {
            if writing.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        _ = reading.read_to_end(&mut rest) => {}
        () = saying => {}
    }
    Some(since.elapsed())
}

#[tokio::test(start_paused = true)]
async fn websockets_without_a_session_end_soon_and_one_address_has_its_share_of_them() {
    let world = World::new(Weather::CALM, 1);
    let at = SocketAddr::from(([10, 0, 0, 1], 0));
    let settings =
        |builder: crate::NodeBuilder| builder.websocket(at).max_sessions(4).max_half_open(8);
    let server = world.node_with(1, Mode::Server, settings).await;
    let mut idle = JoinSet::new();
    for nonce in 0..20 {
        idle.spawn(idle_websocket(world.clone(), 9, nonce));
    }
    sleep(Duration::from_millis(500)).await;
    let client = world.node(2, Mode::Client).await;
    let session = client
        .connect_with("ws://10.0.0.1:1", &ConnectOptions::new().timeout(TIME * 3))
        .await
        .unwrap();
    let mut opened = Vec::new();
    while let Some(one) = idle.join_next().await {
        opened.extend(one.unwrap());
    }
    assert_eq!(opened.len(), 2, "a quarter of the half-open");
    assert!(opened.iter().all(|open| *open <= TIME), "{opened:?}");
    // One with a session stays.
    sleep(TIME * 3).await;
    session.ping().await.unwrap();
    assert_eq!(server.stats().websocket_connections, 1);
    assert_eq!(world.streams().opened(), 21);
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_websockets_than_sessions_and_handshakes() {
    let world = World::new(Weather::CALM, 1);
    let at = SocketAddr::from(([10, 0, 0, 1], 0));
    let settings =
        |builder: crate::NodeBuilder| builder.websocket(at).max_sessions(4).max_half_open(8);
    let server = world.node_with(1, Mode::Server, settings).await;
    let mut idle = JoinSet::new();
    for nonce in 0..60 {
        idle.spawn(idle_websocket(world.clone(), 50 + u8::try_from(nonce / 2).unwrap(), nonce));
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(server.stats().websocket_connections, 8);
    while let Some(one) = idle.join_next().await {
        one.unwrap();
    }
}

/// A datagram may say that it comes from anywhere.
#[tokio::test(start_paused = true)]
async fn an_address_that_stands_for_a_websocket_is_nobodys_over_udp() {
    let world = World::new(Weather::CALM, 1);
    let server = world.server_of_two_kinds(1).await;
    let client = world.node(2, Mode::Client).await;
    let session =
        client.connect_with("ws://10.0.0.1:1", &ConnectOptions::new().timeout(TIME)).await.unwrap();
    assert_eq!(server.stats().websocket_connections, 1);
    let attacker = world.node(3, Mode::Client).await;
    let stand_in = SocketAddr::from(([240, 0, 0, 0], 443));
    world.nat(SocketAddr::from(([10, 0, 0, 3], 1)), stand_in);
    let spoofed =
        attacker.connect_with("udp://10.0.0.1:1", &ConnectOptions::new().timeout(TIME * 2)).await;
    assert!(spoofed.is_err());
    sleep(TIME * 2).await;
    assert_eq!(server.stats().websocket_connections, 1);
    session.ping().await.unwrap();
    assert_eq!(world.streams().opened(), 1);
    // Nor is one dialled that a name or a peer tells of.
    let dialled =
        client.connect_with("udp://240.0.0.0:443", &ConnectOptions::new().timeout(TIME)).await;
    assert!(dialled.is_err());
    session.ping().await.unwrap();
    assert_eq!(client.stats().websocket_connections, 1);
}

/// Whatever goes wrong in one connection.
#[tokio::test(start_paused = true)]
async fn a_panic_in_one_connection_ends_no_other() {
    let world = World::new(Weather::CALM, 1);
    let (server, _client, theirs, ours) = world.session().await;
    let other = world.node(3, Mode::Client).await;
    let kept =
        other.connect_with("udp://10.0.0.1:1", &ConnectOptions::new().timeout(TIME)).await.unwrap();
    theirs.trap();
    let _ = tokio::time::timeout(TIME, ours.ping()).await;
    let reason = theirs.closed().await;
    assert!(reason.to_string().contains("a fault of this node"), "{reason}");
    kept.ping().await.unwrap();
    let late = world.node(4, Mode::Client).await;
    late.connect_with("udp://10.0.0.1:1", &ConnectOptions::new().timeout(TIME))
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
    assert_eq!(server.stats().sessions.active, 2);
}
