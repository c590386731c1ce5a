//! What handlers may rely on.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use stt::{
    Event, EventEmitter, EventFilter, EventKind, Fields, NodeId, Value,
    events::{EmitterConfig, EventError},
};
use tokio::sync::{Semaphore, mpsc};

fn numbered(name: &str, number: i64) -> Event {
    Event::custom(name, [("number", number)]).unwrap()
}

fn number(event: &Event) -> i64 {
    event.fields().get("number").and_then(Value::as_int).unwrap()
}

/// A handler that passes the numbers on.
fn into(
    sender: &mpsc::UnboundedSender<i64>,
) -> impl Fn(Arc<Event>) -> std::future::Ready<()> + Send + Sync + use<> {
    let sender = sender.clone();
    move |event| {
        let _ = sender.send(number(&event));
        std::future::ready(())
    }
}

#[tokio::test]
async fn all_handlers_of_a_name_are_called_in_the_order_of_emission() {
    let events = EventEmitter::new();
    let (sender, mut numbers) = mpsc::unbounded_channel();
    let calls = Arc::new(AtomicUsize::new(0));
    let mut subscriptions = vec![events.on("a", into(&sender)).unwrap()];
    for _ in 0..150 {
        let calls = Arc::clone(&calls);
        let count = move |_| {
            let calls = Arc::clone(&calls);
            async move {
                tokio::task::yield_now().await;
                calls.fetch_add(1, Ordering::Relaxed);
            }
        };
        subscriptions.push(events.on("a", count).unwrap());
    }
    subscriptions.push(events.on("b", into(&sender)).unwrap());
    for at in 0..99 {
        assert_eq!(events.emit(numbered("a", at)).queued, 151);
    }
    assert_eq!(events.emit_and_wait(numbered("a", 99)).await.queued, 151);
    for at in 0..100 {
        assert_eq!(numbers.recv().await, Some(at));
    }
    assert!(numbers.try_recv().is_err(), "no handler of another name was called");
    assert_eq!(calls.load(Ordering::Relaxed), 150 * 100);
    assert_eq!(events.stats().handled, 151 * 100);
}

#[tokio::test]
async fn typed_events_and_any() {
    let events = EventEmitter::new();
    assert!(!events.wants(EventKind::PeerConnected));
    let mut all = events.subscribe(EventFilter::All).unwrap();
    let mut custom = events.subscribe(EventKind::Custom).unwrap();
    let mut disconnected = events.subscribe(EventKind::PeerDisconnected).unwrap();
    assert!(events.wants(EventKind::PeerConnected));
    let peer = NodeId::from_bytes([7; 32]);
    events.emit(Event::PeerConnected { peer });
    events.emit(numbered("mine", 1));
    events.emit(Event::PeerDisconnected { peer });
    for name in ["peer_connected", "mine", "peer_disconnected"] {
        assert_eq!(all.next().await.unwrap().name(), name);
    }
    assert_eq!(custom.next().await.unwrap().name(), "mine");
    assert_eq!(*disconnected.next().await.unwrap(), Event::PeerDisconnected { peer });
    assert_eq!(events.event_names().len(), 2, "`*` and the kind; custom events have no one name");
    drop(all);
    assert!(!events.wants(EventKind::PeerConnected));
    drop(events);
    assert!(custom.next().await.is_none() && disconnected.next().await.is_none());
}

#[tokio::test]
async fn who_takes_events_late_misses_the_newest() {
    let config = EmitterConfig::new().queue_events(4);
    let events = EventEmitter::with_config(config).unwrap();
    let mut taken = events.subscribe("a").unwrap();
    for at in 0..100 {
        events.emit(numbered("a", at));
        tokio::task::yield_now().await;
    }
    // One is offered, one waits for its place, four wait in the queue.
    assert_eq!(taken.missed(), 94);
    for at in 0..6 {
        assert_eq!(number(&taken.next().await.unwrap()), at);
    }
    drop(events);
    assert!(taken.next().await.is_none());
}

#[tokio::test]
async fn events_are_a_stream() {
    let events = EventEmitter::new();
    let mut taken = std::pin::pin!(events.subscribe("a").unwrap());
    events.emit(numbered("a", 7));
    let next = std::future::poll_fn(|cx| futures_util::Stream::poll_next(taken.as_mut(), cx));
    assert_eq!(number(&next.await.unwrap()), 7);
}

#[tokio::test]
async fn a_name_that_is_nearly_built_in_is_refused() {
    let events = EventEmitter::new();
    let none = |_| std::future::ready(());
    let refused = events.on("sesion_closed", none).unwrap_err();
    assert_eq!(refused, EventError::Misspelt { nearest: "session_closed" });
    let own = events.on(EventFilter::Custom("errors"), none).unwrap();
    assert_eq!(events.emit(Event::custom("errors", Fields::new()).unwrap()).queued, 1);
    drop(own);
}

#[tokio::test]
async fn once_is_once_also_when_emitted_twice_before_it_ran() {
    let events = EventEmitter::new();
    let (sender, mut numbers) = mpsc::unbounded_channel();
    let once = events.once("a", into(&sender)).unwrap();
    assert_eq!(events.emit(numbered("a", 1)).queued, 1);
    assert_eq!(events.emit(numbered("a", 2)).queued, 0);
    events.emit_and_wait(numbered("a", 3)).await;
    assert_eq!(numbers.recv().await, Some(1));
    drop(sender);
    assert_eq!(numbers.recv().await, None, "the handler and its sender are gone");
    assert!(events.event_names().is_empty() && once.stats().is_none());
}

#[tokio::test]
async fn handlers_are_removed_one_by_one_by_name_and_all() {
    let events = EventEmitter::new();
    let (sender, mut numbers) = mpsc::unbounded_channel();
    let first = events.on("a", into(&sender)).unwrap();
    let second = events.register("a", Arc::new(into(&sender))).unwrap();
    let others = ["b", "c"].map(|name| events.on(name, into(&sender)).unwrap());
    let names = |events: &EventEmitter| -> Vec<String> {
        events.event_names().iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&events), ["a", "b", "c"]);
    drop(first);
    assert_eq!(events.handler_count("a"), 1);
    drop(second);
    assert_eq!(names(&events), ["b", "c"]);
    assert_eq!(events.clear_event("b"), 1);
    events.clear_all();
    assert!(names(&events).is_empty());
    for name in ["a", "b", "c"] {
        assert_eq!(events.emit_and_wait(numbered(name, 1)).await.queued, 0);
    }
    assert!(numbers.try_recv().is_err());
    assert!(others.iter().all(|one| one.stats().is_none()));
}

#[tokio::test]
async fn a_panic_stays_with_its_handler_and_is_reported() {
    let events = EventEmitter::new();
    let (sender, mut numbers) = mpsc::unbounded_channel();
    let (warn, mut warnings) = mpsc::unbounded_channel();
    let at_once = events.on("a", |_| -> std::future::Ready<()> { panic!("at once") }).unwrap();
    let later = events
        .on("a", |event| async move {
            tokio::task::yield_now().await;
            assert!(number(&event) != 1, "later");
        })
        .unwrap();
    let _fine = events.on("a", into(&sender)).unwrap();
    let _warned = events
        .on(EventKind::Warning, move |event| {
            let _ = warn.send(event);
            panic!("a warning's handler must not warn");
            #[allow(unreachable_code)]
            std::future::ready(())
        })
        .unwrap();
    events.emit_and_wait(numbered("a", 1)).await;
    events.emit_and_wait(numbered("a", 2)).await;
    assert_eq!((numbers.recv().await, numbers.recv().await), (Some(1), Some(2)));
    assert_eq!(at_once.stats().unwrap().panicked, 2);
    assert_eq!(later.stats().unwrap().panicked, 1);
    let mut texts = Vec::new();
    for _ in 0..3 {
        let event = warnings.recv().await.unwrap();
        let Event::Warning { code, details } = &*event else { panic!("{event:?}") };
        assert_eq!(*code, "events.handler_panicked");
        texts.push(details.clone());
    }
    assert!(texts.iter().any(|text| text.contains("later")), "{texts:?}");
    assert!(warnings.try_recv().is_err());
}

#[tokio::test]
async fn a_slow_handler_misses_the_newest_and_delays_nobody() {
    let config = EmitterConfig::new().queue_events(4);
    let events = EventEmitter::with_config(config).unwrap();
    let (sender, mut fast) = mpsc::unbounded_channel();
    let (slow_sender, mut slow) = mpsc::unbounded_channel();
    let (warn, mut warnings) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let slow_one = events
        .on("a", move |event| {
            let (held, sender) = (Arc::clone(&held), slow_sender.clone());
            async move {
                held.acquire().await.unwrap().forget();
                sender.send(number(&event)).unwrap();
            }
        })
        .unwrap();
    let _fine = events.on("a", into(&sender)).unwrap();
    let _warned = events
        .on(EventKind::Warning, move |event| {
            let _ = warn.send(event.fields()["error_type"].clone());
            std::future::ready(())
        })
        .unwrap();
    for at in 0..10 {
        events.emit(numbered("a", at));
        assert_eq!(fast.recv().await, Some(at), "the fast one is not held up");
        tokio::task::yield_now().await;
    }
    // One is being handled, four wait, five were dropped.
    let stats = slow_one.stats().unwrap();
    assert_eq!((stats.waiting, stats.dropped), (4, 5));
    assert_eq!(events.stats().dropped, 5);
    gate.add_permits(10);
    for at in 0..5 {
        assert_eq!(slow.recv().await, Some(at));
    }
    events.emit_and_wait(numbered("a", 10)).await;
    assert_eq!(slow.recv().await, Some(10), "after it caught up it gets events again");
    assert_eq!(warnings.recv().await, Some(Value::from("events.slow_handler")));
    assert!(warnings.try_recv().is_err(), "one report for a row of drops");
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes() {
    let config = EmitterConfig::new().queue_bytes(10_000);
    let events = EventEmitter::with_config(config).unwrap();
    let slow_one = events.on("a", |_| std::future::pending::<()>()).unwrap();
    let big = || Event::custom("a", [("data", vec![0_u8; 6_000])]).unwrap();
    events.emit(big());
    tokio::task::yield_now().await;
    assert_eq!(events.emit(big()).queued, 1);
    assert_eq!(events.emit(big()).dropped, 1);
    assert_eq!(slow_one.stats().unwrap().waiting, 1);
}

#[tokio::test]
async fn removing_a_handler_releases_who_waits_for_it() {
    let events = EventEmitter::new();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let waiting = events
        .on("a", move |_| {
            let held = Arc::clone(&held);
            async move { held.acquire().await.unwrap().forget() }
        })
        .unwrap();
    events.emit(numbered("a", 1));
    tokio::task::yield_now().await;
    let emitter = events.clone();
    let waits = tokio::spawn(async move { emitter.emit_and_wait(numbered("a", 2)).await });
    tokio::task::yield_now().await;
    drop(waiting);
    assert_eq!(waits.await.unwrap().queued, 1);
}

#[test]
fn without_a_runtime_registering_says_so_and_emitting_reaches_nobody() {
    let events = EventEmitter::new();
    let none = |_| std::future::ready(());
    assert_eq!(events.on("a", none).unwrap_err(), EventError::NoRuntime);
    assert_eq!(events.emit(numbered("a", 1)).queued, 0);
}

#[tokio::test]
async fn names_and_numbers_of_handlers_are_bounded() {
    let events = EventEmitter::new();
    let none = |_| std::future::ready(());
    assert!(matches!(events.on("", none), Err(EventError::Name { got: 0, .. })));
    assert!(Event::custom("*", Fields::new()).is_err());
    let one = |at| events.on(&format!("event {at}"), none).unwrap();
    let subscriptions: Vec<_> = (0..EventEmitter::MAX_NAMES).map(one).collect();
    assert!(matches!(events.on("one more", none), Err(EventError::TooManyNames { .. })));
    let _another = events.on("event 0", none).unwrap();
    assert_eq!(events.handler_count("event 0"), 2);
    drop(subscriptions);
}
