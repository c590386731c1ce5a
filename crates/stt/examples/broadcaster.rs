//! A message to all peers of a node, and an event when it was sent.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use std::{sync::Arc, time::Duration};

use stt::{
    Event, EventEmitter, Mode, Value,
    endpoints::{EndpointManager, ManagerConfig, NodeEndpoints},
};
use tokio::sync::mpsc;

struct Broadcaster {
    endpoints: EndpointManager,
    events: EventEmitter,
}

impl Broadcaster {
    async fn send_to_all(&self, message: &'static [u8]) -> Outcome {
        let report = self.endpoints.broadcast(message).await;
        let count = i64::try_from(report.sent)?;
        self.events.emit_and_wait(Event::custom("broadcast_complete", [("count", count)])?).await;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Outcome {
    tokio::time::timeout(Duration::from_secs(45), run()).await?
}

async fn run() -> Outcome {
    let seed = common::seed()?;
    let node = common::node(&seed, Mode::Server).await?;
    let behind = NodeEndpoints::new(&node, 1, ManagerConfig::default())?;
    let mut listeners = Vec::new();
    for _ in 0..5 {
        let listener = common::node(&seed, Mode::Client).await?;
        let (session, _) = common::connect(&listener, &node).await?;
        listeners.push((listener, session));
    }
    while behind.manager().len() < listeners.len() {
        tokio::task::yield_now().await;
    }

    let events = EventEmitter::new();
    let (done, mut counts) = mpsc::unbounded_channel();
    let _subscription = events.on("broadcast_complete", move |event: Arc<Event>| {
        let _ = done.send(event.fields().get("count").and_then(Value::as_int));
        std::future::ready(())
    })?;
    let broadcaster = Broadcaster { endpoints: behind.manager().clone(), events };
    broadcaster.send_to_all(b"Announcement").await?;
    assert_eq!(counts.recv().await, Some(Some(5)));
    for (_, session) in &listeners {
        let stream = session.get_stream(1)?;
        assert_eq!(stream.receive().await?.as_deref(), Some(&b"Announcement"[..]));
    }
    println!("{} listeners got the announcement", listeners.len());
    Ok(())
}
