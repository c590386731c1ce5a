//! A caller whose network goes away while it calls, and comes back.

use std::{net::IpAddr, time::Duration};

use stt_transport::testing::Weather;
use tokio::time::{Instant, sleep, timeout};

use super::world::World;
use crate::{ConnectError, ConnectOptions, Mode, Node, RouteKind};

/// What a user gives for the whole of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// After the network is back: one more attempt has to begin, and to get through.
const SOON: Duration = Duration::from_secs(4);

/// Connects while nothing gets through in the hole of `weather`. How long that took.
async fn connects(weather: Weather, seed: u64) -> Duration {
    let world = World::new(weather, seed);
    let (server, client) = (world.node(1, Mode::Server).await, world.node(2, Mode::Client).await);
    world.turn(weather);
    let before = Instant::now();
    let ours = client.connect_with("10.0.0.1:1", &ConnectOptions::new().timeout(PATIENCE)).await;
    let ours = ours.unwrap_or_else(|error| panic!("{error}: seed {seed}, {weather:?}"));
    let took = before.elapsed();
    // An earlier attempt may have come as far as the responder's FINAL: that session is over.
    let theirs = loop {
        let theirs = timeout(PATIENCE, server.accept()).await.expect("both have it").unwrap();
        if theirs.id() == ours.id() {
            break theirs;
        }
    };
    ours.get_stream(1).unwrap().send(b"hello").await.unwrap();
    let message = theirs.get_stream(1).unwrap().receive().await.unwrap();
    assert_eq!(message.as_deref(), Some(b"hello".as_slice()), "seed {seed}, {weather:?}");
    took
}

/// A round trip is 100 ms here, and a handshake two of them, so the hole begins before HELLO, while
/// it is under way, and likewise for RESPONSE, AUTH_PROOF and FINAL, or when all is over.
fn holes(lengths: impl Iterator<Item = u64> + Clone) -> impl Iterator<Item = Weather> {
    let begins = [0, 25, 50, 75, 100, 125, 150, 175, 200];
    begins.into_iter().flat_map(move |begin| {
        lengths.clone().map(move |seconds| Weather {
            delay: (50, 50),
            hole: (begin, begin + seconds * 1_000),
            ..Weather::CALM
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_was_cut_off_gets_through_soon_after() {
    for (seed, weather) in (0..).zip(holes([1, 4, 8, 13, 20].into_iter())) {
        let took = connects(weather, seed).await;
        let back = Duration::from_millis(weather.hole.1);
        assert!(took <= back + SOON, "seed {seed}, {weather:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "heavy: 1,080 handshakes"]
async fn a_caller_that_was_cut_off_gets_through_whenever_it_was() {
    for (seed, weather) in (0..).zip(holes(1..=20)) {
        for weather in [
            weather,
            Weather { delay: (40, 60), loss: 0.1, repeated: 0.1, ..weather },
            Weather { loss: 0.2, ..weather },
            Weather { delay: (20, 80), changed: 0.1, ..weather },
            Weather { delay: (1, 1), ..weather },
            Weather { delay: (250, 250), ..weather },
        ] {
            connects(weather, seed).await;
        }
    }
}

/// What becomes of TCP connections that are open when nothing gets through any more.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// What was under way arrives after the hole.
    Late,
    /// A NAT forgets them: nothing ever arrives, and nobody is told.
    Forgotten,
    /// They are reset as soon as something gets through again.
    Reset,
}

/// Waits until a node has so many WebSockets.
async fn websockets(node: &Node, number: usize) {
    let wait = async {
        while node.stats().websocket_connections != number {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let left = || node.stats().websocket_connections;
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{} are left", left()));
}

/// Connects over a WebSocket while nothing gets through from `begin` for a time; how long that took.
async fn connects_over_a_websocket(begin: u64, length: u64, fate: Fate) -> Duration {
    let case = format!("{fate:?}, from {begin} ms for {length} ms");
    let weather = Weather { delay: (50, 50), ..Weather::CALM };
    let world = World::new(weather, begin + length);
    let server = world.server_of_two_kinds(1).await;
    let client = world.node(2, Mode::Client).await;
    // A session whose WebSocket is lost would go on over UDP.
    world.silence([1, 2].map(|host| IpAddr::from([10, 0, 0, host])));
    let hole = async {
        sleep(Duration::from_millis(begin)).await;
        world.streams().stall(true);
        if matches!(fate, Fate::Forgotten) {
            world.streams().forget();
        }
        sleep(Duration::from_millis(length)).await;
        if matches!(fate, Fate::Reset) {
            world.streams().cut();
        }
        world.streams().stall(false);
    };
    let before = Instant::now();
    let dialling = async {
        let ours =
            client.connect_with("ws://10.0.0.1:1", &ConnectOptions::new().timeout(PATIENCE)).await;
        (ours, before.elapsed())
    };
    let ((ours, took), ()) = tokio::join!(dialling, hole);
    let ours = ours.unwrap_or_else(|error| panic!("{error}: {case}"));
    let theirs = loop {
        let theirs = timeout(PATIENCE, server.accept()).await.expect("both have it").unwrap();
        if theirs.id() == ours.id() {
            break theirs;
        }
    };
    assert_eq!(theirs.route().kind, RouteKind::WebSocket);
    ours.get_stream(1).unwrap().send(b"hello").await.unwrap();
    let message = theirs.get_stream(1).unwrap().receive().await.unwrap();
    assert_eq!(message.as_deref(), Some(b"hello".as_slice()), "{case}");
    // Of the other attempts nothing is left here; there, only what nobody can tell that it is over.
    websockets(&client, 1).await;
    if !matches!(fate, Fate::Forgotten) {
        websockets(&server, 1).await;
    }
    if matches!(fate, Fate::Late) {
        assert_eq!(server.stats().sessions.active, 1, "{case}");
    }
    took
}

/// TCP, HTTP and the handshake inside take four round trips of 100 ms.
#[tokio::test(start_paused = true)]
async fn a_caller_over_a_websocket_that_was_cut_off_gets_through_soon_after() {
    for fate in [Fate::Late, Fate::Forgotten, Fate::Reset] {
        for begin in [0, 50, 99, 125, 175, 225, 275, 325, 375] {
            for length in [1_000, 4_000, 11_000, 20_000] {
                let took = connects_over_a_websocket(begin, length, fate).await;
                // Silence is noticed three to six seconds after the last word.
                let back = Duration::from_millis(begin + length.max(3_000));
                assert!(took <= back + SOON, "{fate:?}, {begin}, {length}: {took:?}");
            }
        }
    }
}

/// Nobody there but a web server that never answers: it takes as long as the caller said.
#[tokio::test(start_paused = true)]
async fn a_websocket_that_is_not_there_takes_as_long_as_the_caller_waits() {
    let world = World::new(Weather::CALM, 1);
    let server = world.server_of_two_kinds(1).await;
    let client = world.node(2, Mode::Client).await;
    let before = Instant::now();
    // Refused at once, where nobody listens.
    let error = client
        .connect_with("ws://10.0.0.1:2", &ConnectOptions::new().timeout(PATIENCE))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::WebSocket { .. }), "{error}");
    assert!(before.elapsed() < Duration::from_secs(1));
    world.streams().stall(true);
    let before = Instant::now();
    let error = client
        .connect_with("ws://10.0.0.1:1", &ConnectOptions::new().timeout(PATIENCE))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error}");
    assert_eq!(before.elapsed(), PATIENCE);
    websockets(&client, 0).await;
    drop(server);
}

/// The network that is only slow gets no WebSocket more than it needs.
#[tokio::test(start_paused = true)]
async fn one_websocket_is_enough_where_the_peer_is_heard() {
    for delay in [1, 50, 300, 600] {
        let world = World::new(Weather { delay: (delay, delay), ..Weather::CALM }, delay);
        let server = world.server_of_two_kinds(1).await;
        let client = world.node(2, Mode::Client).await;
        let ours = client
            .connect_with("ws://10.0.0.1:1", &ConnectOptions::new().timeout(PATIENCE))
            .await
            .unwrap();
        assert_eq!(server.accept().await.unwrap().id(), ours.id());
        let counts = [&client, &server].map(|node| node.stats().websocket_connections);
        assert_eq!(counts, [1, 1], "{delay} ms");
        assert!(timeout(PATIENCE, server.accept()).await.is_err(), "{delay} ms: one session");
    }
}

/// The network that is only slow gets no knock more than it needs.
#[tokio::test(start_paused = true)]
async fn one_attempt_is_enough_where_the_peer_is_heard() {
    for delay in [1, 50, 300, 700] {
        let weather = Weather { delay: (delay, delay), ..Weather::CALM };
        let world = World::new(weather, delay);
        let server = world.node(1, Mode::Server).await;
        let client = world.node(2, Mode::Client).await;
        let ours = client
            .connect_with("10.0.0.1:1", &ConnectOptions::new().timeout(PATIENCE))
            .await
            .unwrap();
        let theirs = server.accept().await.unwrap();
        assert_eq!(theirs.id(), ours.id());
        assert!(timeout(PATIENCE, server.accept()).await.is_err(), "{delay} ms: one session");
    }
}

/// Nobody there: it takes as long as the caller said, and the error says what it may be.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_there_takes_as_long_as_the_caller_waits() {
    let world = World::new(Weather::CALM, 1);
    let client = world.node(2, Mode::Client).await;
    let before = Instant::now();
    let error = client
        .connect_with("10.0.0.1:1", &ConnectOptions::new().timeout(PATIENCE))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error}");
    assert_eq!(before.elapsed(), PATIENCE);
}

/// The path gets faster while a second attempt is under way, which catches up with the first one: in
/// some of these worlds both finish in the same moment, before anybody looks.
#[tokio::test(start_paused = true)]
async fn of_two_attempts_that_both_finish_one_session_is_left() {
    let delay = |ms| Weather { delay: (ms, ms), ..Weather::CALM };
    let mut most = 0;
    for last in 90..=110 {
        let world = World::new(delay(1_600), last);
        let server = world.node(1, Mode::Server).await;
        let client = world.node(2, Mode::Client).await;
        let weather = async {
            for (wait, ms) in [(4_500, 1_200), (500, last)] {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                world.turn(delay(ms));
            }
        };
        let options = ConnectOptions::new().timeout(PATIENCE);
        let (ours, ()) = tokio::join!(client.connect_with("10.0.0.1:1", &options), weather);
        let ours = ours.unwrap();
        let mut begun = 0;
        while timeout(Duration::from_secs(1), server.accept()).await.is_ok() {
            begun += 1;
        }
        most = most.max(begun);
        assert_eq!(server.stats().sessions.active, 1, "{last} ms");
        assert!(server.session(ours.id()).is_some() && ours.close_reason().is_none());
    }
    assert_eq!(most, 2, "the second attempt came as far as the responder's FINAL");
}
