//! Every event of a node and of the application, counted by name.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use stt::{Event, EventEmitter, EventFilter, Subscription, events::EventError};

#[derive(Clone, Default)]
struct EventMetrics {
    counters: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl EventMetrics {
    fn listen(&self, events: &EventEmitter) -> Result<Subscription, EventError> {
        let counters = Arc::clone(&self.counters);
        events.on(EventFilter::All, move |event: Arc<Event>| {
            let mut counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
            *counters.entry(event.name().to_owned()).or_default() += 1;
            std::future::ready(())
        })
    }

    fn count(&self, name: &str) -> u64 {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.get(name).copied().unwrap_or_default()
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let seed = common::seed()?;
    let node = common::node(&seed, stt::Mode::Server).await?;
    let metrics = EventMetrics::default();
    let _subscription = metrics.listen(node.events())?;

    let client = common::node(&seed, stt::Mode::Client).await?;
    let (ours, _) = common::connect(&client, &node).await?;
    ours.get_stream(1)?.send(b"data").await?;
    let packet = node.receive().await.ok_or("the node stopped")?;
    assert_eq!(packet.data, "data");
    node.events().emit(Event::custom("my_event", [("data", 123)])?);
    node.events().emit_and_wait(Event::custom("my_event", [("data", 456)])?).await;
    ours.close("done").await;
    while metrics.count("peer_disconnected") == 0 {
        tokio::task::yield_now().await;
    }
    let names = [
        "peer_connected",
        "session_created",
        "data_received",
        "session_closed",
        "peer_disconnected",
    ];
    for name in names {
        assert_eq!(metrics.count(name), 1, "{name}");
        println!("{name}: 1");
    }
    assert_eq!(metrics.count("my_event"), 2);
    println!("my_event: 2");
    Ok(())
}
