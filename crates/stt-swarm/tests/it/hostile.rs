//! A member that speaks the swarm's protocols by hand, and badly. The others are still served.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{future::Future, time::Duration};

use stt::{Mode, Node, ProtocolStream, Session, SharedSeed};
use stt_swarm::{Swarm, SwarmOptions, TopicEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LINK: &str = "stt/swarm-link/1";
const STREAM: &str = "stt/swarm/1";

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it took too long")
}

async fn node() -> Node {
    let seed = SharedSeed::from_key(stc::Key::from_bytes([9; 32]));
    Node::builder(seed).host("127.0.0.1").port(0).start(Mode::Server).await.unwrap()
}

async fn swarm() -> Swarm {
    Swarm::start(&node().await, &SwarmOptions::default()).unwrap()
}

/// Two honest members, and a node that has a session with the first.
async fn three() -> (Swarm, Swarm, Node, Session) {
    let (a, b, hostile) = (swarm().await, swarm().await, node().await);
    let address = a.node().local_addr().to_string();
    b.dht().bootstrap([&address]).await.unwrap();
    let session = hostile.connect(&address).await.unwrap();
    (a, b, hostile, session)
}

/// Links as the first version does.
async fn link(session: &Session) -> ProtocolStream {
    let control = session.open_protocol(LINK).unwrap();
    let hello = [&[1, 1][..], &7_u64.to_be_bytes(), &0_u64.to_be_bytes()].concat();
    control.send(&hello).await.unwrap();
    let answer = within(control.receive()).await.unwrap().unwrap();
    assert_eq!(answer.first(), Some(&0), "{answer:?}");
    control
}

/// A stream of the engine on which `protocol` is agreed.
async fn negotiated(session: &Session, protocol: &str) -> ProtocolStream {
    let mut stream = session.open_protocol(STREAM).unwrap();
    let line = |text: &str| {
        let len = u8::try_from(text.len() + 1).unwrap();
        [&[len][..], text.as_bytes(), b"\n"].concat()
    };
    let both = [line("/multistream/1.0.0"), line(protocol)].concat();
    stream.write_all(&both).await.unwrap();
    stream.flush().await.unwrap();
    let mut echoed = vec![0; both.len()];
    within(stream.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(echoed, both);
    stream
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// A field of a protobuf message.
fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let len = u64::try_from(bytes.len()).unwrap();
    [varint(number << 3 | 2), varint(len), bytes.to_vec()].concat()
}

fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [varint(u64::try_from(message.len()).unwrap()), message.to_vec()].concat()
}

/// Both honest members do all that they are for.
async fn still_served(a: &Swarm, b: &Swarm) {
    within(a.dht().store(b"key", b"value")).await.unwrap();
    let value = within(b.dht().find_value(b"key")).await.unwrap().unwrap();
    assert_eq!((&value.data[..], value.publisher), (&b"value"[..], a.node().node_id()));
    let mut news = within(b.pubsub().subscribe("news")).await.unwrap();
    within(async {
        while a.pubsub().neighbours("news").await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    within(a.pubsub().publish("news", "still here")).await.unwrap();
    match within(news.next()).await {
        Some(TopicEvent::Message(message)) => assert_eq!(&message.data[..], b"still here"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn streams_without_a_link_and_nonsense_for_a_question_are_refused() {
    let (a, b, _hostile, session) = within(three()).await;
    for _ in 0..32 {
        let stream = session.open_protocol(STREAM).unwrap();
        stream.send(b"hello").await.ok();
        assert!(within(stream.receive()).await.is_err());
    }
    for question in [&b""[..], &[9; 18], &[1], &[1; 17]] {
        let control = session.open_protocol(LINK).unwrap();
        control.send(question).await.unwrap();
        assert!(within(control.receive()).await.is_err(), "{question:?}");
    }
    // One that is longer than any question.
    let control = session.open_protocol(LINK).unwrap();
    control.send(&[1; 4_096]).await.ok();
    assert!(!matches!(within(control.receive()).await, Ok(Some(_))));
    still_served(&a, &b).await;
}

#[tokio::test]
async fn more_streams_than_the_engine_takes_and_garbage_on_them_harm_nobody() {
    let (a, b, _hostile, session) = within(three()).await;
    let _control = link(&session).await;
    let mut streams = Vec::new();
    for number in 0_u32..300 {
        let Ok(mut stream) = session.open_protocol(STREAM) else { break };
        let garbage = [number.to_be_bytes(); 64].concat();
        let _ = within(stream.write_all(&garbage)).await;
        let _ = within(stream.flush()).await;
        streams.push(stream);
    }
    still_served(&a, &b).await;
}

/// What nobody signed ends the link of who passed it on, and reaches nobody.
#[tokio::test]
async fn who_passes_on_what_nobody_signed_is_unlinked() {
    let (a, b, _hostile, session) = within(three()).await;
    let mut news = within(a.pubsub().subscribe("news")).await.unwrap();
    let control = link(&session).await;
    let mut stream = negotiated(&session, "/stt/gossip/1.1.0").await;
    let mut topic = blake3::Hasher::new_derive_key("stt-swarm/1 topic");
    topic.update(&0_u64.to_be_bytes()).update(b"news");
    let topic: String = topic.finalize().to_hex().chars().take(32).collect();
    let message = [field(2, b"nobody signed this"), field(4, topic.as_bytes())].concat();
    stream.write_all(&framed(&field(2, &message))).await.unwrap();
    stream.flush().await.unwrap();
    let ended = within(control.receive()).await;
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
    still_served(&a, &b).await;
    match within(news.next()).await {
        Some(TopicEvent::Message(message)) => assert_eq!(&message.data[..], b"still here"),
        other => panic!("{other:?}"),
    }
}

/// SW-17.
#[tokio::test]
async fn control_messages_out_of_all_bounds_change_nothing() {
    let (a, b, _hostile, _session) = within(three()).await;
    let address = a.node().local_addr().to_string();
    let mut kept = Vec::new();
    let control = |messages: &[u8]| framed(&field(3, messages));
    let prune = |topic: &str| {
        let backoff = number(3, u64::MAX);
        field(4, &[field(1, topic.as_bytes()), backoff].concat())
    };
    let many_topics: Vec<u8> = (0..1_000)
        .flat_map(|topic| {
            field(1, &[number(1, 1), field(2, format!("t{topic}").as_bytes())].concat())
        })
        .collect();
    let ids: Vec<u8> = (0..3_000_u32).flat_map(|id| field(2, &id.to_be_bytes())).collect();
    let ihave = field(1, &[field(1, b"nobody's"), ids].concat());
    let graft: Vec<u8> =
        (0..1_000).flat_map(|topic| field(3, &field(1, format!("t{topic}").as_bytes()))).collect();
    for frame in [
        control(&prune("nobody's")),
        framed(&many_topics),
        control(&ihave),
        control(&graft),
        // Longer than control messages may be together.
        control(&[ihave.clone(), graft.clone(), vec![0; 1], graft.clone(), ihave.clone()].concat()),
        framed(&[0xff; 500]),
    ] {
        // Each by another member: after five streams the engine takes no more of one.
        let hostile = node().await;
        let session = within(hostile.connect(&address)).await.unwrap();
        let link = link(&session).await;
        let mut stream = negotiated(&session, "/stt/gossip/1.1.0").await;
        let _ = within(stream.write_all(&frame)).await;
        let _ = within(stream.flush()).await;
        kept.push((hostile, link, stream));
    }
    still_served(&a, &b).await;
}
