//! Endpoints and the affinity pool over real nodes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use crate::common;
use std::time::Duration;

use stt::{
    ContentId, EventKind, Mode, SessionPool,
    endpoints::{EndpointId, ManagerConfig, NodeEndpoints},
};

const STREAM: u32 = 9;

async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_peers_of_a_node_are_endpoints_while_they_have_sessions() {
    let seed = common::seed();
    let server = common::builder(&seed).start(Mode::Server).await.unwrap();
    let behind = NodeEndpoints::new(&server, STREAM, ManagerConfig::default()).unwrap();
    let manager = behind.manager();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = common::builder(&seed).start(Mode::Client).await.unwrap();
        let session = common::connect(&client, &server).await;
        clients.push((client, session));
    }
    until(|| manager.len() == 3).await;
    let report = manager.broadcast(&b"to all"[..]).await;
    assert_eq!((report.sent, report.failed), (3, vec![]));
    for (client, session) in &clients {
        let stream = session.get_stream(STREAM).unwrap();
        assert_eq!(stream.receive().await.unwrap().unwrap(), "to all");
        stream.send(client.node_id().as_bytes()).await.unwrap();
    }
    for _ in 0..3 {
        let next = manager.receive_any().await;
        assert_eq!(next.id.as_bytes(), next.data);
    }
    let first: EndpointId = clients[0].0.node_id().into();
    let info = manager.get_endpoint(&first).unwrap();
    assert_eq!(info.address.port, clients[0].0.local_addr().port());
    clients[0].1.get_stream(STREAM).unwrap().send(b"again").await.unwrap();
    assert_eq!(manager.receive_from(&first).await.unwrap().data, "again");
    clients[0].1.close("bye").await;
    until(|| manager.len() == 2).await;
    assert!(manager.send_to_endpoint(&first, &b"x"[..]).await.is_err());
    assert_eq!(server.events().handler_count(EventKind::SessionCreated), 1);
    drop(behind);
    assert_eq!(server.events().handler_count(EventKind::SessionCreated), 0);
}

#[tokio::test]
async fn the_pool_picks_among_live_sessions_and_learns_from_answers() {
    let seed = common::seed();
    let client = common::builder(&seed).start(Mode::Client).await.unwrap();
    let mut servers = Vec::new();
    for _ in 0..3 {
        let server = common::builder(&seed).start(Mode::Server).await.unwrap();
        let session = common::connect(&client, &server).await;
        servers.push((server, session));
    }
    let pool = SessionPool::new(client.clone());
    let content = ContentId::of(b"a content");
    let picked = pool.pick(&content).unwrap();
    assert_eq!(pool.rank(&content, 3).len(), 3);
    assert_eq!(pool.pick(&content).unwrap().id(), picked.id(), "the same each time");
    pool.report(&content, picked.id(), false);
    let other = pool.rank(&content, 2)[1].clone();
    pool.report(&content, other.id(), true);
    assert_eq!(pool.pick(&content).unwrap().id(), other.id());
    other.close("leaves").await;
    tokio::time::timeout(Duration::from_secs(5), other.closed()).await.unwrap();
    until(|| client.session(other.id()).is_none()).await;
    assert_eq!(pool.pick(&content).unwrap().id(), picked.id(), "only its contents moved");
    let stats = pool.stats();
    assert_eq!((stats.hits, stats.misses, stats.picked_by_knowledge), (1, 1, 1));
}

/// Does not wait for ever.
async fn soon<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap()
}

#[tokio::test]
async fn a_peer_that_found_the_manager_full_is_heard_once_there_is_room() {
    let seed = common::seed();
    let server = common::builder(&seed).start(Mode::Server).await.unwrap();
    let config = ManagerConfig::new().max_endpoints(1);
    let behind = NodeEndpoints::new(&server, STREAM, config).unwrap();
    let manager = behind.manager();
    let start = || common::builder(&seed).start(Mode::Client);
    let (first, second) = (start().await.unwrap(), start().await.unwrap());
    let firsts = common::connect(&first, &server).await;
    until(|| manager.contains(&first.node_id().into())).await;
    let seconds = common::connect(&second, &server).await;
    let stream = seconds.get_stream(STREAM).unwrap();
    stream.send(b"while it is full").await.unwrap();
    seconds.ping().await.unwrap();
    assert_eq!(manager.list_endpoints(), [EndpointId::from(first.node_id())]);
    firsts.close("makes room").await;
    let id = EndpointId::from(second.node_id());
    soon(until(|| manager.contains(&id))).await;
    stream.send(b"and after").await.unwrap();
    for message in ["while it is full", "and after"] {
        assert_eq!(soon(manager.receive_from(&id)).await.unwrap().data, message);
    }
}

#[tokio::test]
async fn a_peer_whose_endpoint_was_removed_is_heard_again_when_it_is_one_again() {
    let seed = common::seed();
    let server = common::builder(&seed).start(Mode::Server).await.unwrap();
    let behind = NodeEndpoints::new(&server, STREAM, ManagerConfig::default()).unwrap();
    let manager = behind.manager();
    let client = common::builder(&seed).start(Mode::Client).await.unwrap();
    let session = common::connect(&client, &server).await;
    let id = EndpointId::from(client.node_id());
    until(|| manager.contains(&id)).await;
    let stream = session.get_stream(STREAM).unwrap();
    stream.send(b"before").await.unwrap();
    assert_eq!(soon(manager.receive_from(&id)).await.unwrap().data, "before");
    assert!(manager.remove_endpoint(&id));
    // Read, perhaps, and lost then: there is no endpoint.
    stream.send(b"between").await.unwrap();
    session.ping().await.unwrap();
    let other = common::builder(&seed).start(Mode::Client).await.unwrap();
    let _others = common::connect(&other, &server).await;
    soon(until(|| manager.contains(&id))).await;
    stream.send(b"after").await.unwrap();
    let mut got = soon(manager.receive_from(&id)).await.unwrap().data;
    if got == "between" {
        got = soon(manager.receive_from(&id)).await.unwrap().data;
    }
    assert_eq!(got, "after");
}
