//! What an engine like ours falls into, with the whole stack between two sockets: each of these was
//! a way to lose a session or most of its speed.

use std::time::Duration;

use bytes::Bytes;
use stt_transport::testing::Weather;
use tokio::time::Instant;

use super::world::World;
use crate::Session;

/// 50 ms each way.
const LONG: Weather = Weather { delay: (50, 50), ..Weather::CALM };

/// Sends `bytes` on a stream of its own, and returns when they are there.
async fn bulk(from: &Session, to: &Session, id: u32, bytes: usize) -> Duration {
    let before = Instant::now();
    let (mut out, mut into) =
        (from.get_stream(id).unwrap().into_raw(), to.get_stream(id).unwrap().into_raw());
    let piece = Bytes::from_iter((0..=250_u8).cycle().take(251 * 400));
    let send = async {
        let mut left = bytes;
        while left > 0 {
            let piece = piece.slice(..left.min(piece.len()));
            left -= piece.len();
            out.write_chunk(piece).await.unwrap();
        }
        out.close().await.unwrap();
    };
    let receive = async {
        let mut at = 0;
        while let Some(chunk) = into.read_chunk(usize::MAX).await.unwrap() {
            assert!(chunk.iter().enumerate().all(|(i, byte)| usize::from(*byte) == (at + i) % 251));
            at += chunk.len();
        }
        assert_eq!(at, bytes);
        before.elapsed()
    };
    tokio::join!(receive, send).0
}

/// A fixed window of a connection caps a long path: 2 MiB at 100 ms are 20 MiB/s, whatever the path
/// carries. Ours grows with the sender.
#[tokio::test(start_paused = true)]
async fn the_window_of_a_connection_grows_to_what_the_path_carries() {
    let world = World::new(LONG, 1);
    let (_server, _client, theirs, ours) = world.session().await;
    let took = bulk(&ours, &theirs, 1, 48 << 20).await;
    let fixed = Duration::from_millis(100) * (48 / 2);
    assert!(took < fixed * 2 / 3, "{took:?} instead of {fixed:?}");
}

/// The engine's own ordered reads give a stream up that has more than 1,024 holes at once. Half of
/// one long flight gets lost here.
#[tokio::test(start_paused = true)]
async fn five_thousand_holes_in_one_stream_are_no_trouble() {
    let world = World::new(LONG, 2);
    let (_server, _client, theirs, ours) = world.session().await;
    // So that windows are wide and a flight is long.
    bulk(&ours, &theirs, 1, 64 << 20).await;
    let mut number = 0_usize;
    let lost = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&lost);
    world.rule(move |length| {
        // Every second full datagram of what is sent first.
        if length < 1_000 || number >= 12_000 {
            return true;
        }
        number += 1;
        let lost = number.is_multiple_of(2);
        count.fetch_add(usize::from(lost), std::sync::atomic::Ordering::Relaxed);
        !lost
    });
    bulk(&ours, &theirs, 3, 32 << 20).await;
    let holes = lost.load(std::sync::atomic::Ordering::Relaxed);
    assert!(holes >= 5_000, "{holes}");
}

/// A system without room for a call has taken nothing of it, or a part: the rest has to follow,
/// nothing twice, and the session must not be lost.
#[tokio::test(start_paused = true)]
async fn a_socket_that_is_full_most_of_the_time_loses_nothing() {
    let world = World::new(Weather::CALM, 3);
    world.full(0.7);
    let (_server, _client, theirs, ours) = world.session().await;
    bulk(&ours, &theirs, 1, 2 << 20).await;
    bulk(&theirs, &ours, 3, 2 << 20).await;
}
