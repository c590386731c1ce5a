//! What a member is told that cannot have a session, over real sockets.

use super::*;
use crate::{Coded, wire::handshake::Offer};

/// A node whose HELLO offers these versions and suites.
fn odd(offer: Offer) -> Endpoint {
    let mut config = config(seed(1));
    config.offer = Some(offer);
    Endpoint::bind(config).unwrap()
}

#[tokio::test]
async fn no_version_or_no_cipher_in_common_is_said_so_to_both_sides() {
    let (bob, bob_id) = wire(seed(1));
    for (offer, reason) in [
        ((vec![9], vec![1]), HandshakeError::Version),
        ((vec![], vec![1]), HandshakeError::Version),
        ((vec![1], vec![77]), HandshakeError::Suite),
        ((vec![1], vec![]), HandshakeError::Suite),
    ] {
        let before = bob.stats();
        let alice = odd(offer);
        // A first flight that cannot be agreed with is answered, and is no incoming session.
        let there = tokio::select! {
            there = alice.connect(bob.local_addr(), Some(bob_id)) => there,
            _ = bob.accept() => panic!("nobody to be accepted"),
        };
        let error = there.unwrap_err();
        assert_eq!(error, WireError::PeerHandshake(reason));
        assert_eq!(error.code(), "wire.peer_handshake");
        assert!(error.hint().is_some_and(|hint| hint.contains("update")), "{error}");
        let after = bob.stats();
        assert_eq!(after.handshakes_failed, before.handshakes_failed + 1);
        let other = after.handshakes_other_version - before.handshakes_other_version;
        assert_eq!(other, u64::from(reason == HandshakeError::Version));
    }
    // The best that both have is found among what one of them does not know.
    let alice = odd((vec![9, 1], vec![77, 2]));
    let (there, here) = session(&alice, &bob, bob.local_addr()).await;
    assert_eq!((there.suite, here.suite), (stc::aead::Suite::ChaCha20Poly1305, there.suite));
}

#[tokio::test]
async fn a_final_that_does_not_verify_is_no_session_and_the_responder_is_told() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    for bytes in [vec![7; 32], vec![], vec![7; 82]] {
        let answer = async {
            let connection = bob.accept().await.unwrap().connecting.finish().await.unwrap();
            let mut stream = connection.open_uni().await.unwrap();
            stream.write_chunk(bytes.into()).await.unwrap();
            stream.finish();
            connection.closed().await
        };
        let (there, here) = tokio::join!(alice.connect(bob.local_addr(), None), answer);
        assert_eq!(there.unwrap_err(), WireError::Handshake(HandshakeError::Tampered));
        assert_eq!(here.closed_by_peer().map(|(code, _)| code), Some(3));
    }
}

/// A keyring that holds these seeds, the first one current.
fn ring(seeds: &[u8]) -> Arc<Keyring> {
    let keyring = Keyring::from(seed(seeds[0]));
    for byte in &seeds[1..] {
        keyring.add(&seed(*byte)).unwrap();
    }
    Arc::new(keyring)
}

fn holding(seeds: &[u8]) -> Endpoint {
    let mut config = config(seed(9));
    config.keyring = ring(seeds);
    Endpoint::bind(config).unwrap()
}

#[tokio::test]
async fn members_meet_by_any_seed_that_both_hold() {
    // Not told yet, told, moved on, and rid of the old one.
    for (ours, theirs) in [
        (&[1, 2][..], &[1][..]),
        (&[2, 1], &[1]),
        (&[1, 2], &[2]),
        (&[1], &[2, 1]),
        (&[1, 2, 3], &[3]),
        (&[3, 2, 1], &[1, 4]),
    ] {
        let (alice, bob) = (holding(ours), holding(theirs));
        session(&alice, &bob, bob.local_addr()).await;
    }
}

#[tokio::test]
async fn a_refusal_under_one_seed_is_not_asked_again_under_the_next() {
    let (alice, bob) = (holding(&[1, 2]), holding(&[1, 2]));
    bob.set_accepting(false);
    let (there, _) =
        tokio::join!(alice.connect(bob.local_addr(), None), accept_one(&bob, |_| Ok(())));
    assert_eq!(there.unwrap_err(), WireError::Refused(Refusal::NotAccepting));
    let again = tokio::time::timeout(Duration::from_millis(100), bob.accept()).await;
    assert!(again.is_err(), "the other attempts have ended");
}

/// One knock lets a WebSocket in; what begins in it counts as over UDP.
#[tokio::test]
async fn a_websocket_is_no_way_around_the_rate_of_handshakes() {
    let mut listening = config(seed(1));
    listening.websocket = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    listening = listening.handshakes_per_second(2);
    let bob = Endpoint::bind(listening).unwrap();
    let (alice, _) = wire(seed(1));
    let accepting = bob.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                let held = incoming.finish(|_| Ok(())).await;
                tokio::time::sleep(Duration::from_secs(60)).await;
                drop(held);
            });
        }
    });
    let address = bob.websocket_addr().unwrap();
    let place = crate::route::HostPort {
        host: address.ip().to_string(),
        port: address.port(),
        path: "/".into(),
    };
    let stand_in = alice.open_websocket(&place).await.unwrap();
    let entry = Arc::clone(&alice.keyring().entries()[0]);
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (alice, entry) = (alice.clone(), Arc::clone(&entry));
        let web = crate::route::Web { place: place.clone(), secure: false };
        attempts.spawn(async move {
            let attempt = alice.attempt(&entry, stand_in, None, Some(web), Arc::default());
            tokio::time::timeout(Duration::from_secs(4), attempt).await
        });
    }
    let begun = attempts.join_all().await;
    let begun = begun.into_iter().filter(|one| matches!(one, Ok(Ok(_)))).count();
    assert!((1..=8).contains(&begun), "{begun} of 30");
    assert!(bob.stats().dropped_too_often >= 20, "{:?}", bob.stats());
}
