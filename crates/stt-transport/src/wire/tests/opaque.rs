//! What somebody on the path sees: noise.

use super::{relay::Relay, *};
use crate::header_mask::Masks;

/// Offsets into a datagram that are looked at.
const OFFSETS: usize = 64;
/// Chi-square of 255 degrees of freedom is above this once in 10^9 times.
const LIMIT: f64 = 409.0;

/// Chi-square of the bytes at `offset` against a uniform distribution, where there are enough.
fn chi_square(datagrams: &[Vec<u8>], offset: usize) -> Option<f64> {
    let mut counts = [0_u32; 256];
    for datagram in datagrams {
        if let Some(byte) = datagram.get(offset) {
            counts[usize::from(*byte)] += 1;
        }
    }
    let expected = f64::from(counts.iter().sum::<u32>()) / 256.0;
    let sum = counts.iter().map(|count| (f64::from(*count) - expected).powi(2)).sum::<f64>();
    (expected >= 5.0).then(|| sum / expected)
}

/// Datagrams of `handshakes` sessions that open, carry `bytes` each way, keep alive, and close.
async fn capture(handshakes: usize, bytes: usize) -> Vec<Vec<u8>> {
    let small = || {
        let mut config = config(seed(1));
        config.max_mtu = Some(1200);
        config.heartbeat = Duration::from_millis(100);
        Endpoint::bind(config).unwrap()
    };
    let (alice, bob) = (small(), small());
    let mut datagrams = Vec::new();
    for number in 0..handshakes {
        let relay = Relay::before(bob.local_addr()).await;
        let (there, here) = session(&alice, &bob, relay.address()).await;
        for (from, to) in [(&there, &here), (&here, &there)] {
            let send = async {
                let mut stream = from.connection.open_uni().await.unwrap();
                stream.write_chunk(vec![0; bytes].into()).await.unwrap();
                stream.finish();
            };
            let receive = async {
                let mut stream = to.connection.accept_uni().await.unwrap();
                assert_eq!(stream.read_to_end(bytes).await.unwrap().len(), bytes);
            };
            tokio::join!(send, receive);
        }
        let transferred = relay.seen().len();
        // Signs of life take their time: of every tenth session.
        while number % 10 == 0 && relay.seen().len() < transferred + 6 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        there.connection.close(0, b"done");
        here.connection.closed().await;
        datagrams.extend(relay.seen().into_iter().map(|seen| seen.bytes));
    }
    datagrams
}

fn assert_noise(datagrams: &[Vec<u8>]) {
    for offset in 0..OFFSETS {
        if let Some(chi_square) = chi_square(datagrams, offset) {
            assert!(chi_square < LIMIT, "offset {offset}: {chi_square}");
        }
    }
}

#[tokio::test]
async fn every_byte_of_every_datagram_is_spread_evenly() {
    let datagrams = capture(20, 100_000).await;
    assert!(datagrams.len() > 2_500, "{}", datagrams.len());
    assert_noise(&datagrams);
}

#[tokio::test]
async fn sizes_of_a_handshake_differ_from_one_to_the_next() {
    let mut first_flights = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (alice, _) = wire(seed(1));
        let (bob, _) = wire(seed(1));
        let relay = Relay::before(bob.local_addr()).await;
        session(&alice, &bob, relay.address()).await;
        first_flights.insert(relay.seen()[0].bytes.len());
    }
    assert!(first_flights.len() > 5, "{first_flights:?}");
    assert!(first_flights.iter().all(|length| (1202..=1232).contains(length)));
}

#[tokio::test]
#[ignore = "heavy: 100,000 datagrams"]
async fn a_hundred_thousand_datagrams_are_noise() {
    let handshakes = capture(3_000, 100).await;
    assert_noise(&handshakes);
    let bulk = capture(30, 4_000_000).await;
    assert!(handshakes.len() + bulk.len() > 100_000, "{} {}", handshakes.len(), bulk.len());
    assert_noise(&bulk);
}

/// A client that moves keeps its session's connection ids; masked, they look new every time. So
/// whoever sees it at both addresses finds nothing that both have in common.
#[tokio::test]
async fn no_connection_id_repeats_in_clear_when_an_address_changes() {
    let (alice, _) = wire(seed(1));
    let (bob, _) = wire(seed(1));
    let relay = Relay::before(bob.local_addr()).await;
    let (there, here) = session(&alice, &bob, relay.address()).await;
    let talk = async || {
        let mut stream = there.connection.open_uni().await.unwrap();
        stream.write_chunk(vec![7; 5000].into()).await.unwrap();
        stream.finish();
        let mut stream = here.connection.accept_uni().await.unwrap();
        assert_eq!(stream.read_to_end(5000).await.unwrap().len(), 5000);
    };
    for _ in 0..50 {
        talk().await;
    }
    let before = relay.seen().len();
    relay.move_client().await;
    // What the other side makes of a new address is the routes' business; what is sent is what it
    // shows.
    let mut stream = there.connection.open_uni().await.unwrap();
    while relay.seen().len() < before + 50 {
        stream.write_chunk(vec![7; 1000].into()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let seen = relay.seen();
    let (first, second) = seen.split_at(before);
    let masks = Masks::new(&Key::from_bytes([1; 32]));
    for to_node in [true, false] {
        let of = |side: &[super::relay::Seen]| -> Vec<Vec<u8>> {
            let side = side.iter().filter(|seen| seen.to_node == to_node);
            side.map(|seen| seen.bytes.clone()).filter(|bytes| bytes.len() >= 25).collect()
        };
        let (first, second) = (of(first), of(second));
        // Without the mask the same id is in many of them.
        let id = |datagram: &Vec<u8>| {
            let mut datagram = datagram.clone();
            masks.short(&mut datagram);
            <[u8; 8]>::try_from(&datagram[1..9]).unwrap()
        };
        let ids: Vec<_> = first.iter().map(id).collect();
        let most = ids.iter().map(|id| ids.iter().filter(|other| *other == id).count()).max();
        assert!(most.unwrap() > 10, "{most:?}");
        // With it no run of 8 bytes occurs twice, in whichever place, before or after.
        let mut runs = std::collections::HashMap::new();
        for (number, datagram) in first.iter().chain(&second).enumerate() {
            for run in datagram.windows(8).take(64) {
                let other = *runs.entry(run.to_vec()).or_insert(number);
                assert!(
                    other == number,
                    "datagrams {other} and {number} have {run:02x?} in common"
                );
            }
        }
        if to_node {
            assert!(second.iter().map(id).any(|after| ids.contains(&after)), "the id moved along");
        }
    }
}
