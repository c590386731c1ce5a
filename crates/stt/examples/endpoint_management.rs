//! Endpoints added by events, found with their metadata, sent to, and received from.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use stt::{
    Event, EventKind, Fields, Mode, Value,
    endpoints::{EndpointId, EndpointManager, Outgoing},
};

const STREAM: u32 = 1;

#[tokio::main]
async fn main() -> Outcome {
    let seed = common::seed()?;
    let node = common::node(&seed, Mode::Server).await?;

    let through = node.clone();
    let endpoints = EndpointManager::new(move |outgoing: Outgoing| {
        let node = through.clone();
        async move {
            for session in node.sessions() {
                if session.peer_node_id().as_bytes()[..] == *outgoing.id.as_bytes() {
                    session.get_stream(STREAM)?.send(outgoing.data.clone()).await?;
                }
            }
            Ok(())
        }
    });

    let (table, mut connected) = (endpoints.clone(), node.subscribe(EventKind::PeerConnected)?);
    tokio::spawn(async move {
        while let Some(event) = connected.next().await {
            if let Event::PeerConnected { peer } = &*event {
                let metadata = Fields::from([
                    ("type".into(), Value::from("viewer")),
                    ("capacity_gb".into(), Value::from(1_000)),
                ]);
                let _ = table.add_endpoint(*peer, ("unknown", 0), metadata);
            }
        }
    });

    let client = common::node(&seed, Mode::Client).await?;
    let (ours, theirs) = common::connect(&client, &node).await?;
    let id = EndpointId::from(client.node_id());
    while !endpoints.contains(&id) {
        tokio::task::yield_now().await;
    }
    let info = endpoints.get_endpoint(&id).ok_or("no such endpoint")?;
    let capacity = info.metadata.get("capacity_gb").and_then(Value::as_int);
    assert!(capacity > Some(500));
    endpoints.send_to_endpoint(&id, &b"Hello peer!"[..]).await?;
    let stream = ours.get_stream(STREAM)?;
    assert_eq!(stream.receive().await?.as_deref(), Some(&b"Hello peer!"[..]));

    // What the peer sends goes to the manager, which waits while the endpoint's queue is full.
    let (arriving, table, from) = (theirs.get_stream(STREAM)?, endpoints.clone(), id.clone());
    let delivering = tokio::spawn(async move {
        while let Some(message) = arriving.receive().await? {
            table.deliver(&from, message).await?;
        }
        Outcome::Ok(())
    });
    stream.send(b"Hello back!").await?;
    let answer = endpoints.receive_any().await;
    assert_eq!((&answer.id, &answer.data[..]), (&id, &b"Hello back!"[..]));
    stream.send(b"And again.").await?;
    assert_eq!(endpoints.receive_from(&id).await?.data, "And again.");
    stream.close().await?;
    delivering.await??;
    assert_eq!(endpoints.list_endpoints().len(), 1);
    assert!(endpoints.remove_endpoint(&id));
    assert!(endpoints.send_to_endpoint(&id, &b"x"[..]).await.is_err());
    println!("endpoint {id} came by an event, got a greeting, answered, and was removed");
    Ok(())
}
