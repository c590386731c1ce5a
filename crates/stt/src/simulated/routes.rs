//! How long data pauses when a route changes, with the engine's own recovery in it.

use std::{net::SocketAddr, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Weather, world::World};
use crate::Session;

/// Shortest way there is here: a round trip of 2 ms, twice what is promised for.
const NEAR: Weather = Weather { delay: (1, 1), ..Weather::CALM };

fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], port))
}

/// Sends a message every millisecond for half a second, does `act` in the middle, and returns the
/// longest time between two arrivals. All arrive, in order.
async fn pause(from: &Session, to: &Session, act: impl FnOnce()) -> Duration {
    const MESSAGES: u64 = 500;
    let stream = from.open_stream().unwrap();
    let to = to.clone();
    let hearing = tokio::spawn(async move {
        let stream = to.accept_stream().await.unwrap();
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        for number in 0..MESSAGES {
            let message = stream.receive().await.unwrap().unwrap();
            assert_eq!(message[..8], number.to_be_bytes());
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        longest
    });
    let mut act = Some(act);
    for number in 0..MESSAGES {
        let mut message = [0; 400];
        message[..8].copy_from_slice(&number.to_be_bytes());
        stream.send(&message).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        if number == MESSAGES / 2
            && let Some(act) = act.take()
        {
            act();
        }
    }
    hearing.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_planned_change_pauses_at_most_25_ms() {
    for seed in 0..20 {
        let world = World::new(NEAR, seed);
        let (server, client, theirs, ours) = world.session().await;
        let new = world.socket(at(2, 7));
        let paused = pause(&ours, &theirs, || assert_eq!(client.rebind_over(new), at(2, 7))).await;
        assert!(paused <= Duration::from_millis(25), "the sender moved, seed {seed}: {paused:?}");
        assert_eq!(theirs.remote_address(), at(2, 7));
        let new = world.socket(at(1, 7));
        let paused = pause(&ours, &theirs, || assert_eq!(server.rebind_over(new), at(1, 7))).await;
        assert!(paused <= Duration::from_millis(25), "the receiver moved, seed {seed}: {paused:?}");
        assert_eq!(ours.remote_address(), at(1, 7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_nat_that_forgets_pauses_at_most_100_ms() {
    for seed in 0..20 {
        let world = World::new(NEAR, seed);
        world.nat(at(2, 1), at(9, 100));
        let (_server, _client, theirs, ours) = world.session().await;
        assert_eq!(theirs.remote_address(), at(9, 100));
        let rebind = |port| {
            let world = world.clone();
            move || world.nat(at(2, 1), at(9, port))
        };
        let paused = pause(&ours, &theirs, rebind(101)).await;
        assert!(paused <= Duration::from_millis(100), "it sends, seed {seed}: {paused:?}");
        assert_eq!(theirs.remote_address(), at(9, 101));
        let paused = pause(&theirs, &ours, rebind(102)).await;
        assert!(paused <= Duration::from_millis(100), "it receives, seed {seed}: {paused:?}");
        assert_eq!(theirs.remote_address(), at(9, 102));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_moves_is_followed_through_a_nat() {
    let world = World::new(NEAR, 1);
    world.nat(at(2, 1), at(9, 100));
    let (server, _client, theirs, ours) = world.session().await;
    // The NAT lets nothing in from an address that was not written to.
    let server_at = at(1, 7);
    let new = world.socket(server_at);
    let paused = pause(&theirs, &ours, || assert_eq!(server.rebind_over(new), server_at)).await;
    assert!(paused <= Duration::from_millis(25), "{paused:?}");
    assert_eq!(ours.remote_address(), server_at);
}
