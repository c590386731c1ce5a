//! Delivery modes, priorities and frames over real sessions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use crate::common;
use crate::path;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use stt::{
    ContentId, Delivery, Event, EventEmitter, EventKind, FrameDispatcher, FrameError, Mode,
    Priority, Session, SessionPool, StreamError, StreamOptions,
    delivery::{Chance, EntropyThresholds, OverheadCap},
    dispatch::{Carrier, DispatchError, Frame},
};

const ID: u32 = 70;

fn options(delivery: Delivery) -> StreamOptions {
    StreamOptions::new().id(ID).delivery(delivery)
}

/// Sends numbered messages of many lengths one way and returns what arrived.
async fn through(
    from: &Session,
    to: &Session,
    delivery: Delivery,
    lengths: &[usize],
) -> Vec<Bytes> {
    let receiver = to.get_stream(ID).unwrap();
    let sender = from.open_stream_with(&options(delivery)).unwrap();
    assert_eq!(sender.delivery(), delivery);
    for (number, length) in lengths.iter().enumerate() {
        let byte = u8::try_from(number % 251).unwrap();
        sender.send(vec![byte; *length]).await.unwrap();
    }
    let mut got = Vec::new();
    while got.len() < lengths.len() {
        let next = tokio::time::timeout(Duration::from_secs(10), receiver.receive()).await;
        got.push(next.expect("a message was lost on a path that loses none").unwrap().unwrap());
    }
    got
}

#[tokio::test]
async fn every_mode_delivers_whole_messages_on_a_good_path() {
    let (server, client, theirs, ours) = common::session().await;
    let lengths = [0, 1, 100, 1_000, 1_100];
    let modes = [
        Delivery::Reliable,
        Delivery::Datagram,
        Delivery::probabilistic(0.99).unwrap(),
        Delivery::Probabilistic(Chance::FromEntropy(EntropyThresholds::default())),
        Delivery::Deadline(Duration::from_secs(10)),
    ];
    for mode in modes {
        let mut got: Vec<usize> =
            through(&ours, &theirs, mode, &lengths).await.iter().map(Bytes::len).collect();
        got.sort_unstable();
        assert_eq!(got, lengths, "{mode:?}");
    }
    let long = [200_000, 200_001];
    for mode in [Delivery::probabilistic(0.99).unwrap(), Delivery::Deadline(Duration::MAX)] {
        let got = through(&ours, &theirs, mode, &long).await;
        assert_eq!(got.iter().map(Bytes::len).sum::<usize>(), 400_001, "{mode:?}");
    }
    let stats = ours.get_stream(ID).unwrap().delivery_stats();
    let plan = stats.last_plan.unwrap();
    assert!(plan.probability >= 0.99 && plan.shortfall.is_none(), "{plan:?}");
    assert!(stats.repair_packets > 0 && stats.late == 0);
    assert_eq!(theirs.stats().repair.delivered, 5 + 5 + 2);
    drop((server, client));
}

#[tokio::test]
async fn a_sender_is_told_when_the_cap_does_not_allow_the_probability() {
    let events = EventEmitter::new();
    let mut told = events.subscribe(EventKind::Warning).unwrap();
    let seed = common::seed();
    let server = common::builder(&seed).start(Mode::Server).await.unwrap();
    let client = common::builder(&seed).events(events.clone()).start(Mode::Client).await.unwrap();
    let ours = common::connect(&client, &server).await;
    let wanted = Delivery::probabilistic(0.999).unwrap();
    let capped = options(wanted).overhead_cap(OverheadCap::new(0.0).unwrap());
    let stream = ours.open_stream_with(&capped).unwrap();
    for _ in 0..3 {
        stream.send(&[1; 5_000]).await.unwrap();
    }
    let stats = stream.delivery_stats();
    assert_eq!((stats.messages, stats.shortfalls, stats.repair_packets), (3, 3, 0));
    let plan = stats.last_plan.unwrap();
    assert_eq!(plan.shortfall.unwrap().get(), 0.999);
    assert!(plan.probability < 0.999, "{plan:?}");
    let warning = told.next().await.unwrap();
    let Event::Warning { code, details } = &*warning else { panic!("{warning:?}") };
    assert_eq!(*code, "delivery.shortfall");
    assert!(details.contains("0.999") && details.contains(&ID.to_string()), "{details}");
    // Only the first of a row; a message that goes out as asked ends the row.
    events.emit_and_wait(Event::Warning { code: "mark", details: String::new() }).await;
    let next = told.next().await.unwrap();
    assert!(matches!(&*next, Event::Warning { code: "mark", .. }), "{next:?}");
}

#[tokio::test]
async fn what_a_mode_cannot_carry_is_refused() {
    let (_server, _client, _theirs, ours) = common::session().await;
    let stream = ours.open_stream_with(&options(Delivery::Datagram)).unwrap();
    let long = vec![0; 100_000];
    assert!(matches!(stream.send(&long).await, Err(StreamError::FrameTooLarge { .. })));
    let deadline = options(Delivery::Deadline(Duration::from_secs(1)));
    let stream = ours.open_stream_with(&deadline).unwrap();
    let longer = vec![0; 2 << 20];
    assert!(matches!(stream.send(&longer).await, Err(StreamError::FrameTooLarge { .. })));
}

#[tokio::test]
async fn messages_in_no_order_reach_the_node_when_nobody_claims_the_stream() {
    let (server, _client, _theirs, ours) = common::session().await;
    let stream = ours.open_stream_with(&options(Delivery::Datagram)).unwrap();
    stream.send(b"before anybody receives").await.unwrap();
    let packet = server.receive().await.unwrap();
    assert_eq!((packet.stream_id, &packet.data[..]), (ID, &b"before anybody receives"[..]));
    stream.send(b"and after").await.unwrap();
    assert_eq!(server.receive().await.unwrap().data, "and after");
}

#[tokio::test]
async fn a_message_whose_deadline_has_passed_is_not_sent_and_counts() {
    let (server, client, theirs, ours) = common::session().await;
    let receiver = theirs.get_stream(ID).unwrap();
    let late = options(Delivery::Deadline(Duration::ZERO));
    let stream = ours.open_stream_with(&late).unwrap();
    for _ in 0..3 {
        let error = stream.send(vec![1; 500_000]).await.unwrap_err();
        assert!(matches!(error, StreamError::Late { .. }));
    }
    while stream.delivery_stats().late < 3 {
        tokio::task::yield_now().await;
    }
    let in_time = options(Delivery::Deadline(Duration::from_secs(10)));
    ours.open_stream_with(&in_time).unwrap().send(b"in time").await.unwrap();
    assert_eq!(receiver.receive().await.unwrap().unwrap(), "in time");
    drop((server, client));
}

/// Whatever the application does before it dispatches frames, they are for the dispatcher.
#[tokio::test]
async fn frames_wait_for_their_dispatcher() {
    let (server, _client, theirs, ours) = common::session().await;
    let ordinary = ours.open_stream().unwrap();
    for number in 0..3_u8 {
        ours.send_frame(0x80, &[number]).await.unwrap();
        ordinary.send(&[number]).await.unwrap();
    }
    ours.ping().await.unwrap();
    for number in 0..3_u8 {
        let packet = server.receive().await.unwrap();
        assert_eq!((packet.stream_id, &packet.data[..]), (ordinary.id(), &[number][..]));
    }
    let other = ours.open_stream().unwrap();
    other.send(b"not a frame").await.unwrap();
    let mut accepted = theirs.accept_stream().await.unwrap();
    if accepted.id() == ordinary.id() {
        accepted = theirs.accept_stream().await.unwrap();
    }
    assert_eq!(accepted.id(), other.id());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (note, dispatcher) = (Arc::clone(&seen), FrameDispatcher::new());
    dispatcher
        .register_handler(0x80, move |frame: Frame| {
            note.lock().unwrap().push(frame.payload[0]);
            std::future::ready(())
        })
        .unwrap();
    let task = theirs.dispatch_frames(&dispatcher).unwrap();
    while seen.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2]);
    drop(task);
}

#[tokio::test]
async fn frames_reach_their_handlers_over_both_carriers_and_unknown_ones_end_nothing() {
    let (_server, _client, theirs, ours) = common::session().await;
    let dispatcher = FrameDispatcher::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    dispatcher
        .register_handler(0x80, move |frame: Frame| {
            note.lock().unwrap().push((frame.carrier, frame.session_id, frame.payload));
            async {}
        })
        .unwrap();
    for number in 0..100_u8 {
        ours.send_frame(0x80, &[number]).await.unwrap();
    }
    ours.send_frame(0x81, b"nobody knows this type").await.unwrap();
    ours.send_frame_datagram(0x80, b"datagram").await.unwrap();
    let reserved = FrameError::Dispatch(DispatchError::Reserved { frame_type: 0x7f });
    assert_eq!(ours.send_frame(0x7f, b"x").await, Err(reserved.clone()));
    assert_eq!(ours.send_frame_datagram(0x7f, b"x").await, Err(reserved));
    let task = theirs.dispatch_frames(&dispatcher).unwrap();
    while dispatcher.stats().handled < 101 || dispatcher.stats().unknown < 1 {
        tokio::task::yield_now().await;
    }
    {
        let seen = seen.lock().unwrap();
        assert!(seen.iter().all(|(_, session, _)| *session == Some(theirs.id())));
        let ordered: Vec<u8> = seen
            .iter()
            .filter(|(carrier, ..)| *carrier == Carrier::Stream)
            .map(|(.., payload)| payload[0])
            .collect();
        assert_eq!(ordered, (0..100).collect::<Vec<u8>>());
        assert_eq!(seen.iter().filter(|(carrier, ..)| *carrier == Carrier::Datagram).count(), 1);
    }
    ours.close("done").await;
    task.ended().await;
}

#[tokio::test]
async fn frames_in_datagrams_that_nobody_dispatches_are_bounded_and_the_newest_are_dropped() {
    const KEPT: u16 = 1_024;
    const SENT: u16 = 1_100;
    let (_server, _client, theirs, ours) = common::session().await;
    for number in 0..SENT {
        ours.send_frame_datagram(0x80, &number.to_be_bytes()).await.unwrap();
    }
    let wait = async {
        while theirs.stats().dropped_messages < u64::from(SENT - KEPT) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    let dispatcher = FrameDispatcher::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    dispatcher
        .register_handler(0x80, move |frame: Frame| {
            note.lock().unwrap().push(u16::from_be_bytes([frame.payload[0], frame.payload[1]]));
            async {}
        })
        .unwrap();
    let task = theirs.dispatch_frames(&dispatcher).unwrap();
    while dispatcher.stats().handled < u64::from(KEPT) {
        tokio::task::yield_now().await;
    }
    ours.close("done").await;
    task.ended().await;
    assert_eq!(*seen.lock().unwrap(), (0..KEPT).collect::<Vec<u16>>());
    assert_eq!(theirs.stats().dropped_messages, u64::from(SENT - KEPT));
}

/// A path with this many bytes a second, a queue of so many packets of Ethernet's size, and random
/// loss on the way there.
async fn narrow_path(
    to: std::net::SocketAddr,
    rate: f64,
    queue: usize,
    loss: f64,
) -> std::net::SocketAddr {
    let room = queue;
    let outside = Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let inside = Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = outside.local_addr().unwrap();
    let client = Arc::new(Mutex::new(to));
    for (from, over, inbound) in
        [(outside.clone(), inside.clone(), true), (inside.clone(), outside.clone(), false)]
    {
        let (queue, mut waiting) = tokio::sync::mpsc::channel::<Vec<u8>>(room);
        let client = Arc::clone(&client);
        let seen = Arc::clone(&client);
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            let mut random = fastrand::Rng::with_seed(11);
            while let Ok((length, sender)) = from.recv_from(&mut buffer).await {
                if inbound {
                    *seen.lock().unwrap() = sender;
                }
                if length <= 1_472 && !(inbound && random.f64() < loss) {
                    let _ = queue.try_send(buffer[..length].to_vec());
                }
            }
        });
        tokio::spawn(async move {
            let mut free = tokio::time::Instant::now();
            while let Some(packet) = waiting.recv().await {
                free = free.max(tokio::time::Instant::now());
                free += Duration::from_secs_f64(packet.len() as f64 / rate);
                // Finer than the timer is not worth a sleep.
                if free > tokio::time::Instant::now() + Duration::from_millis(1) {
                    tokio::time::sleep_until(free).await;
                }
                let target = if inbound { to } else { *client.lock().unwrap() };
                let _ = over.send_to(&packet, target).await;
            }
        });
    }
    address
}

/// Nodes that take the path for what it is made to be: one that carries what Ethernet carries.
async fn ethernet_nodes() -> (stt::Node, stt::Node) {
    let seed = common::seed();
    let start = |mode| common::builder(&seed).max_mtu(1_452).start(mode);
    (start(stt::Mode::Server).await.unwrap(), start(stt::Mode::Client).await.unwrap())
}

/// Round trips of small messages, beside a bulk transfer of priority 500 or alone: the median of
/// `count`.
async fn round_trip(bulk: bool, urgent: Priority, count: usize) -> Duration {
    let (server, client) = ethernet_nodes().await;
    let path = narrow_path(server.local_addr(), f64::from(2 << 20), 45, 0.0).await;
    let ours = client.connect(&path.to_string()).await.unwrap();
    let theirs = common::other_end(&server, &ours).await;
    let stream = ours.open_stream().unwrap();
    let sink = theirs.get_stream(stream.id()).unwrap();
    let sending = tokio::spawn(async move {
        let block = Bytes::from(vec![7; 256 << 10]);
        while bulk && stream.send(block.clone()).await.is_ok() {}
    });
    let draining = tokio::spawn(async move { while let Ok(Some(_)) = sink.receive().await {} });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let small = ours.open_stream_with(&StreamOptions::new().id(ID).priority(urgent)).unwrap();
    assert_eq!(small.priority(), urgent);
    let echo = theirs.get_stream(ID).unwrap();
    let echoing = tokio::spawn(async move {
        while let Ok(Some(message)) = echo.receive().await {
            echo.send(&message).await.unwrap();
        }
    });
    let mut times = Vec::new();
    for _ in 0..count {
        let before = Instant::now();
        small.send(b"urgent").await.unwrap();
        let _ = tokio::time::timeout(Duration::from_secs(2), small.receive()).await;
        times.push(before.elapsed());
    }
    for task in [sending, draining, echoing] {
        drop(task);
    }
    // Nothing went around the narrow path.
    assert_eq!(ours.remote_address(), path);
    ours.abort("measured");
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "heavy: seconds of a full path, to measure latency beside a bulk transfer"]
async fn an_urgent_message_overtakes_a_bulk_transfer() {
    let alone = round_trip(false, Priority::HIGHEST, 30).await;
    let high = round_trip(true, Priority::HIGHEST, 30).await;
    let equal = round_trip(true, Priority::default(), 30).await;
    let low = round_trip(true, Priority::LOWEST, 3).await;
    println!(
        "echo on a path of 2 MiB/s: {alone:?} alone; beside a bulk transfer of priority 500 {high:?} \
         at 1000, {equal:?} at 500, {low:?} at 0 (2 s: not in time)"
    );
    assert!(high < low / 4, "{high:?} {low:?}");
}

#[tokio::test]
async fn on_a_lossy_path_the_loss_is_measured_and_messages_are_repaired() {
    const MESSAGES: u32 = 300;
    let (server, client) = ethernet_nodes().await;
    let path = narrow_path(server.local_addr(), f64::from(100 << 20), 4_096, 0.05).await;
    let ours = client.connect(&path.to_string()).await.unwrap();
    let theirs = common::other_end(&server, &ours).await;
    let receiver = theirs.get_stream(ID).unwrap();
    let counting = tokio::spawn(async move {
        let mut arrived = std::collections::HashSet::new();
        while arrived.len() < MESSAGES as usize
            && let Ok(Ok(Some(message))) =
                tokio::time::timeout(Duration::from_secs(3), receiver.receive()).await
        {
            assert!(message[4..].iter().all(|byte| *byte == message[3]));
            assert!(arrived.insert(message.slice(..4)), "twice");
        }
        arrived.len()
    });
    let sender = ours.open_stream_with(&options(Delivery::probabilistic(0.99).unwrap())).unwrap();
    for number in 0..MESSAGES {
        let mut message = number.to_be_bytes().to_vec();
        message.resize(12_000, message[3]);
        sender.send(&message).await.unwrap();
    }
    let arrived = counting.await.unwrap();
    assert_eq!(ours.remote_address(), path, "nothing went around the lossy path");
    let (stats, quic) = (sender.delivery_stats(), ours.stats());
    let plan = stats.last_plan.unwrap();
    println!("{arrived} of {MESSAGES} arrived, {plan:?}, {} packets lost", quic.packets_lost);
    // How often messages arrive is shown by simulation (tests/it/delivery.rs); here the parts
    // are shown to be joined. A busy machine adds losses of its own to the 5 %, so any number will do.
    assert!(arrived > 0);
    assert!(theirs.stats().repair.repaired > 0, "nothing was lost, so nothing was shown");
    assert!((2..=11).contains(&plan.repair), "{plan:?}");
}

#[tokio::test]
async fn adaptive_priorities_can_be_observed() {
    let (_server, _client, _theirs, ours) = common::session().await;
    let stream = ours.open_stream_with(&StreamOptions::new().adaptive_priority()).unwrap();
    assert_eq!(stream.priority_report(), None);
    stream.send(b"new").await.unwrap();
    let first = stream.priority_report().unwrap();
    stream.send(b"new").await.unwrap();
    let again = stream.priority_report().unwrap();
    assert_eq!((first.uniqueness, again.uniqueness), (1.0, 0.5));
    ours.content_accessed(&ContentId::of(b"new"));
    stream.send(b"new").await.unwrap();
    let accessed = stream.priority_report().unwrap();
    assert!(accessed.recency > 0.9 && again.recency == 0.0);
    assert_eq!(stream.priority(), accessed.priority);
}

#[tokio::test]
async fn adaptive_priorities_know_affinity_and_congestion_of_the_session() {
    let seed = common::seed();
    let server = common::builder(&seed).start(Mode::Server).await.unwrap();
    let client = common::builder(&seed).start(Mode::Client).await.unwrap();
    let relay = path::Relay::start(server.local_addr()).await;
    let ours = client.connect(&relay.address.to_string()).await.unwrap();
    let stream = ours.open_stream_with(&StreamOptions::new().adaptive_priority()).unwrap();
    let report = async |message: &[u8]| {
        stream.send(message).await.unwrap();
        stream.priority_report().unwrap()
    };
    let before = report(b"before").await;
    assert_eq!(before.affinity, 0.5, "nothing is known");
    // Two of three: a hit, over the one and one that stand for not knowing.
    let pool = SessionPool::new(client.clone());
    pool.report(&ContentId::from_bytes([1; 32]), ours.id(), true);
    let liked = report(b"liked").await;
    assert_eq!(liked.affinity, 2.0 / 3.0);
    pool.report(&ContentId::from_bytes([2; 32]), ours.id(), false);
    pool.report(&ContentId::from_bytes([3; 32]), ours.id(), false);
    let disliked = report(b"disliked").await;
    assert_eq!(disliked.affinity, 2.0 / 5.0);
    // What a queue does to the round trip: it takes longer than it could.
    relay.set_delay(Duration::from_millis(25));
    let wait = async {
        let mut number = 0_u64;
        loop {
            number += 1;
            ours.ping().await.unwrap();
            let slowed = report(&number.to_be_bytes()).await;
            if slowed.congestion > 0.8 && slowed.priority > disliked.priority {
                return slowed;
            }
        }
    };
    let slowed = tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    // A new content has merit above the middle here, and a full path spreads merits.
    assert_eq!((slowed.uniqueness, slowed.affinity), (1.0, disliked.affinity));
    assert!(slowed.congestion > disliked.congestion, "{slowed:?} {disliked:?}");
    assert_eq!(stream.priority(), slowed.priority);
}
