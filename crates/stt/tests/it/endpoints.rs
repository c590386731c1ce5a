//! What users of endpoints may rely on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use stt::{
    Fields, Value,
    endpoints::{
        EndpointError, EndpointId, EndpointManager, InboxLimits, ManagerConfig, Outgoing,
        SendFailure,
    },
};

type Sent = Arc<Mutex<Vec<(EndpointId, Bytes)>>>;

/// A manager that notes what it sends; the endpoint `broken` fails and `slow` never ends.
fn manager() -> (EndpointManager, Sent) {
    let sent = Sent::default();
    let note = Arc::clone(&sent);
    let manager = EndpointManager::new(move |outgoing: Outgoing| {
        let note = Arc::clone(&note);
        async move {
            match outgoing.id.as_bytes() {
                b"broken" => {
                    return Err(SendFailure::new(stc::Cause::text("broken"), false));
                }
                b"slow" => std::future::pending().await,
                _ => note.lock().unwrap().push((outgoing.id, outgoing.data)),
            }
            Ok(())
        }
    });
    (manager, sent)
}

fn id(name: &str) -> EndpointId {
    EndpointId::try_from(name).unwrap()
}

fn add(manager: &EndpointManager, names: &[&str]) {
    for name in names {
        manager.add_endpoint(id(name), ("10.0.0.1", 9000), Fields::new()).unwrap();
    }
}

#[test]
fn what_was_added_is_found_with_its_metadata_until_removed() {
    let (manager, _) = manager();
    let before = SystemTime::now();
    let metadata = Fields::from([
        ("type".into(), Value::from("relay")),
        ("trust_score".into(), Value::from(0.95)),
        ("capabilities".into(), Value::List(vec!["video".into(), "storage".into()])),
    ]);
    manager.add_endpoint(id("a"), ("192.168.1.100", 9000), metadata.clone()).unwrap();
    let info = manager.get_endpoint(&id("a")).unwrap();
    assert_eq!((&*info.address.host, info.address.port), ("192.168.1.100", 9000));
    assert_eq!(info.metadata, metadata);
    assert!(info.connected_at >= before && info.connected_at <= SystemTime::now());
    let taken = manager.add_endpoint(id("a"), ("10.0.0.1", 1), Fields::new());
    assert_eq!(taken, Err(EndpointError::Taken { id: id("a") }));
    assert_eq!(manager.list_endpoints(), [id("a")]);
    assert!(manager.remove_endpoint(&id("a")));
    assert!(!manager.remove_endpoint(&id("a")));
    assert!(manager.get_endpoint(&id("a")).is_none() && manager.is_empty());
}

#[tokio::test]
async fn bytes_go_to_one_to_many_and_to_all() {
    let (manager, sent) = manager();
    add(&manager, &["a", "b", "c"]);
    manager.send_to_endpoint(&id("a"), &b"one"[..]).await.unwrap();
    let report = manager.send_to_many(&[id("a"), id("b"), id("x")], &b"many"[..]).await;
    assert_eq!(
        (report.sent, report.failed),
        (2, vec![(id("x"), EndpointError::Unknown { id: id("x") })])
    );
    assert_eq!(manager.broadcast(&b"all"[..]).await.sent, 3);
    let sent = sent.lock().unwrap();
    let count = |data: &[u8]| sent.iter().filter(|(_, sent)| sent == data).count();
    assert_eq!((count(b"one"), count(b"many"), count(b"all")), (1, 2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_slow_and_a_broken_endpoint_delay_no_other() {
    let (manager, sent) = manager();
    add(&manager, &["slow", "broken"]);
    for number in 0..500 {
        add(&manager, &[&format!("endpoint {number}")]);
    }
    let before = tokio::time::Instant::now();
    let report = manager.broadcast(&b"all"[..]).await;
    assert_eq!((report.sent, sent.lock().unwrap().len()), (500, 500));
    assert_eq!(before.elapsed(), ManagerConfig::DEFAULT_SEND_TIMEOUT);
    let mut failed = report.failed;
    failed.sort_by_key(|(id, _)| id.clone());
    assert!(
        matches!(&failed[0].1, EndpointError::Send { retry_helps: false, cause, .. } if cause.to_string() == "broken")
    );
    assert_eq!(
        failed[1].1,
        EndpointError::SendTimeout { id: id("slow"), within: Duration::from_secs(10) }
    );
}

#[tokio::test]
async fn endpoints_are_reached_by_name() {
    let (manager, sent) = manager();
    let named = |name: &str| Fields::from([("name".into(), Value::from(name))]);
    add(&manager, &["viewer_alice"]);
    manager.add_endpoint(id("7f"), ("10.0.0.1", 1), named("viewer_bob")).unwrap();
    for taken in ["viewer_bob", "viewer_alice"] {
        let again = manager.add_endpoint(id("80"), ("10.0.0.1", 1), named(taken));
        assert_eq!(again, Err(EndpointError::Taken { id: id(taken) }));
    }
    // An id that is another's name would take what is meant for it.
    let shadow = manager.add_endpoint(id("viewer_bob"), ("10.0.0.1", 1), Fields::new());
    assert_eq!(shadow, Err(EndpointError::Taken { id: id("viewer_bob") }));
    manager.add_endpoint(id("self"), ("10.0.0.1", 1), named("self")).unwrap();
    manager.remove_endpoint(&id("self"));
    manager.route_to_endpoint("viewer_alice", &b"x"[..]).await.unwrap();
    manager.route_to_endpoint("viewer_bob", &b"x"[..]).await.unwrap();
    let nobody = manager.route_to_endpoint("viewer_carol", &b"x"[..]).await;
    assert_eq!(nobody, Err(EndpointError::Unknown { id: id("viewer_carol") }));
    let ids: Vec<_> = sent.lock().unwrap().iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids, ["viewer_alice", "7f"]);
    manager.remove_endpoint(&id("7f"));
    assert_eq!(manager.find_by_name("viewer_bob"), None);
    add(&manager, &["viewer_bob"]);
    assert_eq!(manager.find_by_name("viewer_bob"), Some(id("viewer_bob")));
}

async fn received(manager: &EndpointManager) -> (EndpointId, Bytes) {
    let next = manager.receive_any().await;
    (next.id, next.data)
}

#[tokio::test]
async fn messages_are_received_from_one_or_from_any_in_order() {
    let (manager, _) = manager();
    add(&manager, &["a", "b"]);
    for (from, data) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")] {
        manager.deliver(&id(from), data).await.unwrap();
    }
    assert_eq!(manager.receive_from(&id("b")).await.unwrap().data, "2");
    assert_eq!(received(&manager).await, (id("a"), "1".into()));
    assert_eq!(received(&manager).await, (id("a"), "3".into()));
    assert_eq!(received(&manager).await, (id("b"), "4".into()));
    assert_eq!(manager.inbox_stats().waiting, 0);
    let unknown = Err(EndpointError::Unknown { id: id("x") });
    assert_eq!(manager.deliver(&id("x"), "1").await, unknown);
    assert!(manager.receive_from(&id("x")).await.is_err());
}

#[tokio::test]
async fn who_waits_is_woken_by_a_message_or_a_removal() {
    let (manager, _) = manager();
    add(&manager, &["a", "b"]);
    let wait = |name: &'static str| {
        let manager = manager.clone();
        tokio::spawn(async move { manager.receive_from(&id(name)).await })
    };
    let any = {
        let manager = manager.clone();
        tokio::spawn(async move { manager.receive_any().await })
    };
    let (a, b) = (wait("a"), wait("b"));
    tokio::task::yield_now().await;
    manager.remove_endpoint(&id("a"));
    assert!(matches!(a.await.unwrap(), Err(EndpointError::Unknown { .. })));
    manager.deliver(&id("b"), "1").await.unwrap();
    manager.deliver(&id("b"), "2").await.unwrap();
    let (one, other) = (b.await.unwrap().unwrap().data, any.await.unwrap().data);
    let mut both = [one, other];
    both.sort();
    assert_eq!(both, ["1", "2"]);
}

#[tokio::test]
async fn queues_are_bounded_and_push_back_or_drop_the_newest() {
    let limits = InboxLimits::new().messages(3).bytes(1 << 20).total_bytes(1 << 20);
    for config in [
        ManagerConfig::new().max_endpoints(0),
        ManagerConfig::new().inbox(limits.messages(0)),
        ManagerConfig::new().inbox(limits.bytes(1 << 31)),
        ManagerConfig::new().inbox(limits.total_bytes((1 << 20) - 1)),
    ] {
        let refused = EndpointManager::with_config(config, None).err().unwrap();
        assert!(matches!(refused, EndpointError::OutOfRange { .. }));
    }
    let config = ManagerConfig::new().inbox(limits).max_endpoints(2);
    let manager = EndpointManager::with_config(config, None).unwrap();
    add(&manager, &["a", "b"]);
    let full = manager.add_endpoint(id("c"), ("10.0.0.1", 1), Fields::new());
    assert_eq!(full, Err(EndpointError::Full { limit: 2 }));
    assert_eq!(manager.send_to_endpoint(&id("a"), "x").await, Err(EndpointError::NoSender));
    for data in ["1", "2", "3"] {
        manager.try_deliver(&id("a"), data).unwrap();
    }
    let dropped = manager.try_deliver(&id("a"), "4");
    assert_eq!(dropped, Err(EndpointError::QueueFull { id: id("a") }));
    manager.try_deliver(&id("b"), "other").unwrap();
    let waits = {
        let manager = manager.clone();
        tokio::spawn(async move { manager.deliver(&id("a"), "5").await })
    };
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    assert_eq!(manager.receive_from(&id("a")).await.unwrap().data, "1");
    waits.await.unwrap().unwrap();
    for data in ["2", "3", "5"] {
        assert_eq!(manager.receive_from(&id("a")).await.unwrap().data, data);
    }
    assert_eq!(manager.inbox_stats().dropped, 1);
    // The bytes of all together are bounded too, but one message always fits.
    manager.receive_any().await;
    manager.try_deliver(&id("a"), vec![0; 2 << 20]).unwrap();
    assert!(manager.try_deliver(&id("b"), "x").is_err());
}

#[test]
fn ids_and_metadata_have_bounds() {
    let (manager, _) = manager();
    assert!(EndpointId::new(b"").is_err() && EndpointId::new(&[0; 65]).is_err());
    let large = Fields::from([("x".into(), Value::from("x".repeat(20_000)))]);
    let refused = manager.add_endpoint(id("a"), ("10.0.0.1", 1), large);
    assert!(matches!(refused, Err(EndpointError::OutOfRange { .. })));
    assert_eq!(EndpointId::new(&[1, 255]).unwrap().to_string(), "01ff");
}

#[tokio::test]
async fn an_endpoint_is_changed_in_place_and_keeps_what_waits() {
    let (manager, sent) = manager();
    add(&manager, &["a", "b"]);
    let since = manager.get_endpoint(&id("a")).unwrap().connected_at;
    manager.try_deliver(&id("a"), &b"waiting"[..]).unwrap();
    manager.set_address(&id("a"), ("10.9.9.9", 1)).unwrap();
    let named = |name: &str| Fields::from([("name".into(), Value::from(name))]);
    manager.set_metadata(&id("a"), named("alice")).unwrap();
    manager.set_field(&id("a"), "last_health_check", Some(Value::from(5))).unwrap();
    let info = manager.get_endpoint(&id("a")).unwrap();
    assert_eq!((info.address, info.connected_at), (("10.9.9.9", 1).into(), since));
    assert_eq!(info.metadata.get("last_health_check").and_then(Value::as_int), Some(5));
    assert_eq!(manager.receive_from(&id("a")).await.unwrap().data, "waiting");
    manager.route_to_endpoint("alice", &b"to alice"[..]).await.unwrap();
    assert_eq!(*sent.lock().unwrap(), [(id("a"), Bytes::from("to alice"))]);
    // A new name takes the place of the old one, which is free then.
    manager.set_field(&id("a"), "name", Some(Value::from("alina"))).unwrap();
    assert_eq!(manager.find_by_name("alice"), None);
    assert_eq!(manager.find_by_name("alina"), Some(id("a")));
    manager.set_metadata(&id("b"), named("alice")).unwrap();
    // Names are not stolen, and what is refused changes nothing.
    let before = manager.get_endpoint(&id("b")).unwrap();
    for taken in ["alina", "a"] {
        let refused = manager.set_metadata(&id("b"), named(taken));
        assert_eq!(refused, Err(EndpointError::Taken { id: id(taken) }));
    }
    let huge = Value::from("x".repeat(EndpointManager::MAX_METADATA).as_str());
    assert!(manager.set_field(&id("b"), "huge", Some(huge)).is_err());
    assert_eq!(manager.get_endpoint(&id("b")).unwrap().metadata, before.metadata);
    assert_eq!(manager.find_by_name("alice"), Some(id("b")));
    manager.set_field(&id("b"), "name", None).unwrap();
    assert_eq!(manager.find_by_name("alice"), None);
    assert!(manager.get_endpoint(&id("b")).unwrap().metadata.is_empty());
    let unknown = Err(EndpointError::Unknown { id: id("c") });
    assert_eq!(manager.set_address(&id("c"), ("10.0.0.1", 1)), unknown);
    assert_eq!(manager.set_field(&id("c"), "x", None), unknown);
}
