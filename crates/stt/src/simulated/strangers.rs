//! What those can do who open TCP connections to a listener for WebSockets and hold no seed.

use std::{net::IpAddr, time::Duration};

use stt_transport::testing::Weather;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::world::World;
use crate::{ConnectOptions, Mode, Node};

/// Of one address at once, in the middle of their request; and of all.
const SHARE: u64 = 64;
const MOST: u64 = 256;
/// How long a request may take.
const TIME: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(1);

/// A listener, and a world around it.
async fn listening() -> (World, Node) {
    let world = World::new(Weather::CALM, 1);
    let server = world.server_of_two_kinds(1).await;
    (world, server)
}

/// Opens a connection from 10.0.0.`host` and says `pieces`, one each `every`, until its end. What was
/// answered, and how long it was open.
async fn stranger(
    world: World,
    host: u8,
    pieces: Vec<Vec<u8>>,
    every: Duration,
) -> (Vec<u8>, Duration) {
    let stream = world.stream(IpAddr::from([10, 0, 0, host]), "10.0.0.1", 1).await.unwrap();
    let since = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let saying = async {
        for piece in pieces {
            if writing.write_all(&piece).await.is_err() {
                break;
            }
            sleep(every).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = reading.read_to_end(&mut answer) => {}
        () = saying => {}
    }
    (answer, since.elapsed())
}

/// A request whose every byte comes a second after the one before.
fn slow() -> (Vec<Vec<u8>>, Duration) {
    let request = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
    (request.iter().map(|byte| vec![*byte]).collect(), Duration::from_secs(1))
}

/// How long a member at 10.0.0.`host` takes to connect over a WebSocket.
async fn member(world: &World, host: u8) -> Duration {
    let node = world.node(host, Mode::Client).await;
    let before = Instant::now();
    let session = node
        .connect_with("ws://10.0.0.1:1", &ConnectOptions::new().timeout(TIME * 3))
        .await
        .unwrap();
    let took = before.elapsed();
    session.close("").await;
    took
}

#[tokio::test(start_paused = true)]
async fn two_hundred_slow_requests_of_one_address_hold_up_that_address_alone() {
    let (world, server) = listening().await;
    let mut strangers = JoinSet::new();
    let (pieces, every) = slow();
    for _ in 0..200 {
        strangers.spawn(stranger(world.clone(), 9, pieces.clone(), every));
    }
    sleep(SOON).await;
    assert_eq!(server.stats().udp_transport.dropped_requests, 200 - SHARE);
    assert!(member(&world, 2).await < SOON, "others do not notice");
    // Who has the same address gets in as soon as their time is over.
    let took = member(&world, 9).await;
    assert!(took <= TIME + Duration::from_secs(4), "{took:?}");
    let mut kept = 0;
    while let Some(stranger) = strangers.join_next().await {
        let (answer, open) = stranger.unwrap();
        assert!(answer.is_empty());
        if open > SOON {
            kept += 1;
            assert!(open <= TIME + SOON, "{open:?}");
        }
    }
    assert_eq!(kept, SHARE);
}

#[tokio::test(start_paused = true)]
async fn slow_requests_of_many_addresses_give_way_to_members() {
    let (world, server) = listening().await;
    let mut strangers = JoinSet::new();
    let (pieces, every) = slow();
    for host in (50..62).cycle().take(600) {
        strangers.spawn(stranger(world.clone(), host, pieces.clone(), every));
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(server.stats().udp_transport.dropped_requests, 600 - MOST);
    // Turned away once, and there is room at the second try.
    let took = member(&world, 2).await;
    assert!(took <= Duration::from_secs(5), "{took:?}");
    while let Some(stranger) = strangers.join_next().await {
        assert!(stranger.unwrap().1 <= TIME + SOON);
    }
}

/// However much they say before, in or after a request, and however slowly.
#[tokio::test(start_paused = true)]
async fn what_strangers_say_ends_soon() {
    let (world, _server) = listening().await;
    let now = Duration::ZERO;
    let some = Duration::from_millis(100);
    let request = |head: &str| format!("{head}\r\n\r\n").into_bytes();
    let get = request("GET / HTTP/1.1\r\nHost: h");
    let after = |first: Vec<u8>, then: &[u8]| {
        std::iter::once(first).chain(std::iter::repeat_n(then.to_vec(), 400)).collect::<Vec<_>>()
    };
    let endless: Vec<_> =
        after(b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec(), b"X: xxxxxxxxxxxxxxxxxxxx\r\n");
    for (pieces, every, status, within) in [
        (vec![get.clone()], now, "404", 3),
        (vec![request("HEAD / HTTP/1.1\r\nHost: h")], now, "404", 3),
        (vec![request("GET / HTTP/1.0")], now, "404", 3),
        (vec![b"\x16\x03\x01\x02".to_vec()], now, "400", 3),
        (vec![vec![0xff; 100_000]], now, "400", 3),
        (vec![vec![b'A'; 100_000]], now, "400", 3),
        (endless.clone(), now, "400", 3),
        // A byte now and then after the answer.
        (after(get.clone(), b"x"), some, "404", 3),
        (
            after(request("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999"), b"x"),
            some,
            "404",
            3,
        ),
        // A line now and then, without an end.
        (endless, some, "", 11),
        // Nothing.
        (vec![], now, "", 11),
        (vec![b"GET /".to_vec()], now, "", 11),
    ] {
        let case = String::from_utf8_lossy(&pieces.concat()).chars().take(40).collect::<String>();
        let (answer, open) = stranger(world.clone(), 9, pieces, every).await;
        let answer = String::from_utf8(answer).unwrap();
        let expected =
            if status.is_empty() { String::new() } else { format!("HTTP/1.1 {status} ") };
        assert!(answer.starts_with(&expected), "{case}: {answer}");
        assert_eq!(answer.is_empty(), status.is_empty(), "{case}: {answer}");
        assert!(open <= Duration::from_secs(within), "{case}: {open:?}");
    }
}
