//! Pings to all endpoints: who answers in time is healthy.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use std::{collections::BTreeMap, time::Duration};

use stt::{
    Mode,
    endpoints::{EndpointId, ManagerConfig, NodeEndpoints},
};

#[tokio::main]
async fn main() -> Outcome {
    let seed = common::seed()?;
    let node = common::node(&seed, Mode::Server).await?;
    let behind = NodeEndpoints::new(&node, 1, ManagerConfig::default())?;
    let endpoints = behind.manager();

    // Two peers answer pings, the third is connected and says nothing.
    let (mut peers, mut sick) = (Vec::new(), None);
    for number in 0..3 {
        let peer = common::node(&seed, Mode::Client).await?;
        let (session, _) = common::connect(&peer, &node).await?;
        if number < 2 {
            let stream = session.get_stream(1)?;
            tokio::spawn(async move {
                while let Ok(Some(message)) = stream.receive().await {
                    if message == "PING" && stream.send(b"PONG").await.is_err() {
                        return;
                    }
                }
            });
        } else {
            sick = Some(EndpointId::from(peer.node_id()));
        }
        peers.push(peer);
    }
    while endpoints.len() < peers.len() {
        tokio::task::yield_now().await;
    }

    let mut health = BTreeMap::new();
    for id in endpoints.list_endpoints() {
        endpoints.send_to_endpoint(&id, &b"PING"[..]).await?;
        let answer = tokio::time::timeout(Duration::from_secs(1), endpoints.receive_from(&id));
        let healthy = matches!(answer.await, Ok(Ok(answer)) if answer.data == "PONG");
        health.insert(id, healthy);
    }
    for (id, healthy) in &health {
        println!("{id}: {}", if *healthy { "healthy" } else { "unhealthy" });
        assert_eq!(*healthy, sick.as_ref() != Some(id));
    }
    assert_eq!(health.len(), 3);
    println!("2 of 3 peers are healthy, the silent one was found");
    Ok(())
}
