//! A member that speaks the swarm's protocols by hand, and badly. The others are still served.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{future::Future, time::Duration};

use stt::{Mode, Node, ProtocolStream, Session, SharedSeed};
use stt_swarm::{MessageRate, Swarm, SwarmOptions, TopicEvent};
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
    link_as(session, true).await
}

/// The same, and says whether it serves.
async fn link_as(session: &Session, serves: bool) -> ProtocolStream {
    let control = session.open_protocol(LINK).unwrap();
    let hello = [&[1, u8::from(serves)][..], &7_u64.to_be_bytes(), &0_u64.to_be_bytes()].concat();
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

/// A hash as the swarm without a name makes them.
fn keyed(purpose: &str, key: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    hasher.update(&0_u64.to_be_bytes()).update(key);
    hasher.finalize()
}

fn topic(name: &str) -> String {
    keyed("stt-swarm/1 topic", name.as_bytes()).to_hex().chars().take(32).collect()
}

/// A node as the engine names it.
fn peer(node: &[u8; 32]) -> Vec<u8> {
    [&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20], &node[..]].concat()
}

/// A peer of the DHT at a port of 127.0.0.1.
fn peer_at(node: &[u8; 32], port: u16) -> Vec<u8> {
    let address = [&[4, 127, 0, 0, 1, 0x91, 0x02], &port.to_be_bytes()[..]].concat();
    [field(1, &peer(node)), field(2, &address)].concat()
}

/// A message of the DHT.
fn kad(kind: u64, key: &[u8], rest: &[u8]) -> Vec<u8> {
    framed(&[number(1, kind), field(2, key), rest.to_vec()].concat())
}

const PUT_VALUE: u64 = 0;
const GET_VALUE: u64 = 1;
const ADD_PROVIDER: u64 = 2;
const GET_PROVIDERS: u64 = 3;
const KAD: &str = "/stt/kad/1";

/// Asks on a stream of the DHT, and waits for the answer, so that what was said before is done.
async fn fence(stream: &mut ProtocolStream) {
    stream.write_all(&kad(GET_PROVIDERS, &[1; 32], &[])).await.unwrap();
    stream.flush().await.unwrap();
    within(read_frame(stream)).await.unwrap();
}

async fn read_frame(stream: &mut ProtocolStream) -> Option<Vec<u8>> {
    let (mut len, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// Takes a stream of the engine: if it is for the DHT, what the first message on it is answered
/// with; `None` to say nothing.
async fn serve_badly(mut stream: ProtocolStream, answer: Option<Vec<u8>>) {
    for wanted in ["/multistream/1.0.0", KAD] {
        let Some(line) = read_frame(&mut stream).await else { return };
        let text = String::from_utf8_lossy(&line);
        let echo = if text.trim_end() == wanted { line } else { b"na\n".to_vec() };
        if stream.write_all(&framed(&echo)).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    while let Some(_question) = read_frame(&mut stream).await {
        match &answer {
            Some(answer) => {
                let _ = stream.write_all(answer).await;
                let _ = stream.flush().await;
            }
            None => std::future::pending().await,
        }
    }
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
    let topic = topic("news");
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

/// A message as gossip carries it, with a signature of `node`.
fn published(node: &Node, name: &str, count: u64) -> Vec<u8> {
    let (topic, started, count) = (topic(name), 1_u64.to_be_bytes(), count.to_be_bytes());
    let signed = [topic.as_bytes(), &started, &count, b"data"].concat();
    let signature = node.sign("stt-swarm/1 message", &signed).unwrap();
    let id = node.node_id();
    let envelope = [&[2, 0], &id.as_bytes()[..], &started, &count, &signature, b"data"].concat();
    gossip(&envelope, &topic)
}

fn gossip(envelope: &[u8], topic: &str) -> Vec<u8> {
    framed(&field(2, &[field(2, envelope), field(4, topic.as_bytes())].concat()))
}

/// What was lost on the way is told when a later message shows that it was there.
#[tokio::test]
async fn a_message_that_does_not_come_is_told_as_a_gap() {
    let (a, _b, hostile, session) = within(three()).await;
    let mut news = within(a.pubsub().subscribe("news")).await.unwrap();
    let _control = link(&session).await;
    let mut stream = negotiated(&session, "/stt/gossip/1.1.0").await;
    for count in [1, 2, 4, 7] {
        stream.write_all(&published(&hostile, "news", count)).await.unwrap();
    }
    stream.flush().await.unwrap();
    let mut came = Vec::new();
    let mut missed = 0;
    while missed < 3 {
        match within(news.next()).await {
            Some(TopicEvent::Message(message)) => came.push(message.sequence.count),
            Some(TopicEvent::Gap { missed: some }) => missed += some,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((came, missed), (vec![1, 2, 4, 7], 3));
}

/// What is over a limit is no gap before it is known to be anybody's message.
#[tokio::test]
async fn what_nobody_signed_is_no_gap_while_a_topic_is_over_its_limit() {
    let rate = MessageRate { messages: 5, bytes: 1 << 20 };
    let a = Swarm::start(&node().await, &SwarmOptions::default().topic_rate(rate)).unwrap();
    let address = a.node().local_addr().to_string();
    let mut news = within(a.pubsub().subscribe("news")).await.unwrap();
    let mut kept = Vec::new();
    for member in 0..4 {
        let hostile = node().await;
        let session = within(hostile.connect(&address)).await.unwrap();
        let control = link(&session).await;
        let mut stream = negotiated(&session, "/stt/gossip/1.1.0").await;
        for count in 1..=5 {
            let message = if member == 0 {
                published(&hostile, "news", count)
            } else {
                let made_up = stt::Identity::ephemeral().unwrap().node_id();
                let id = made_up.as_bytes();
                let started = 1_u64.to_be_bytes();
                let count = count.to_be_bytes();
                let envelope = [&[2, 0], &id[..], &started, &count, &[7; 64], b"data"].concat();
                gossip(&envelope, &topic("news"))
            };
            // The link ends with the first that is forged.
            let _ = within(stream.write_all(&message)).await;
        }
        let _ = within(stream.flush()).await;
        kept.push((hostile, control, stream));
    }
    for count in 1..=5 {
        match within(news.next()).await {
            Some(TopicEvent::Message(message)) => assert_eq!(message.sequence.count, count),
            other => panic!("{other:?}"),
        }
    }
    let more = tokio::time::timeout(Duration::from_secs(2), news.next()).await;
    assert!(more.is_err(), "{more:?}");
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
        control(&prune(&topic("news"))),
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

/// What nobody signed for the key is not kept, however often it is said, and takes nobody's place.
#[tokio::test]
async fn forged_values_are_not_kept() {
    let (a, b, hostile, session) = within(three()).await;
    let _control = link(&session).await;
    let mut stream = negotiated(&session, KAD).await;
    let place = keyed("stt-swarm/1 key of a value", b"key");
    let mut forged = vec![1];
    forged.extend(hostile.node_id().as_bytes());
    forged.extend(u64::MAX.to_be_bytes());
    forged.extend(u64::MAX.to_be_bytes());
    forged.extend([7; 64]);
    forged.extend(b"forged");
    for value in [&b"garbage"[..], &forged, &[9; 12_000]] {
        let record = [field(1, place.as_bytes()), field(2, value)].concat();
        let put = kad(PUT_VALUE, place.as_bytes(), &field(3, &record));
        for _ in 0..20 {
            // The engine ends the stream on which a value is refused.
            if stream.write_all(&put).await.is_err() || stream.flush().await.is_err() {
                stream = negotiated(&session, KAD).await;
            }
        }
    }
    let mut stream = negotiated(&session, KAD).await;
    fence(&mut stream).await;
    assert_eq!(within(a.dht().find_value(b"key")).await.unwrap(), None);
    still_served(&a, &b).await;
}

/// Who is said to provide is not given before it answered, and from where it answers.
#[tokio::test]
async fn false_provider_records_name_nobody() {
    let (a, b, hostile, session) = within(three()).await;
    let _control = link(&session).await;
    let mut stream = negotiated(&session, KAD).await;
    let place = keyed("stt-swarm/1 key of providers", b"content");
    let nobody = stt::Identity::ephemeral().unwrap().node_id();
    for node in [nobody, b.node().node_id(), hostile.node_id()] {
        let provider = field(9, &peer_at(node.as_bytes(), 1));
        stream.write_all(&kad(ADD_PROVIDER, place.as_bytes(), &provider)).await.unwrap();
    }
    fence(&mut stream).await;
    let mut providers = within(a.dht().find_providers(b"content")).await.unwrap();
    let mut found = Vec::new();
    while let Some(provider) = within(providers.next()).await {
        found.push((provider.node_id, provider.address));
    }
    assert_eq!(found, [(hostile.node_id(), hostile.local_addr())]);
    still_served(&a, &b).await;
}

/// The places of a key are shared among addresses, not among identities, of which one can make any
/// number.
#[tokio::test]
async fn many_identities_behind_one_address_leave_a_place_for_another() {
    let (a, _b, _hostile, _session) = within(three()).await;
    let address = a.node().local_addr().to_string();
    let place = keyed("stt-swarm/1 key of providers", b"content");
    let mut kept = Vec::new();
    for _ in 0..40 {
        let hostile = node().await;
        let session = within(hostile.connect(&address)).await.unwrap();
        let control = link_as(&session, false).await;
        let mut stream = negotiated(&session, KAD).await;
        let provider = field(9, &peer_at(hostile.node_id().as_bytes(), 1));
        stream.write_all(&kad(ADD_PROVIDER, place.as_bytes(), &provider)).await.unwrap();
        fence(&mut stream).await;
        kept.push((hostile, control, stream));
    }
    let seed = SharedSeed::from_key(stc::Key::from_bytes([9; 32]));
    let honest = Node::builder(seed).host("127.0.0.2").port(0).start(Mode::Server).await.unwrap();
    let honest = Swarm::start(&honest, &SwarmOptions::default()).unwrap();
    within(honest.dht().bootstrap([&address])).await.unwrap();
    within(honest.dht().provide(b"content")).await.unwrap();
    // Announcements are not confirmed.
    within(async {
        loop {
            let mut providers = a.dht().find_providers(b"content").await.unwrap();
            while let Some(provider) = providers.next().await {
                if provider.node_id == honest.node().node_id() {
                    return;
                }
            }
        }
    })
    .await;
}

/// One serving member says whatever it likes, another one nothing.
#[tokio::test]
async fn servers_that_lie_or_stall_cost_a_query_little() {
    let (a, b, liar, session) = within(three()).await;
    within(b.dht().store(b"kept", b"value")).await.unwrap();
    let place = keyed("stt-swarm/1 key of a value", b"nothing");
    let record = [field(1, place.as_bytes()), field(2, &[1; 200])].concat();
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let made_up: Vec<_> = (0..2).map(|_| stt::Identity::ephemeral().unwrap().node_id()).collect();
    let closer: Vec<u8> = made_up
        .iter()
        .flat_map(|node| field(8, &peer_at(node.as_bytes(), dead.local_addr().unwrap().port())))
        .collect();
    let answer = kad(GET_VALUE, place.as_bytes(), &[field(3, &record), closer].concat());
    let _lying = liar
        .handle_protocol(STREAM, move |_, stream| serve_badly(stream, Some(answer.clone())))
        .unwrap();
    let stalling = node().await;
    let _stalling =
        stalling.handle_protocol(STREAM, |_, stream| serve_badly(stream, None)).unwrap();
    let stalled = within(stalling.connect(&a.node().local_addr().to_string())).await.unwrap();
    let _links = (link(&session).await, link(&stalled).await);
    let value = within(a.dht().find_value(b"kept")).await.unwrap().unwrap();
    assert_eq!(value.data, "value");
    assert_eq!(within(a.dht().find_value(b"nothing")).await.unwrap(), None);
    let peers = within(a.dht().peers()).await.unwrap();
    assert!(peers.iter().all(|peer| !made_up.contains(&peer.node_id)), "{peers:?}");
    still_served(&a, &b).await;
}
