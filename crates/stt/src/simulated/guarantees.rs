//! The times in the table of guarantees (docs/sessions.md): when calls end, to the millisecond.
//!
//! What each call promises otherwise is tested by `tests/it/guarantees.rs` over real sockets, under
//! the same names.

use std::{future::Future, net::IpAddr, num::NonZeroU64, time::Duration};

use bytes::Bytes;
use stt_transport::testing::Weather;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};

use super::world::World;
use crate::{
    CloseReason, ConnectError, ConnectOptions, Delivery, Event, EventKind, Mode, Node, NodeBuilder,
    Session, StreamError, StreamOptions,
    delivery::{Chance, Probability},
};

const IDLE: Duration = NodeBuilder::DEFAULT_IDLE_TIMEOUT;
/// Silence is counted from the first packet that was sent into it, a heartbeat later at most.
const GONE: Duration = IDLE.saturating_add(NodeBuilder::DEFAULT_HEARTBEAT);
const DEAD: StreamError = StreamError::SessionEnded(CloseReason::Timeout);
/// The clock has steps of a millisecond, and some take several of them.
const MOMENT: Duration = Duration::from_millis(20);

struct Pair {
    world: World,
    server: Node,
    client: Node,
    theirs: Session,
    ours: Session,
}

impl Pair {
    async fn new(seed: u64) -> Self {
        let world = World::new(Weather::CALM, seed);
        let (server, client, theirs, ours) = world.session().await;
        Self { world, server, client, theirs, ours }
    }

    /// From now on nothing gets through.
    fn cut(&self) {
        self.world.silence([1, 2].map(|host| IpAddr::from([10, 0, 0, host])));
    }
}

/// What comes of a call, and how long it took.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let before = Instant::now();
    (call.await, before.elapsed())
}

#[tokio::test(start_paused = true)]
async fn connect() {
    const PATIENCE: Duration = Duration::from_secs(7);
    for datagrams in 0..8 {
        let world = World::new(Weather::CALM, datagrams);
        let (server, client) =
            (world.node(1, Mode::Server).await, world.node(2, Mode::Client).await);
        let mut left = datagrams;
        world.rule(move |_| {
            let passes = left > 0;
            left = left.saturating_sub(1);
            passes
        });
        let (outcome, took) =
            timed(client.connect_with("10.0.0.1:1", &ConnectOptions::new().timeout(PATIENCE)))
                .await;
        match outcome {
            // The last of its datagrams is the responder's FINAL.
            Ok(session) => assert_eq!(session.closed().await, CloseReason::Timeout),
            Err(error) => {
                assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error}");
                assert_eq!(took, PATIENCE, "{datagrams}");
                assert_eq!(client.stats().sessions.active, 0);
            }
        }
        sleep(GONE).await;
        assert_eq!(server.stats().sessions.active, 0, "{datagrams}");
    }
}

/// What waits for a session ends with it, and what waits for any session does not.
#[tokio::test(start_paused = true)]
async fn whatever_waits_ends_with_the_session() {
    for seed in 0..5 {
        let pair = Pair::new(seed).await;
        let [quiet, full, flushed, closed] = [(); 4].map(|()| pair.ours.open_stream().unwrap());
        let [mut reader, mut writer, mut ending] =
            [(); 3].map(|()| pair.ours.open_stream().unwrap().into_raw());
        let (accepting, receiving) = (pair.server.clone(), pair.server.clone());
        let accepting = tokio::spawn(async move { accepting.accept().await });
        let receiving = tokio::spawn(async move { receiving.receive().await });
        sleep(MOMENT).await;
        pair.cut();
        let before = Instant::now();
        for stream in [&flushed, &closed] {
            stream.send(vec![0; 3 << 20]).await.unwrap();
        }
        while full.try_send(vec![0; 64 << 10]).is_ok() {}
        ending.write_all(&[0; 100]).await.unwrap();
        let mut byte = [0];
        let raw_dead = |error: std::io::Error| error.to_string().contains("the session is over");
        let (ping, receive, send, flush, close, accept, read, write, shut, end) = tokio::join!(
            timed(pair.ours.ping()),
            timed(quiet.receive()),
            timed(full.send(&[0; 64 << 10])),
            timed(flushed.flush()),
            timed(closed.close()),
            timed(pair.ours.accept_stream()),
            timed(reader.read(&mut byte)),
            timed(async {
                loop {
                    if let Err(error) = writer.write_all(&[0; 64 << 10]).await {
                        return error;
                    }
                }
            }),
            timed(ending.shutdown()),
            timed(pair.ours.closed()),
        );
        assert_eq!(end.0, CloseReason::Timeout);
        assert!(before.elapsed() <= GONE, "{:?}", before.elapsed());
        assert_eq!(ping.0.unwrap_err(), DEAD);
        assert_eq!(receive.0.unwrap_err(), DEAD);
        assert_eq!(send.0.unwrap_err(), DEAD);
        assert_eq!(flush.0.unwrap_err(), DEAD);
        assert_eq!(close.0.unwrap_err(), DEAD);
        assert_eq!(accept.0.unwrap_err(), DEAD);
        assert!(
            raw_dead(read.0.unwrap_err()) && raw_dead(write.0) && raw_dead(shut.0.unwrap_err())
        );
        for took in [ping.1, receive.1, send.1, flush.1, close.1, accept.1, read.1, write.1, shut.1]
        {
            assert!(took.abs_diff(end.1) <= MOMENT, "{took:?} of {:?}", end.1);
        }
        // The others wait on, and get what comes next: the session that died was never asked for.
        assert_eq!(pair.theirs.closed().await, CloseReason::Timeout);
        assert!(!accepting.is_finished() && !receiving.is_finished());
        pair.world.silence([]);
        let ours = pair.client.connect("10.0.0.1:1").await.unwrap();
        ours.get_stream(4).unwrap().send(b"next").await.unwrap();
        assert_eq!(accepting.await.unwrap().unwrap().id(), ours.id());
        assert_eq!(receiving.await.unwrap().unwrap().data, &b"next"[..]);
    }
}

#[tokio::test(start_paused = true)]
async fn send_unreliable() {
    let chance = Chance::Stated(Probability::new(0.9).unwrap());
    let ways = [
        Delivery::Datagram,
        Delivery::Deadline(Duration::from_secs(2)),
        Delivery::Probabilistic(chance),
    ];
    for (seed, delivery) in (0..).zip(ways) {
        let pair = Pair::new(seed).await;
        let stream = pair.ours.open_stream_with(&StreamOptions::new().delivery(delivery)).unwrap();
        let there = pair.theirs.get_stream(stream.id()).unwrap();
        pair.world.turn(Weather { loss: 0.2, delay: (5, 40), ..Weather::CALM });
        // After: whole and once, or not at all.
        for number in 0..200_u8 {
            stream.send(&[number; 900]).await.unwrap();
            sleep(Duration::from_millis(10)).await;
        }
        let mut seen = [0; 200];
        while let Ok(message) = timeout(Duration::from_secs(5), there.receive()).await {
            let message = message.unwrap().unwrap();
            assert!(message.len() == 900 && message.iter().all(|byte| *byte == message[0]));
            seen[usize::from(message[0])] += 1;
        }
        assert!(seen.iter().all(|times| *times <= 1), "{delivery:?}: {seen:?}");
        assert!(seen.iter().sum::<u32>() > 100, "{delivery:?}: {seen:?}");
        // During: taken, and nobody hears what became of it.
        pair.cut();
        let (sent, took) = timed(stream.send(&[0; 900])).await;
        assert_eq!(sent, Ok(()), "{delivery:?}");
        assert!(took <= MOMENT, "{delivery:?}: {took:?}");
        assert_eq!(pair.ours.closed().await, CloseReason::Timeout);
        // Before.
        assert_eq!(stream.send(&[0; 900]).await.unwrap_err(), DEAD, "{delivery:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_late_is_given_up_on_its_way() {
    let pair = Pair::new(7).await;
    pair.world.turn(Weather { delay: (50, 50), ..Weather::CALM });
    let within = |time| StreamOptions::new().delivery(Delivery::Deadline(time)).id(9);
    let there = pair.theirs.get_stream(9).unwrap();
    // Half of it is under way by then, and none has arrived.
    let stream = pair.ours.open_stream_with(&within(Duration::from_millis(40))).unwrap();
    stream.send(vec![1; 500_000]).await.unwrap();
    sleep(Duration::from_millis(45)).await;
    assert_eq!(stream.delivery_stats().late, 1);
    let stream = pair.ours.open_stream_with(&within(Duration::from_secs(10))).unwrap();
    stream.send(b"in time").await.unwrap();
    assert_eq!(there.receive().await.unwrap().unwrap(), "in time");
}

#[tokio::test(start_paused = true)]
async fn a_message_with_a_deadline_goes_out_as_the_bandwidth_allows() {
    let world = World::new(Weather::CALM, 9);
    let server = world.node(1, Mode::Server).await;
    let limited = |builder: NodeBuilder| builder.session_bandwidth(NonZeroU64::new(50_000));
    let client = world.node_with(2, Mode::Client, limited).await;
    let ours = client.connect("10.0.0.1:1").await.unwrap();
    let delivery = Delivery::Deadline(Duration::from_secs(10));
    let stream = ours.open_stream_with(&StreamOptions::new().delivery(delivery)).unwrap();
    let received = || server.stats().udp_transport.bytes_received;
    // Nothing else is under way that could carry it along.
    sleep(Duration::from_secs(5)).await;
    let before = received();
    stream.send(vec![1; 100_000]).await.unwrap();
    for second in 1..=2 {
        sleep(Duration::from_secs(1)).await;
        let came = received() - before;
        let expected = 50_000 * second;
        assert!(came.abs_diff(expected) < 20_000, "{came} bytes after {second} s");
    }
}

#[tokio::test(start_paused = true)]
async fn send_to_all() {
    let pair = Pair::new(1).await;
    let third = pair.world.node(3, Mode::Client).await;
    let other = third.connect("10.0.0.1:1").await.unwrap();
    pair.world.silence([IpAddr::from([10, 0, 0, 2])]);
    let message = Bytes::from(vec![0; 256 << 10]);
    let reading = tokio::spawn(async move {
        let there = other.get_stream(9).unwrap();
        let mut messages = 0;
        while there.receive().await.is_ok_and(|message| message.is_some()) {
            messages += 1;
        }
        messages
    });
    // During: it never waits. The dead one is full soon, and the other has all of it.
    let (mut taken, mut full, before) = (0, 0, Instant::now());
    for _ in 0..40 {
        let (report, took) =
            timed(async { pair.server.try_send_to_all_on(9, message.clone()) }).await;
        assert_eq!(took, Duration::ZERO);
        assert!(report.failed.is_empty());
        match report.full.as_slice() {
            [] => taken += 1,
            [id] => {
                assert_eq!(*id, pair.theirs.id());
                full += 1;
            }
            more => panic!("{more:?}"),
        }
        sleep(Duration::from_millis(500)).await;
    }
    assert!(taken > 0 && full > 20, "{taken} taken, {full} full");
    // Before: as soon as it is over, it is not among them.
    assert_eq!(pair.theirs.closed().await, CloseReason::Timeout);
    assert!(before.elapsed() <= GONE);
    let report = pair.server.try_send_to_all_on(9, message);
    assert_eq!((report.sent, report.failed.len(), report.full.len()), (1, 0, 0));
    pair.server.stop_within(Duration::from_secs(5)).await;
    assert_eq!(reading.await.unwrap(), 41);
}

/// Ends a pair in which the path is dead and messages wait: for the network at our end, and for the
/// application there.
async fn at_the_end(seed: u64, end: impl AsyncFnOnce(&Pair)) -> (Pair, Duration) {
    let pair = Pair::new(seed).await;
    let there = pair.theirs.open_stream().unwrap();
    for _ in 0..40 {
        // Nobody reads this.
        let _ = there.try_send(vec![0; 64 << 10]);
    }
    sleep(Duration::from_secs(1)).await;
    let here = pair.ours.open_stream().unwrap();
    pair.cut();
    here.send(vec![0; 3 << 20]).await.unwrap();
    let ((), took) = timed(end(&pair)).await;
    (pair, took)
}

#[tokio::test(start_paused = true)]
async fn close_session() {
    for seed in 0..5 {
        let (pair, took) = at_the_end(seed, async |pair| pair.ours.close("enough").await).await;
        assert!(took <= Session::CLOSE_PATIENCE + MOMENT, "{took:?}");
        let said = CloseReason::Closed { by_peer: false, text: "enough".into() };
        assert_eq!(pair.ours.close_reason(), Some(said.clone()));
        // Before: at once, and the first reason stays.
        assert!(timed(pair.ours.close("again")).await.1 <= MOMENT);
        assert_eq!(pair.ours.close_reason(), Some(said));
        let (there, took) = timed(pair.theirs.closed()).await;
        assert_eq!(there, CloseReason::Timeout);
        assert!(took <= GONE, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stop() {
    for patience in [0, 50, 3_000, 20_000].map(Duration::from_millis) {
        let (pair, took) =
            at_the_end(1, async |pair| pair.client.stop_within(patience).await).await;
        assert!(took <= patience + Duration::from_secs(1) + MOMENT, "{patience:?}: {took:?}");
        let ended = pair.ours.close_reason();
        assert_eq!(ended, Some(CloseReason::Shutdown { by_peer: false }), "{patience:?}");
        assert_eq!(pair.client.receive().await, None);
        // Before: there is nothing left to do.
        assert!(timed(pair.client.stop_within(patience)).await.1 <= MOMENT);
        assert_eq!(pair.theirs.closed().await, CloseReason::Timeout);
    }
    // Nothing waits: no patience is needed.
    let pair = Pair::new(1).await;
    let ((), took) = timed(pair.client.stop_within(Duration::from_secs(60))).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert_eq!(pair.theirs.closed().await, CloseReason::Shutdown { by_peer: true });
}

/// A peer that is gone is told of before its session ends, and one that has nothing to say is not.
#[tokio::test(start_paused = true)]
async fn missed_heartbeats_are_told_before_the_timeout() {
    for (seed, busy) in [(0, false), (1, true)] {
        let pair = Pair::new(seed).await;
        let missed = pair.client.events().subscribe(EventKind::HeartbeatMissed).unwrap();
        let mut closed = pair.client.events().subscribe(EventKind::SessionClosed).unwrap();
        sleep(20 * IDLE).await;
        assert!(pair.ours.close_reason().is_none());
        pair.cut();
        let before = Instant::now();
        if busy {
            pair.ours.open_stream().unwrap().send(vec![0; 100]).await.unwrap();
        }
        let mut missed = missed;
        let first = missed.next().await.unwrap();
        let told = before.elapsed();
        assert!(told < IDLE, "{told:?}");
        let Event::HeartbeatMissed { session_id, peer, missed: count, silence } = *first else {
            panic!("{first:?}")
        };
        assert_eq!((session_id, peer), (pair.ours.id(), pair.server.node_id()));
        assert_eq!(count, 1);
        // It began before the cut, a heartbeat at most.
        let heartbeat = NodeBuilder::DEFAULT_HEARTBEAT;
        assert!(silence > heartbeat && silence <= told + heartbeat, "{silence:?} of {told:?}");
        closed.next().await.unwrap();
        assert!(before.elapsed() > told);
        assert_eq!(pair.ours.close_reason(), Some(CloseReason::Timeout));
    }
}
