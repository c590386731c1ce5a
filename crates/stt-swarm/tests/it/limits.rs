//! How much is taken of whom, and what becomes of the rest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{future::Future, time::Duration};

use stt::{Coded, Mode, Node, SharedSeed};
use stt_swarm::{MessageRate, Swarm, SwarmOptions, TopicEvent};

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it took too long")
}

async fn swarm(options: &SwarmOptions) -> Swarm {
    let seed = SharedSeed::from_key(stc::Key::from_bytes([11; 32]));
    let node = Node::builder(seed).host("127.0.0.1").port(0).start(Mode::Server).await.unwrap();
    Swarm::start(&node, options).unwrap()
}

async fn join(swarm: &Swarm, by: &Swarm) {
    within(swarm.dht().bootstrap([by.node().local_addr()])).await.unwrap();
}

#[tokio::test]
async fn who_floods_costs_itself_and_others_are_heard() {
    let rate = MessageRate { messages: 100, bytes: 1 << 20 };
    let options = SwarmOptions::default();
    let reader = swarm(&options.clone().publisher_rate(rate)).await;
    let (flooding, honest) = (swarm(&options).await, swarm(&options).await);
    let mut news = within(reader.pubsub().subscribe("news")).await.unwrap();
    join(&flooding, &reader).await;
    join(&honest, &reader).await;
    let (flood, calm) = (flooding.pubsub(), honest.pubsub());
    let flood = async move {
        for number in 0..2_000_u32 {
            flood.publish("news", number.to_be_bytes().to_vec()).await.unwrap();
        }
    };
    let calm = async move {
        for number in 0..20_u32 {
            calm.publish("news", number.to_be_bytes().to_vec()).await.unwrap();
        }
    };
    let read = async {
        let (mut of_flood, mut of_honest, mut missed) = (0, Vec::new(), 0);
        while of_honest.len() < 20 || of_flood + missed < 2_000 {
            match news.next().await.unwrap() {
                TopicEvent::Message(message) if message.publisher == honest.node().node_id() => {
                    of_honest.push(message.sequence.count);
                }
                TopicEvent::Message(_) => of_flood += 1,
                TopicEvent::Gap { missed: some } => missed += some,
                other => panic!("{other:?}"),
            }
        }
        (of_flood, of_honest, missed)
    };
    let ((), (), (of_flood, of_honest, missed)) =
        within(async { tokio::join!(flood, calm, read) }).await;
    assert!(of_flood >= 100 && missed >= 100, "{of_flood} taken, {missed} missed");
    assert_eq!(of_honest, (1..=20).collect::<Vec<_>>());
}

/// A queue to a subscriber holds 128.
#[tokio::test]
async fn what_is_published_at_once_waits_for_a_place_and_arrives_once_and_in_order() {
    let options = SwarmOptions::default();
    let (reader, writer) = (swarm(&options).await, swarm(&options).await);
    let mut news = within(reader.pubsub().subscribe("news")).await.unwrap();
    join(&writer, &reader).await;
    let (pubsub, data) = (writer.pubsub(), vec![7; 4_096]);
    for round in 0..8 {
        let all = (0..200).map(|_| {
            let (pubsub, data) = (pubsub.clone(), data.clone());
            tokio::spawn(async move { pubsub.publish("news", data).await })
        });
        for published in all.collect::<Vec<_>>() {
            assert_eq!(within(published).await.unwrap().unwrap().neighbours, 1);
        }
        for number in 1..=200 {
            match within(news.next()).await.unwrap() {
                TopicEvent::Message(message) => {
                    assert_eq!(message.sequence.count, round * 200 + number);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What others with the same limit would drop waits here.
#[tokio::test]
async fn a_publisher_keeps_to_its_own_limit() {
    let rate = MessageRate { messages: 200, bytes: 1 << 20 };
    let options = SwarmOptions::default().publisher_rate(rate);
    let (reader, writer) = (swarm(&options).await, swarm(&options).await);
    let mut news = within(reader.pubsub().subscribe("news")).await.unwrap();
    join(&writer, &reader).await;
    for number in 0..250_u32 {
        within(writer.pubsub().publish("news", number.to_be_bytes().to_vec())).await.unwrap();
        match within(news.next()).await.unwrap() {
            TopicEvent::Message(message) => assert_eq!(&message.data[..], number.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_rate_of_nothing_is_out_of_range() {
    let node = swarm(&SwarmOptions::default()).await.node();
    let none = MessageRate { messages: 0, ..SwarmOptions::TOPIC_RATE };
    let error = Swarm::start(&node, &SwarmOptions::default().topic_rate(none)).unwrap_err();
    assert_eq!(error.code(), "swarm.out_of_range");
    assert!(error.to_string().starts_with("topic_rate.messages is 0"), "{error}");
}
