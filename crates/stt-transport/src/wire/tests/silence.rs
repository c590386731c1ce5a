//! Strangers of every kind, and members that misbehave: nobody gets a byte back.

use std::net::UdpSocket;

use stc::random;
use tokio::time::{Instant, sleep, timeout};

use super::{relay::Relay, *};
use crate::{header_mask::Masks, packet_header::QUIC_VERSION};

/// Sends datagrams to a node, never faster than it reads, and notes what comes back.
struct Stranger {
    socket: UdpSocket,
}

impl Stranger {
    fn of(node: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(node).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket }
    }

    /// Sends all and waits until `node` has read them.
    async fn send(&self, node: &Endpoint, datagrams: impl IntoIterator<Item = Vec<u8>>) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut expected = node.stats().datagrams_received;
        for (index, datagram) in datagrams.into_iter().enumerate() {
            self.socket.send(&datagram).unwrap();
            expected += 1;
            if index % 32 == 31 || datagram.len() > 1500 {
                wait_for(node, expected, deadline).await;
            }
        }
        wait_for(node, expected, deadline).await;
    }

    fn bytes_back(&self) -> usize {
        let mut buffer = [0; 65_536];
        std::iter::from_fn(|| self.socket.recv(&mut buffer).ok()).sum()
    }
}

async fn wait_for(node: &Endpoint, datagrams: u64, deadline: Instant) {
    while node.stats().datagrams_received < datagrams {
        assert!(Instant::now() < deadline, "the node reads no more");
        sleep(Duration::from_micros(50)).await;
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random::fill(&mut bytes).unwrap();
    bytes
}

/// A QUIC packet with a long header and noise in it.
fn long_header(flags: u8, version: u32, id: &[u8], length: usize) -> Vec<u8> {
    let mut packet = vec![flags];
    packet.extend(version.to_be_bytes());
    packet.push(u8::try_from(id.len()).unwrap());
    packet.extend(id);
    packet.push(8);
    packet.extend(noise(8));
    packet.push(0);
    let rest = length.saturating_sub(packet.len() + 2);
    packet.extend(u16::try_from(rest | 0x4000).unwrap().to_be_bytes());
    packet.extend(noise(rest));
    packet
}

fn short_header(id: &[u8], length: usize) -> Vec<u8> {
    let mut packet = noise(length.max(30));
    packet[0] = 0x40 | (packet[0] & 0x3f);
    packet[1..=id.len()].copy_from_slice(id);
    packet
}

/// What a stranger may have learned of a node by whatever means.
struct Known {
    /// A genuine connection id of a first packet.
    knock: Vec<u8>,
    /// The node's own ids of a session that lives, and of one that is over.
    live: Vec<u8>,
    dead: Vec<u8>,
    /// Recorded on their way to the node: first flights, and packets of the session that lives.
    first_flights: Vec<Vec<u8>>,
    packets: Vec<Vec<u8>>,
}

/// The nth datagram of each kind of stranger that has no seed.
fn kinds(n: usize, known: &Known) -> Vec<(&'static str, Vec<u8>)> {
    let grease = 0x0a0a_0a0a | (u32::try_from(n % 16).unwrap() << 28);
    let length = 40 + n % 1000;
    vec![
        ("noise", noise(1 + n % 1400)),
        ("v1 Initial, id of any length", long_header(0xc3, 1, &noise(n % 21), 1200)),
        ("v1 Initial, short id", long_header(0xc1, 1, &noise(n % 8), 1200)),
        ("v1 Initial, 20-byte id", long_header(0xc0, 1, &noise(20), 1200 + n % 100)),
        ("v1 Initial, genuine knock", long_header(0xc3, 1, &known.knock, 1200)),
        ("v1 Initial, id of a session", long_header(0xc3, 1, &known.live, 1200)),
        ("our own version, noise as id", long_header(0xc3, QUIC_VERSION, &noise(20), 1200)),
        ("our own version, genuine knock", long_header(0xc3, QUIC_VERSION, &known.knock, 1200)),
        ("version 2", long_header(0xd3, 0x6b33_43cf, &noise(8), 1200)),
        ("unknown version", {
            let version = u32::from_be_bytes(random::bytes().unwrap());
            long_header(0xc3, version, &noise(n % 21), 1200)
        }),
        ("greased version", long_header(0xc3, grease, &noise(8), 1200)),
        ("version negotiation", long_header(0xc3, 0, &noise(8), 1200)),
        ("0-RTT", long_header(0xd3, 1, &noise(8), 1200)),
        ("0-RTT, genuine knock", long_header(0xd3, QUIC_VERSION, &known.knock, 1200)),
        ("Handshake", long_header(0xe3, 1, &noise(8), 1200)),
        ("Handshake, id of a session", long_header(0xe3, QUIC_VERSION, &known.live, 1200)),
        ("Retry", long_header(0xf3, 1, &noise(8), 1200)),
        ("Retry, id of a session", long_header(0xf3, QUIC_VERSION, &known.live, 1200)),
        ("short header", short_header(&noise(8), length)),
        ("short header, id of a session", short_header(&known.live, length)),
        ("short header, id of one that is over", short_header(&known.dead, length)),
        ("odd sizes", noise([1, 8, 9, 16, 17, 20, 21, 22, 24, 25, 37, 98, 1200, 1472][n % 14])),
        ("every first byte", {
            let mut bytes = noise(length);
            bytes[0] = u8::try_from(n % 256).unwrap();
            bytes
        }),
        ("all bytes alike", vec![u8::try_from(n % 256).unwrap(); length]),
        ("two packets in one datagram", {
            let mut both = long_header(0xc3, QUIC_VERSION, &known.knock, 600);
            both.extend(long_header(0xe3, QUIC_VERSION, &known.live, 600));
            both
        }),
        ("a recorded packet cut short", {
            let mut cut = known.packets[n % known.packets.len()].clone();
            // The mask's input is at the end, so this is noise to whoever unmasks it.
            cut.truncate(cut.len() - 1 - n % 7);
            cut
        }),
        ("empty", vec![]),
    ]
}

/// The nth datagram of each kind of stranger that got hold of genuine masks, too: by recording, or
/// because it holds the seed and nothing else.
fn masked_kinds(n: usize, known: &Known) -> Vec<(&'static str, Vec<u8>)> {
    let masks = Masks::new(&Key::from_bytes([1; 32]));
    let short = |id| {
        let mut packet = short_header(id, 40 + n % 1000);
        assert!(masks.short(&mut packet));
        packet
    };
    let of = |recorded: &[Vec<u8>]| recorded[n % recorded.len()].clone();
    vec![
        ("recorded first flight", of(&known.first_flights)),
        ("recorded packet of a session", of(&known.packets)),
        ("short header, masked, id of a session", short(&known.live)),
        ("short header, masked, id of one that is over", short(&known.dead)),
        ("short header, masked, noise as id", short(&noise(8))),
        ("recorded packet with one bit changed", {
            let mut changed = of(&known.packets);
            let at = n % changed.len();
            changed[at] ^= 1 << (n % 8);
            changed
        }),
        ("about a route, id of a session", about_route(&masks, &known.live, n)),
        ("about a route, noise as id", about_route(&masks, &noise(8), n)),
    ]
}

/// What begins as a datagram about routes does, and has noise for the rest.
fn about_route(masks: &Masks, id: &[u8], n: usize) -> Vec<u8> {
    let mut datagram = noise(98 + n % 98);
    datagram[0] &= 0x3f;
    datagram[1..9].copy_from_slice(id);
    assert!(masks.short(&mut datagram));
    datagram
}

/// Talks until there are some packets in both directions.
async fn talk(there: &Established, here: &Established) {
    for (from, to) in [(there, here), (here, there)] {
        let mut stream = from.connection.open_uni().await.unwrap();
        stream.write_chunk(vec![7; 5000].into()).await.unwrap();
        stream.finish();
        let mut stream = to.connection.accept_uni().await.unwrap();
        assert_eq!(stream.read_to_end(5000).await.unwrap().len(), 5000);
    }
}

/// Makes a session between a node and a peer with somebody on the path, and a second one after the
/// first has ended. What the path saw, and the session that lives.
async fn overheard(
    node: &Endpoint,
    is_server: bool,
) -> (Known, (Established, Established), Endpoint) {
    let (peer, _) = wire(seed(1));
    let masks = Masks::new(&Key::from_bytes([1; 32]));
    let (mut ids, mut knock, mut first_flights) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for is_last in [false, true] {
        let (from, to) = if is_server { (&peer, node) } else { (node, &peer) };
        let relay = Relay::before(to.local_addr()).await;
        let (there, here) = session(from, to, relay.address()).await;
        talk(&there, &here).await;
        let seen = relay.seen();
        let mut first = seen[0].bytes.clone();
        first_flights.push(first.clone());
        masks.open_long(&mut first);
        knock = first[6..26].to_vec();
        let packets: Vec<_> = seen
            .into_iter()
            .filter(|seen| seen.to_node == is_server)
            .map(|seen| seen.bytes)
            .collect();
        let mut packet = packets.last().unwrap().clone();
        assert!(masks.short(&mut packet));
        ids.push(packet[1..9].to_vec());
        if is_last {
            // The relay goes: from here on the session has peace and sends nothing.
            last = Some((packets, (there, here)));
        } else {
            there.connection.close(0, b"");
            here.connection.closed().await;
        }
    }
    let (packets, sides) = last.unwrap();
    let [dead, live] = <[Vec<u8>; 2]>::try_from(ids).unwrap();
    (Known { knock, live, dead, first_flights, packets }, sides, peer)
}

async fn nobody_gets_an_answer(accepting: bool, rounds: usize) {
    let (alice, _) = wire(seed(1));
    let (bob, _) = wire(seed(1));
    bob.set_accepting(accepting);
    let (known, (there, here), _peer) = overheard(&bob, accepting).await;
    let mut unmasked = 0;
    let before = bob.stats();
    for kind in 0..kinds(0, &known).len() {
        let stranger = Stranger::of(bob.local_addr());
        stranger.send(&bob, (0..rounds).map(|n| kinds(n, &known).swap_remove(kind).1)).await;
        let name = kinds(0, &known)[kind].0;
        assert_eq!(stranger.bytes_back(), 0, "{name}");
        // An empty datagram has no bytes that could be dropped.
        unmasked += if name == "empty" { 0 } else { rounds };
    }
    let after = bob.stats();
    assert_eq!(after.dropped_unknown - before.dropped_unknown, unmasked as u64);
    let withheld = after.answers_withheld - before.answers_withheld;
    assert_eq!(withheld, 0, "the socket dropped them before the engine saw them");
    for kind in 0..masked_kinds(0, &known).len() {
        let stranger = Stranger::of(bob.local_addr());
        stranger.send(&bob, (0..rounds).map(|n| masked_kinds(n, &known).swap_remove(kind).1)).await;
        assert_eq!(stranger.bytes_back(), 0, "{}", masked_kinds(0, &known)[kind].0);
    }
    for side in [&there, &here] {
        assert_eq!(side.connection.close_reason(), None, "nobody harmed the session");
    }
    bob.set_accepting(true);
    session(&alice, &bob, bob.local_addr()).await;
}

#[tokio::test]
async fn strangers_get_nothing() {
    nobody_gets_an_answer(true, 60).await;
    nobody_gets_an_answer(false, 60).await;
}

#[tokio::test]
#[ignore = "heavy: 700,000 datagrams"]
async fn ten_thousand_strangers_of_each_kind_get_nothing() {
    nobody_gets_an_answer(true, 10_000).await;
    nobody_gets_an_answer(false, 10_000).await;
}

/// Who holds the seed can put the mask on, and provoke every answer that the engine would give to
/// a stranger: version negotiation, stateless reset, refusals of odd first packets.
#[tokio::test]
async fn not_even_a_member_gets_an_answer_without_a_genuine_knock() {
    let (alice, _) = wire(seed(1));
    let (bob, _) = wire(seed(1));
    let masks = Masks::new(&Key::from_bytes([1; 32]));
    let masked = |datagram: Vec<u8>| {
        let mut out = Vec::new();
        assert!(masks.seal_long(&datagram, &[], &mut out));
        out
    };
    let stranger = Stranger::of(bob.local_addr());
    let mut datagrams = Vec::new();
    for flags in [0xc0, 0xc3, 0xd0, 0xe0, 0xf0] {
        for id_len in [8, 20] {
            for version in [QUIC_VERSION, QUIC_VERSION + 1] {
                datagrams.push(masked(long_header(flags, version, &noise(id_len), 1200)));
            }
        }
    }
    stranger.send(&bob, datagrams).await;
    assert_eq!(stranger.bytes_back(), 0);
    let stats = bob.stats();
    assert_eq!(stats.datagrams_sent, 0);
    assert_eq!(stats.dropped_other_version, 10);
    assert_eq!(stats.dropped_other_node, 4, "Initials with a knock of noise");
    session(&alice, &bob, bob.local_addr()).await;
}

#[tokio::test]
async fn what_was_recorded_is_worth_nothing() {
    replay(true, 1).await;
    replay(false, 1).await;
}

#[tokio::test]
#[ignore = "heavy: 120,000 datagrams"]
async fn what_was_recorded_is_worth_nothing_ten_thousand_times() {
    replay(true, 10_000).await;
    replay(false, 10_000).await;
}

/// Sends so many of the recorded first flights and of the rest, and each at least once: while the
/// session lives, when it is gone, and after a restart. To a server those of its peer; to a node that
/// only connects its own first flight, and what its peer answered.
async fn replay(is_server: bool, times: usize) {
    let folder = tempfile::tempdir().unwrap();
    let start = |bind: SocketAddr| {
        let mut config = config(seed(1));
        config.bind = bind;
        config.accepting = is_server;
        config.knock_log = Some(folder.path().join("knocks"));
        Endpoint::bind(config)
    };
    let (alice, _) = wire(seed(1));
    let bob = start("127.0.0.1:0".parse().unwrap()).unwrap();
    let (from, to) = if is_server { (&alice, &bob) } else { (&bob, &alice) };
    let relay = Relay::before(to.local_addr()).await;
    let (there, here) = session(from, to, relay.address()).await;
    talk(&there, &here).await;
    let seen = relay.seen();
    let recorded = || {
        let bytes = seen.iter().skip(1).filter(|seen| seen.to_node == is_server);
        let many = times.max(bytes.clone().count());
        let first = seen.iter().take(1).cycle().take(times);
        first.chain(bytes.cycle().take(many)).map(|seen| seen.bytes.clone())
    };

    let stranger = Stranger::of(bob.local_addr());
    stranger.send(&bob, recorded()).await;
    assert_eq!(stranger.bytes_back(), 0, "while the session lives");
    assert!(there.connection.close_reason().is_none() && here.connection.close_reason().is_none());

    there.connection.close(0, b"");
    here.connection.closed().await;
    drop((there, here));
    let drained = timeout(Duration::from_secs(5), bob.endpoint_idle());
    drained.await.unwrap();
    stranger.send(&bob, recorded()).await;
    assert_eq!(stranger.bytes_back(), 0, "when the session is gone");
    assert!(bob.stats().dropped_replayed > 0);

    let address = bob.local_addr();
    bob.shutdown(0, b"").await;
    drop(bob);
    let bob = loop {
        // The port is free once the engine's task has ended.
        match start(address) {
            Ok(bob) => break bob,
            Err(WireError::PortInUse { .. }) => sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let stranger = Stranger::of(address);
    stranger.send(&bob, recorded()).await;
    assert_eq!(stranger.bytes_back(), 0, "after a restart");
    assert!(bob.stats().dropped_replayed >= u64::try_from(times).unwrap());
    let (from, to) = if is_server { (&alice, &bob) } else { (&bob, &alice) };
    session(from, to, to.local_addr()).await;
}

/// How the side that holds the seed tells a wrong seed, a wrong clock, a wrong node, a device without
/// a clock and a time before its memory apart. Replays and other versions have tests of their own.
#[tokio::test]
async fn drops_are_counted_by_reason() {
    let (bob, _) = wire(seed(1));
    let knock = async |from: &Endpoint, expect: Option<NodeId>| {
        let before = bob.stats().datagrams_received;
        let attempt = from.connect(bob.local_addr(), expect);
        let arrived = wait_for(&bob, before + 1, Instant::now() + Duration::from_secs(10));
        tokio::select! {
            result = attempt => panic!("{:?}", result.err()),
            () = arrived => {}
        }
    };
    knock(&wire(seed(2)).0, None).await;
    assert!(bob.stats().dropped_unknown > 0, "wrong seed");

    let (alice, alice_id) = wire(seed(1));
    knock(&alice, Some(alice_id)).await;
    assert!(bob.stats().dropped_other_node > 0, "another node expected");

    let mut late = config(seed(1));
    late.clock = Clock::Manual(Arc::new((Clock::System.now() - 1000).into()));
    knock(&Endpoint::bind(late).unwrap(), None).await;
    assert!(bob.stats().dropped_stale > 0, "wrong clock");

    let mut timeless = config(seed(1));
    timeless.clock = Clock::learned();
    knock(&Endpoint::bind(timeless).unwrap(), None).await;
    assert!(bob.stats().dropped_timeless > 0, "no clock");

    let mut behind = config(seed(1));
    behind.clock = Clock::Manual(Arc::new((Clock::System.now() - 60).into()));
    knock(&Endpoint::bind(behind).unwrap(), None).await;
    let stats = bob.stats();
    assert!(stats.dropped_forgotten > 0, "a clock that is behind, soon after the start");
    assert_eq!((stats.dropped_replayed, stats.datagrams_sent), (0, 0));
    let names: Vec<_> = stats.dropped().map(|(name, ..)| name).collect();
    assert_eq!(names, ["unknown", "stale", "forgotten", "timeless", "other_node"]);
}

/// A request for a WebSocket has no mask over it, so nobody knows that it is of a member.
#[tokio::test]
async fn a_wrong_seed_over_a_websocket_counts_as_one() {
    let mut listening = config(seed(1));
    listening.websocket = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let bob = Endpoint::bind(listening).unwrap();
    let port = bob.websocket_addr().unwrap().port();
    let place = crate::route::HostPort { host: "127.0.0.1".into(), port, path: "/".into() };
    let (mallory, _) = wire(seed(2));
    assert!(mallory.connect_websocket(&place, false, None).await.is_err());
    let names: Vec<_> = bob.stats().dropped().map(|(name, count, _)| (name, count)).collect();
    assert_eq!(names, [("unknown", 1)]);
}

#[tokio::test]
async fn a_device_without_a_clock_joins_where_that_is_allowed_and_learns_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut with_log = config(seed(1));
    with_log.timeless_knocks = 1;
    assert!(matches!(Endpoint::bind(with_log), Err(WireError::NeedsKnockLog)));
    let mut with_log = config(seed(1));
    with_log.timeless_knocks = 1;
    with_log.knock_log = Some(folder.path().join("knocks"));
    let bob = Endpoint::bind(with_log).unwrap();
    let mut timeless = config(seed(1));
    timeless.clock = Clock::learned();
    let alice = Endpoint::bind(timeless).unwrap();
    // The one place for a device without a clock goes to the first session. The second one shows
    // that the device has learned the time.
    session(&alice, &bob, bob.local_addr()).await;
    session(&alice, &bob, bob.local_addr()).await;
    assert_eq!(bob.stats().dropped_timeless, 0);
}
