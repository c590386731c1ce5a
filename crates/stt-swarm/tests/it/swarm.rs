//! Three nodes of one seed on 127.0.0.1 find each other, store and find, publish and subscribe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{future::Future, time::Duration};

use stt::{Node, NodeId, SharedSeed};
use stt_swarm::{
    ContentLibrary, ContentTicket, FetchOptions, PubSub, Sequence, Swarm, SwarmError, SwarmOptions,
    TopicEvent, TopicSubscription,
};

/// Nothing here may wait for ever.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it took too long")
}

struct Seeds(u8);

impl Seeds {
    fn new() -> Self {
        Self(7)
    }

    async fn node(&self) -> Node {
        let seed = SharedSeed::from_key(stc::Key::from_bytes([self.0; 32]));
        Node::builder(seed).host("127.0.0.1").port(0).start(stt::Mode::Server).await.unwrap()
    }

    async fn swarm(&self) -> Swarm {
        Swarm::start(&self.node().await, &SwarmOptions::default()).unwrap()
    }
}

async fn join(swarm: &Swarm, by: &Swarm) {
    let address = by.node().local_addr().to_string();
    let joined = within(swarm.dht().bootstrap(&[address])).await.unwrap();
    assert_eq!(joined.reached, by.node().node_id());
    assert!(joined.known >= 1);
}

async fn three() -> [Swarm; 3] {
    let seeds = Seeds::new();
    let [a, b, c] = [seeds.swarm().await, seeds.swarm().await, seeds.swarm().await];
    join(&b, &a).await;
    join(&c, &a).await;
    [a, b, c]
}

async fn next(subscription: &mut TopicSubscription) -> (Vec<u8>, NodeId) {
    match within(subscription.next()).await.unwrap() {
        TopicEvent::Message(message) => (message.data.to_vec(), message.publisher),
        other => panic!("{other:?}"),
    }
}

fn id(swarm: &Swarm) -> NodeId {
    swarm.node().node_id()
}

#[tokio::test]
async fn three_nodes_store_and_find() {
    let [a, b, c] = within(three()).await;
    let stored = within(b.dht().store(b"key", b"value")).await.unwrap();
    assert!(stored.copies >= 1, "{stored:?}");
    for swarm in [&a, &b, &c] {
        let value = within(swarm.dht().find_value(b"key")).await.unwrap().unwrap();
        assert_eq!((&value.data[..], value.publisher), (&b"value"[..], id(&b)));
    }
    // Another member cannot take its place, and is told so.
    let taken = within(a.dht().store(b"key", b"mine")).await;
    assert!(matches!(taken, Err(SwarmError::Taken)), "{taken:?}");
    let replaced = within(b.dht().store(b"key", b"newer")).await.unwrap();
    assert!(replaced.copies >= 1);
    let value = within(c.dht().find_value_of(b"key", id(&b))).await.unwrap().unwrap();
    assert_eq!(value.data, "newer");
    assert_eq!(within(c.dht().find_value_of(b"key", id(&a))).await.unwrap(), None);
    assert_eq!(within(c.dht().find_value(b"nothing")).await.unwrap(), None);
}

/// Also what lazy negotiation may lose: nothing answers the announcement.
#[tokio::test]
async fn a_provider_is_found_with_its_address_and_a_node_by_its_id() {
    let [a, b, c] = within(three()).await;
    within(b.dht().provide(b"content")).await.unwrap();
    let found = within(async {
        loop {
            let mut providers = c.dht().find_providers(b"content").await.unwrap();
            if let Some(found) = futures_util::StreamExt::next(&mut providers).await {
                break found;
            }
        }
    });
    let found = found.await;
    assert_eq!((found.node_id, found.address), (id(&b), b.node().local_addr()));
    let session = within(c.dht().connect(id(&b))).await.unwrap();
    assert_eq!(session.peer_node_id(), id(&b));
    let members = within(c.dht().find_node(id(&a))).await.unwrap();
    assert!(members.iter().any(|member| member.node_id == id(&a)), "{members:?}");
    let peers = within(c.dht().peers()).await.unwrap();
    assert!(peers.iter().all(|peer| peer.node_id != id(&c)) && peers.len() == 2, "{peers:?}");
    let nobody = stt::Identity::ephemeral().unwrap().node_id();
    let unreachable = within(c.dht().connect(nobody)).await;
    assert!(matches!(unreachable, Err(SwarmError::Unreachable { .. })), "{unreachable:?}");
}

#[tokio::test]
async fn subscribers_get_each_message_once_and_know_who_published_it() {
    let [a, b, c] = within(three()).await;
    let mut subscriptions = Vec::new();
    for swarm in [&a, &b, &c] {
        subscriptions.push(within(swarm.pubsub().subscribe("news")).await.unwrap());
    }
    for swarm in [&a, &b, &c] {
        // Subscriptions are on their way.
        within(async {
            while swarm.pubsub().neighbours("news").await.unwrap() < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    for (number, swarm) in [&a, &b, &c].into_iter().enumerate() {
        let text = format!("message {number}");
        let published = within(swarm.pubsub().publish("news", text.clone())).await.unwrap();
        assert_eq!((published.sequence.count, published.neighbours), (1, 2));
        for subscription in &mut subscriptions {
            assert_eq!(next(subscription).await, (text.clone().into_bytes(), id(swarm)));
        }
    }
}

/// SW-1.
#[tokio::test]
async fn what_is_published_right_after_joining_arrives() {
    let seeds = Seeds::new();
    let (a, b) = (seeds.swarm().await, seeds.swarm().await);
    let mut news = within(a.pubsub().subscribe("news")).await.unwrap();
    join(&b, &a).await;
    let published = within(b.pubsub().publish("news", "early")).await.unwrap();
    assert_eq!(published.neighbours, 1);
    assert_eq!(next(&mut news).await, (b"early".to_vec(), id(&b)));
    // The same as a stream.
    within(b.pubsub().publish("news", "later")).await.unwrap();
    let mut news = std::pin::pin!(news.into_stream());
    let later = within(futures_util::StreamExt::next(&mut news)).await;
    let Some(TopicEvent::Message(later)) = later else { panic!("{later:?}") };
    assert_eq!((&later.data[..], later.publisher), (&b"later"[..], id(&b)));
}

/// A message is only queued when `publish` returns.
#[tokio::test]
async fn subscribers_say_that_they_have_had_a_message() {
    let seeds = Seeds::new();
    let (a, b) = (seeds.swarm().await, seeds.swarm().await);
    let mut news = within(a.pubsub().subscribe("news")).await.unwrap();
    join(&b, &a).await;
    let pubsub = b.pubsub();
    let published = within(pubsub.publish("news", "early")).await.unwrap();
    let long = Duration::from_secs(60);
    let receipts = within(pubsub.receipts("news", published.sequence, long)).await.unwrap();
    assert_eq!((receipts.asked, receipts.confirmed), (1, 1));
    assert_eq!(next(&mut news).await, (b"early".to_vec(), id(&b)));
    // One that never was.
    let never = Sequence { count: 7, ..published.sequence };
    let receipts = within(pubsub.receipts("news", never, Duration::from_millis(50))).await.unwrap();
    assert_eq!((receipts.asked, receipts.confirmed), (1, 0));
    let receipts = within(pubsub.receipts("nobody's", never, long)).await.unwrap();
    assert_eq!(receipts.asked, 0);
}

/// One that only asks is asked nothing, so the others have to have what it says.
#[tokio::test]
async fn what_was_said_alone_is_known_after_joining() {
    let seeds = Seeds::new();
    let (a, c) = (seeds.swarm().await, seeds.swarm().await);
    let b = Swarm::start(&seeds.node().await, &SwarmOptions::default().serve(false)).unwrap();
    assert_eq!(within(b.dht().store(b"key", b"value")).await.unwrap().copies, 0);
    join(&b, &a).await;
    join(&c, &a).await;
    let found = within(async {
        loop {
            if let Some(found) = c.dht().find_value(b"key").await.unwrap() {
                break found;
            }
        }
    });
    assert_eq!(found.await.publisher, id(&b));
}

#[tokio::test]
async fn alone_all_of_ones_own_succeeds() {
    let swarm = Seeds::new().swarm().await;
    assert_eq!(within(swarm.dht().store(b"key", b"value")).await.unwrap().copies, 0);
    let value = within(swarm.dht().find_value(b"key")).await.unwrap().unwrap();
    assert_eq!(value.data, "value");
    within(swarm.dht().provide(b"key")).await.unwrap();
    let mut providers = within(swarm.dht().find_providers(b"key")).await.unwrap();
    assert_eq!(within(providers.next()).await.unwrap().node_id, id(&swarm));
    assert_eq!(within(providers.next()).await, None);
    let pubsub = swarm.pubsub();
    let nobody = pubsub.publish_within("news", "lost", Duration::from_millis(1));
    assert!(matches!(within(nobody).await, Err(SwarmError::NoSubscribers { peers: 0, .. })));
    let mut news = within(swarm.pubsub().subscribe("news")).await.unwrap();
    assert_eq!(within(swarm.pubsub().publish("news", "own")).await.unwrap().neighbours, 0);
    assert_eq!(next(&mut news).await.0, b"own");
    let long = vec![0; PubSub::MAX_MESSAGE + 1];
    let too_large = within(swarm.pubsub().publish("news", long)).await;
    assert!(matches!(too_large, Err(SwarmError::TooLarge { .. })));
}

#[tokio::test]
async fn the_dead_are_named_and_one_of_three_that_lives_is_enough() {
    let seeds = Seeds::new();
    let (a, b) = (seeds.swarm().await, seeds.swarm().await);
    // Sockets that answer nothing.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let addresses = [silent.clone(), a.node().local_addr().to_string(), silent.clone()];
    within(b.dht().bootstrap(&addresses)).await.unwrap();
    let lonely = seeds.swarm().await;
    let asked = ["no address", silent.as_str()];
    let Err(SwarmError::NoBootstrap { causes }) = within(lonely.dht().bootstrap(asked)).await
    else {
        panic!("it joined by nobody");
    };
    let [malformed, unanswered] = causes.as_slice() else { panic!("{causes:?}") };
    assert_eq!([&malformed.address, &unanswered.address], asked);
    assert!(malformed.cause.is::<stt::AddressError>(), "{malformed:?}");
    assert!(unanswered.cause.is::<stt::ConnectError>(), "{unanswered:?}");
}

/// The application's session is used, and is left to it when the swarm ends.
#[tokio::test]
async fn a_session_of_the_application_is_shared_and_outlives_the_swarm() {
    let seeds = Seeds::new();
    let (a, b) = (seeds.swarm().await, seeds.swarm().await);
    let (node, peer) = (b.node(), id(&a));
    let session = within(node.connect(&a.node().local_addr().to_string())).await.unwrap();
    assert_eq!(within(b.dht().connect(peer)).await.unwrap().id(), session.id());
    join(&b, &a).await;
    within(b.dht().store(b"key", b"value")).await.unwrap();
    drop(b);
    // The swarm's own session, which was opened to join, goes; the application's stays.
    within(async {
        while node.sessions_with(peer).len() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(within(session.ping()).await.is_ok());
    assert_eq!(session.close_reason(), None);
    // The node can take part again.
    within(async {
        while Swarm::start(&node, &SwarmOptions::default()).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// What only the swarm opened ends with it.
#[tokio::test]
async fn a_session_of_the_swarm_ends_with_it() {
    let seeds = Seeds::new();
    let (a, b) = (seeds.swarm().await, seeds.swarm().await);
    let (node, peer) = (b.node(), id(&a));
    join(&b, &a).await;
    assert_eq!(node.sessions_with(peer).len(), 1);
    drop(b);
    within(async {
        while !node.sessions_with(peer).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A ticket that names nobody is enough when the DHT knows a provider.
#[tokio::test]
async fn content_is_fetched_from_whom_the_dht_names() {
    let [_a, b, c] = within(three()).await;
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("file.bin"), dir.path().join("got"));
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&from, &bytes).unwrap();
    std::fs::create_dir(&to).unwrap();
    let library = ContentLibrary::new(&b.node()).unwrap();
    let shared = within(library.share(&from)).await.unwrap();
    within(b.dht().provide_content(&shared.root)).await.unwrap();
    let mut ticket = ContentTicket::new(shared.root, shared.size, &shared.name).unwrap();
    // Announcements are not confirmed.
    within(async {
        while c.dht().add_providers(&mut ticket, Duration::from_secs(30)).await.unwrap() == 0 {}
    })
    .await;
    assert_eq!(ticket.providers()[0].node_id, id(&b));
    let options = FetchOptions::default();
    let fetched = within(stt_swarm::fetch(&c.node(), &ticket, &to, &options)).await.unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), bytes);
}
