//! Content by its id alone, over real nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use stt::{Coded, ContentId, Mode, Node, SharedSeed};
use stt_swarm::{
    ContentDistribution, LongMessages, Provider, RetrieveOptions, Swarm, SwarmOptions, TopicEvent,
};
use tokio::io::AsyncReadExt;

async fn node() -> Node {
    let seed = SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
    Node::builder(seed).host("127.0.0.1").port(0).start(Mode::Server).await.unwrap()
}

struct Member {
    node: Node,
    content: ContentDistribution,
}

impl Member {
    async fn start() -> Self {
        let node = node().await;
        let content = ContentDistribution::new(&node).unwrap();
        Self { node, content }
    }

    async fn connect(&self, to: &Node) {
        self.node.connect(&to.local_addr().to_string()).await.unwrap();
    }
}

fn data(len: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(5);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

#[tokio::test]
async fn what_one_publishes_others_retrieve_by_its_hash() {
    let (a, b, c) = (Member::start().await, Member::start().await, Member::start().await);
    let reader = Member::start().await;
    for member in [&a, &b, &c] {
        reader.connect(&member.node).await;
    }
    for len in [0, 1, 16_384, 16_385, 5_000_000] {
        let data = data(len);
        let id = a.content.publish_content(data.clone()).await.unwrap();
        assert_eq!(id, ContentId::of(&data));
        assert_eq!(b.content.publish_content(data.clone()).await.unwrap(), id);
        let options = RetrieveOptions::default();
        assert!(reader.content.retrieve_content(id, &options).await.unwrap() == data, "{len}");
        // Of one's own without a network.
        assert!(a.content.retrieve_content(id, &options).await.unwrap() == data);
        let out = tempfile::tempdir().unwrap();
        let file = reader.content.retrieve_file(id, out.path(), "a file", &options).await.unwrap();
        assert!(std::fs::read(file.path).unwrap() == data);
    }
    let stats = reader.content.stats();
    assert_eq!((stats.retrieved, stats.failed), (10, 0));
    assert_eq!(a.content.stats().library.contents, 5);
    // The sessions were the application's.
    assert_eq!(reader.node.sessions().len(), 3);
}

#[tokio::test]
async fn absent_and_too_long_content_are_errors() {
    let (member, reader) = (Member::start().await, Member::start().await);
    let options = RetrieveOptions::new();
    let absent = ContentId::of(b"nobody has this");
    let error = reader.content.retrieve_content(absent, &options).await.unwrap_err();
    assert_eq!((error.code(), error.retry_helps()), ("content.not_found", true));
    let id = member.content.publish_content(data(100_000)).await.unwrap();
    // By address, without a session before.
    let addresses = vec![member.node.local_addr()];
    let options = options.providers([Provider { node_id: member.node.node_id(), addresses }]);
    let error = reader.content.retrieve_content(absent, &options).await.unwrap_err();
    assert_eq!(error.to_string(), "none of the 1 members that were asked has it");
    let options = options.max_size(99_999);
    let error = reader.content.retrieve_content(id, &options).await.unwrap_err();
    assert_eq!(error.code(), "content.too_large");
    let options = options.max_size(100_000);
    assert_eq!(reader.content.retrieve_content(id, &options).await.unwrap().len(), 100_000);
    assert!(member.content.unpublish_content(id).await);
    assert!(reader.content.retrieve_content(id, &options).await.is_err());
    assert_eq!(reader.content.stats().failed, 4);
}

#[tokio::test]
async fn a_member_that_lies_about_the_length_is_not_believed() {
    let (honest, reader, liar) = (Member::start().await, Member::start().await, node().await);
    let data = data(100_000);
    let id = honest.content.publish_content(data.clone()).await.unwrap();
    // It has the first group and its proof, and the length is of as many levels.
    let (seven, tree) = (data.clone(), bao_tree::BlockSize::from_chunk_log(4));
    let _lying = liar.handle_protocol("stt.content/1", move |_, mut stream| {
        let data = seven.clone();
        async move {
            let outboard = bao_tree::io::outboard::PreOrderMemOutboard::create(&data, tree);
            let mut request = [0; 48];
            while stream.read_exact(&mut request).await.is_ok() {
                let mut answer = vec![0];
                answer.extend_from_slice(&110_000u64.to_le_bytes());
                let range = bao_tree::ChunkRanges::from(..bao_tree::ChunkNum(16));
                bao_tree::io::sync::encode_ranges_validated(
                    &data[..],
                    &outboard,
                    &range,
                    &mut answer,
                )
                .unwrap();
                if stream.write_chunk(Bytes::from(answer)).await.is_err() {
                    return;
                }
            }
        }
    });
    reader.connect(&liar).await;
    let options = RetrieveOptions::default();
    let error = reader.content.retrieve_content(id, &options).await.unwrap_err();
    assert_eq!(error.code(), "content.not_found");
    reader.connect(&honest.node).await;
    assert!(reader.content.retrieve_content(id, &options).await.unwrap() == data);
}

/// Three members of which the reader has a session with the first only: the table names the second.
#[tokio::test]
async fn the_swarms_table_names_who_has_it() {
    let (first, second, reader) = (node().await, node().await, node().await);
    let start = |node: &Node| Swarm::start(node, &SwarmOptions::default()).unwrap();
    let (first, second, reader) = (start(&first), start(&second), start(&reader));
    let address = first.node().local_addr().to_string();
    second.dht().bootstrap([&address]).await.unwrap();
    reader.dht().bootstrap([&address]).await.unwrap();
    let (there, here) = (
        ContentDistribution::in_swarm(&second).unwrap(),
        ContentDistribution::in_swarm(&reader).unwrap(),
    );
    let data = data(100_000);
    let id = there.publish_content(data.clone()).await.unwrap();
    let options = RetrieveOptions::new().search(std::time::Duration::from_secs(30));
    assert!(here.retrieve_content(id, &options).await.unwrap() == data);
    // Nobody has this; the search ends by itself, or when its time is over.
    let options = options.search(std::time::Duration::from_millis(500));
    let nobody = here.retrieve_content(ContentId::of(b"nobody's"), &options).await.unwrap_err();
    assert_eq!(nobody.code(), "content.not_found");
    assert!(there.unpublish_content(id).await);
    assert!(!there.unpublish_content(id).await);
}

/// What is too long for gossip travels as content, to all who subscribe, the publisher among them.
#[tokio::test]
async fn long_messages_arrive_whole_and_short_ones_beside_them() {
    let start = async || {
        let swarm = Swarm::start(&node().await, &SwarmOptions::default()).unwrap();
        let content = ContentDistribution::in_swarm(&swarm).unwrap();
        let messages = LongMessages::new(&swarm, Arc::new(content));
        (swarm, messages)
    };
    let ((first, of_first), (second, of_second)) = (start().await, start().await);
    let mut subscriptions =
        [of_first.subscribe("news").await.unwrap(), of_second.subscribe("news").await.unwrap()];
    second.dht().bootstrap([first.node().local_addr()]).await.unwrap();
    let (long, longest) = (data(1_000_000), data(16 << 20));
    let short = Bytes::from_static(b"short");
    for sent in [&long, &short, &longest] {
        of_second.publish("news", sent.clone()).await.unwrap();
        for subscription in &mut subscriptions {
            match subscription.next().await {
                Some(TopicEvent::Message(message)) => {
                    assert!(message.data == *sent && &*message.topic == "news");
                    assert_eq!(message.publisher, second.node().node_id());
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let error = of_second.publish("news", vec![0; (16 << 20) + 1]).await.unwrap_err();
    assert_eq!(error.code(), "swarm.too_large");
}

/// An id of which nobody has the content is a gap, not silence, and keeps nothing else back.
#[tokio::test]
async fn a_long_message_that_cannot_be_fetched_is_a_gap() {
    let swarm = Swarm::start(&node().await, &SwarmOptions::default()).unwrap();
    let content = ContentDistribution::in_swarm(&swarm).unwrap();
    let messages = LongMessages::new(&swarm, Arc::new(content));
    let mut news = messages.subscribe("news").await.unwrap();
    let nobodys = ContentId::of(b"nobody has this");
    swarm.pubsub().publish("stt.large/news", nobodys.as_bytes()).await.unwrap();
    swarm.pubsub().publish("stt.large/news", b"no id").await.unwrap();
    for _ in 0..2 {
        assert_eq!(news.next().await, Some(TopicEvent::Gap { missed: 1 }));
    }
    messages.publish("news", "short").await.unwrap();
    assert!(matches!(news.next().await, Some(TopicEvent::Message(_))));
}
