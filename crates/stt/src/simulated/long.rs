//! Sessions that live for days.

use std::time::Duration;

use stt_transport::testing::Weather;
use tokio::time::sleep;

use super::world::World;
use crate::Session;

const HOUR: Duration = Duration::from_secs(3600);

/// A message each way.
async fn talk(theirs: &Session, ours: &Session) {
    for (from, to) in [(theirs, ours), (ours, theirs)] {
        from.get_stream(1).unwrap().send(b"still there").await.unwrap();
        let message = to.get_stream(1).unwrap().receive().await.unwrap();
        assert_eq!(message.as_deref(), Some(b"still there".as_slice()));
    }
}

/// How often the keys of both sides were updated, and how often a new exchange went into them.
fn keys(theirs: &Session, ours: &Session) -> (u64, u64) {
    let [theirs, ours] = [theirs, ours].map(|session| &session.shared().renewal);
    assert_eq!(theirs.done(), ours.done());
    assert!(theirs.generation().abs_diff(ours.generation()) <= 1);
    (ours.generation(), ours.done())
}

/// Nobody says anything for three days; only signs of life keep the session.
#[tokio::test(start_paused = true)]
async fn a_quiet_session_gets_new_keys_every_hour_and_fresh_ones_every_day() {
    let world = World::new(Weather::CALM, 1);
    let (_server, _client, theirs, ours) = world.session().await;
    talk(&theirs, &ours).await;
    for day in 1..=3 {
        sleep(24 * HOUR).await;
        let (updates, fresh) = keys(&theirs, &ours);
        // Each side updates when an hour has passed for it, whatever the other one did.
        assert!((24 * day..=60 * day).contains(&updates), "{updates} in {day} days");
        assert!(fresh >= day, "{fresh} in {day} days");
        talk(&theirs, &ours).await;
    }
}

/// The same on a path that loses a fifth and dies for a while now and then.
#[tokio::test(start_paused = true)]
async fn bad_weather_parts_no_keys() {
    for seed in 0..4 {
        let calm = Weather { loss: 0.02, ..Weather::CALM };
        let storm = Weather { loss: 0.2, delay: (5, 60), hole: (50_000, 60_000), ..Weather::CALM };
        let world = World::new(calm, seed);
        let (_server, _client, theirs, ours) = world.session().await;
        for hour in 1..=50 {
            world.turn(if hour % 2 == 0 { calm } else { storm });
            sleep(HOUR).await;
            talk(&theirs, &ours).await;
        }
        let (updates, fresh) = keys(&theirs, &ours);
        assert!(updates >= 50 && fresh >= 3, "{updates} updates, {fresh} renewals");
    }
}

/// The engine updates by itself before a key has sealed as many packets as it may: first after ten
/// to a thousand packets, then 10,000 before the limit.
#[tokio::test(start_paused = true)]
async fn keys_are_updated_by_packets() {
    let world = World::new(Weather::CALM, 3);
    let (_server, _client, theirs, ours) = world.session().await;
    assert_eq!(keys(&theirs, &ours), (0, 0));
    let (from, to) = (ours.get_stream(1).unwrap(), theirs.get_stream(1).unwrap());
    for _ in 0..60 {
        from.send(&[7; 64 << 10]).await.unwrap();
        to.receive().await.unwrap().unwrap();
    }
    assert!(keys(&theirs, &ours).0 >= 1);
}
