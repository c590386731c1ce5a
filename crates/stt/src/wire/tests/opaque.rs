//! What somebody on the path sees: noise.

use super::{relay::Relay, *};

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
        config.heartbeat = Duration::from_millis(20);
        Wire::bind(config).unwrap()
    };
    let (alice, bob) = (small(), small());
    let mut datagrams = Vec::new();
    for _ in 0..handshakes {
        let relay = Relay::before(bob.local_addr()).await;
        let (there, here) = session(&alice, &bob, relay.address()).await;
        for (from, to) in [(&there, &here), (&here, &there)] {
            let send = async {
                let mut stream = from.connection.open_uni().await.unwrap();
                stream.write_all(&vec![0; bytes]).await.unwrap();
                stream.finish().unwrap();
            };
            let receive = async {
                let mut stream = to.connection.accept_uni().await.unwrap();
                assert_eq!(stream.read_to_end(bytes).await.unwrap().len(), bytes);
            };
            tokio::join!(send, receive);
        }
        there.connection.close(quinn::VarInt::from_u32(0), b"done");
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
