//! Many streams, events to many, a service's answers, and the window of a stream in both
//! directions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use serde_json::{Value, json};
use stt_streams::{
    BidirectionalStream, Coded, EventBroadcaster, FileOperation, FileOperationEvent, HealthEvent,
    PeerChange, PeerEvent, StreamConfig, StreamManager, StreamMultiplexer, StreamingService,
    StreamsError, StreamsHealth, SystemChange, SystemEvent, Trigger, channel,
};

fn manager(set: impl FnOnce(StreamConfig) -> StreamConfig) -> StreamManager {
    StreamManager::new(set(StreamConfig::new())).unwrap()
}

/// Looks until it holds; the clock is paused, so waiting costs nothing.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(holds(), "{what}");
}

fn connected(
    left: &StreamManager,
    right: &StreamManager,
    id: &str,
) -> (BidirectionalStream, BidirectionalStream) {
    let (here, there) = channel::pair();
    let ours = left.new_bidirectional_stream(id, here).unwrap();
    (ours, right.new_bidirectional_stream(id, there).unwrap())
}

#[tokio::test(start_paused = true)]
async fn one_of_many_streams_that_stalls_fails_no_broadcast_to_the_others() {
    let small = |config: StreamConfig| config.buffer_size(16).backpressure_limit(8);
    let (left, right) = (manager(small), manager(small));
    let many = StreamMultiplexer::new();
    let mut theirs = Vec::new();
    for at in 0..10 {
        let (ours, their) = connected(&left, &right, &format!("s{at}"));
        many.add_stream(&format!("s{at}"), ours.stream().clone()).unwrap();
        theirs.push(their);
    }
    let taken = many.add_stream("s0", left.create_stream("other").unwrap());
    assert!(matches!(taken, Err(StreamsError::AlreadyExists { .. })), "{taken:?}");

    let mut refused = 0;
    for message in 0..100 {
        let results = many.broadcast_message(message.to_string());
        assert_eq!(results.len(), 10);
        for (id, result) in results {
            match result {
                Ok(()) => {}
                Err(StreamsError::Backpressure { .. }) if id == "s0" => refused += 1,
                Err(error) => assert_eq!(Ok(()), Err(error), "{id}"),
            }
        }
        // All but the first are read.
        for their in &theirs[1..] {
            assert_eq!(their.receive().await.unwrap(), message.to_string());
        }
    }
    assert!(refused > 50, "{refused}");
    let stats = many.get_stats();
    assert!(stats["s0"].backpressure && !stats["s5"].backpressure, "{stats:?}");

    let alone = many.remove_stream("s5").unwrap();
    assert_eq!(many.get_stream("s5").unwrap_err(), StreamsError::NotFound { id: "s5".into() });
    assert_eq!(many.get_stream("s6").unwrap().id(), "s6");
    // It is given back, not closed.
    alone.send_message("still").await.unwrap();
    assert_eq!(theirs[5].receive().await.unwrap(), "still");
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_is_slow_misses_the_oldest_and_knows_how_many() {
    let events = EventBroadcaster::new(8);
    assert_eq!(events.emit(0), 0);
    let mut slow = events.subscribe("slow").unwrap();
    let mut quick = events.subscribe("quick").unwrap();
    assert!(matches!(events.subscribe("slow"), Err(StreamsError::AlreadyExists { .. })));
    assert!(matches!(events.subscribe(""), Err(StreamsError::Id { .. })));
    for event in 1..=20 {
        assert_eq!(events.emit(event), 2);
        assert_eq!(*quick.next().await.unwrap(), event);
    }
    assert_eq!((*slow.next().await.unwrap(), slow.missed()), (13, 12));
    assert_eq!(quick.missed(), 0);

    // What waits is still received, then it is over.
    events.unsubscribe("slow").unwrap();
    assert_eq!(*slow.next().await.unwrap(), 14);
    let rest: Vec<_> = slow.into_stream().map(|event| *event).collect().await;
    assert_eq!(rest, [15, 16, 17, 18, 19, 20]);
    assert!(matches!(events.unsubscribe("slow"), Err(StreamsError::NotFound { .. })));
    assert_eq!(events.subscribers(), 1);
    drop(quick);
    assert_eq!(events.subscribers(), 0);
    // The name is free again.
    let mut again = events.subscribe("quick").unwrap();
    events.close();
    assert_eq!(again.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_subscribers_get_every_event() {
    let events = Arc::new(EventBroadcaster::new(1_024));
    let mut reading = tokio::task::JoinSet::new();
    for at in 0..1_000 {
        let mut own = events.subscribe(&format!("subscriber-{at}")).unwrap();
        reading.spawn(async move {
            let mut sum = 0;
            while let Some(event) = own.next().await {
                sum += *event;
            }
            (sum, own.missed())
        });
    }
    for event in 1..=100_u64 {
        assert_eq!(events.emit(event), 1_000);
    }
    events.close();
    while let Some(done) = reading.join_next().await {
        assert_eq!(done.unwrap(), (5_050, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_answers_with_exactly_the_fields_of_the_format() {
    let service = StreamingService::new(manager(|config| config));
    let manager = service.manager().clone();
    for at in 0..9 {
        manager.create_stream(&format!("s{at}")).unwrap();
    }
    let (broken, gone) = channel::pair();
    let broken = manager.create_stream_over("broken", broken).unwrap();
    gone.cut();
    until("the tenth stream fails", || broken.ended().is_some()).await;
    let mut files = service.subscribe_to_file_operation_events("subscriber-1").unwrap();
    let again = service.subscribe_to_file_operation_events("subscriber-1");
    assert!(matches!(again, Err(StreamsError::AlreadyExists { .. })));
    // Each kind has names of its own.
    let mut peers = service.subscribe_to_peer_events("subscriber-1").unwrap();
    let mut system = service.subscribe_to_system_events("subscriber-1").unwrap();
    let mut health = service.subscribe_to_health_events("subscriber-1").unwrap();

    let mut report = serde_json::to_value(service.health_check()).unwrap();
    let timestamp = report["timestamp"].take();
    assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
    assert_eq!(
        report,
        json!({
            "status": "healthy", "total_streams": 10, "healthy_streams": 9, "subscribers": 4,
            "timestamp": null,
        })
    );
    manager.get_stream("s0").unwrap().try_send_message("waits").unwrap();
    let stats = serde_json::to_value(service.get_stream_stats()).unwrap();
    assert_eq!((&stats["active_streams"], &stats["subscribers"]), (&json!(9), &json!(4)));
    let mut one = stats["streams"]["s0"].clone();
    assert!(one["last_activity"].take().as_str().unwrap().ends_with('Z'));
    assert!(one["uptime"].take().as_str().unwrap().ends_with('s'));
    assert_eq!(
        one,
        json!({
            "id": "s0", "buffer_size": 1, "max_buffer": 1000, "retry_count": 0,
            "last_activity": null, "backpressure": false, "healthy": true, "uptime": null,
        })
    );
    assert_eq!(stats["streams"]["broken"]["healthy"], Value::Bool(false));

    let upload = FileOperationEvent::new(FileOperation::Upload, "a/b", "stored");
    assert_eq!(service.emit_file_operation(upload.clone()), 1);
    assert_eq!(*files.next().await.unwrap(), upload);
    service.emit_peer(PeerEvent::new(PeerChange::Connected, "ab", ""));
    assert_eq!(peers.next().await.unwrap().kind, PeerChange::Connected);
    service.emit_health(HealthEvent::new(StreamsHealth::Degraded, "store", ""));
    assert_eq!(health.next().await.unwrap().kind, StreamsHealth::Degraded);
    service.unsubscribe_from_file_operation_events("subscriber-1").unwrap();
    assert_eq!(files.next().await, None);
    let gone = service.unsubscribe_from_file_operation_events("subscriber-1");
    assert!(matches!(gone, Err(StreamsError::NotFound { .. })));
    service.emit_system(SystemEvent::new(SystemChange::Warning, "", "x"));
    assert_eq!(system.next().await.unwrap().kind, SystemChange::Warning);

    // What failed does not end in order; it is forgotten when it is closed.
    assert_eq!(manager.close_stream("broken").await.unwrap_err().code(), "streams.transport");
    assert!(service.shutdown(Duration::from_secs(5)).await);
    assert_eq!(system.next().await.unwrap().kind, SystemChange::Shutdown);
    assert_eq!(system.next().await, None);
    assert_eq!(peers.next().await, None);
    assert_eq!(service.health_check().status, StreamsHealth::Unknown);
    assert_eq!(manager.create_stream("late").unwrap_err(), StreamsError::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_window_shrinks_with_each_message_and_grows_with_each_acknowledgement() {
    let by_hand =
        |config: StreamConfig| config.auto_acknowledge(false).buffer_size(8).backpressure_limit(8);
    let (left, right) = (manager(by_hand), manager(by_hand));
    let (ours, theirs) = connected(&left, &right, "window");
    assert_eq!((ours.flow_control().window_size(), ours.flow_control().current_window()), (8, 8));
    for at in 0..8 {
        ours.send(at.to_string()).await.unwrap();
    }
    until("all eight are under way", || ours.flow_control().current_window() == 0).await;
    // Nothing is acknowledged by being received.
    for at in 0..8 {
        assert_eq!(theirs.receive().await.unwrap(), at.to_string());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ours.flow_control().current_window(), 0);
    let full = ours.try_send("ninth");
    let trigger = match full {
        Err(StreamsError::Backpressure { trigger }) => trigger,
        other => return assert_eq!(other, Ok(()), "it must not be taken"),
    };
    assert!(matches!(trigger, Trigger::Window | Trigger::Buffer), "{trigger:?}");
    assert!(ours.get_stats().backpressure);

    for _ in 0..3 {
        assert!(theirs.acknowledge());
    }
    until("three places are back", || ours.flow_control().current_window() == 3).await;
    for _ in 3..8 {
        assert!(theirs.acknowledge());
    }
    // There is nothing left to acknowledge, and no more room than there was.
    assert!(!theirs.acknowledge());
    until("the window is whole", || ours.flow_control().current_window() == 8).await;
    assert_eq!(ours.flow_control().window_size(), 8);
    // Waiting senders go on.
    ours.send("ninth").await.unwrap();
    assert_eq!(theirs.receive().await.unwrap(), "ninth");
}

#[tokio::test(start_paused = true)]
async fn peers_cannot_take_ids_that_are_not_theirs() {
    let (left, right) = (manager(|config| config), manager(|config| config));
    let (here, there) = channel::pair();
    let _ours = left.new_bidirectional_stream("b/mine", here).unwrap();
    let refused = right.accept_under("a/", there).await.unwrap_err();
    assert!(matches!(refused, StreamsError::Protocol { .. }), "{refused}");
    let (here, there) = channel::pair();
    let ours = left.new_bidirectional_stream("a/mine", here).unwrap();
    let theirs = right.accept_under("a/", there).await.unwrap().unwrap();
    ours.send("x").await.unwrap();
    assert_eq!(theirs.receive().await.unwrap(), "x");
    assert_eq!(right.list_streams().len(), 1);
}
