//! The wire as a whole: two of them over 127.0.0.1, strangers, and the handshake under attack.

mod batches;
mod engine;
mod handshake;
mod opaque;
mod refusals;
mod relay;
mod silence;
mod simulated;
mod vectors;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use stc::Key;

use super::{clock::Clock, *};
use crate::{
    close_reason::Refusal, id::NodeId, identity::Identity, keyring::Keyring, seed::SharedSeed,
};

fn seed(byte: u8) -> SharedSeed {
    SharedSeed::from_key(Key::from_bytes([byte; 32]))
}

fn config(seed: SharedSeed) -> EndpointConfig {
    let identity = Identity::ephemeral().unwrap();
    let mut config = EndpointConfig::new(seed, identity)
        .bind(([127, 0, 0, 1], 0))
        .accepting(true)
        .idle_timeout(Duration::from_secs(60));
    config.listens = vec!["10.1.2.3:4".parse().unwrap()];
    config.seed_stagger = Duration::from_millis(20);
    config
}

fn wire(seed: SharedSeed) -> (Endpoint, NodeId) {
    let config = config(seed);
    let node_id = config.identity.node_id();
    (Endpoint::bind(config).unwrap(), node_id)
}

/// A session from `alice` to `bob`, who is reached at `address`.
async fn session(
    alice: &Endpoint,
    bob: &Endpoint,
    address: SocketAddr,
) -> (Established, Established) {
    let (there, here) = tokio::join!(alice.connect(address, None), accept_one(bob, |_| Ok(())));
    (there.unwrap(), here.unwrap())
}

async fn accept_one(
    wire: &Endpoint,
    admit: impl FnOnce(NodeId) -> Result<(), Refusal>,
) -> Result<Established, WireError> {
    Ok(wire.accept().await.unwrap().finish(admit).await?.0)
}

#[tokio::test]
async fn two_members_get_a_session_that_both_know_alike() {
    let ((alice, alice_id), (bob, bob_id)) = (wire(seed(1)), wire(seed(1)));
    let (there, here) =
        tokio::join!(alice.connect(bob.local_addr(), Some(bob_id)), accept_one(&bob, |_| Ok(())));
    let (there, here) = (there.unwrap(), here.unwrap());
    assert_eq!((there.peer, here.peer), (bob_id, alice_id));
    assert_eq!(there.session_id, here.session_id);
    assert!(there.exporter.derive("x", b"y") == here.exporter.derive("x", b"y"));
    assert!(there.exporter.derive("x", b"y") != here.exporter.derive("x", b"z"));
    assert!(there.initiator && !here.initiator);
    assert_eq!(here.peer_listens, ["10.1.2.3:4".parse().unwrap()]);

    let mut out = there.connection.open_uni().await.unwrap();
    out.write_chunk(b"hello"[..].into()).await.unwrap();
    out.finish();
    let mut into = here.connection.accept_uni().await.unwrap();
    assert_eq!(into.read_to_end(10).await.unwrap(), b"hello");

    let mut back = here.connection.open_uni().await.unwrap();
    back.write_chunk(b"hi"[..].into()).await.unwrap();
    back.finish();
    let mut into = there.connection.accept_uni().await.unwrap();
    assert_eq!(into.read_to_end(10).await.unwrap(), b"hi");

    bob.shutdown(7, b"bye").await;
    let close = there.connection.closed().await;
    assert_eq!(close.closed_by_peer(), Some((7, &b"bye"[..])));
    assert!(bob.accept().await.is_none());
}

#[tokio::test]
async fn a_refusal_reaches_the_initiator() {
    let ((alice, _), (bob, bob_id)) = (wire(seed(1)), wire(seed(1)));
    for (accepting, refusal) in [(true, Refusal::Full), (false, Refusal::NotAccepting)] {
        bob.set_accepting(accepting);
        let (there, here) = tokio::join!(
            alice.connect(bob.local_addr(), Some(bob_id)),
            accept_one(&bob, |_| Err(Refusal::Full))
        );
        assert_eq!(there.unwrap_err(), WireError::Refused(refusal));
        assert_eq!(here.unwrap_err(), WireError::Refused(refusal));
    }
}

/// Sends messages from `from` to `to` until `enough`, and checks that each arrives.
async fn talk_until(from: &Established, to: &Established, enough: impl Fn() -> bool) {
    while !enough() {
        let mut out = from.connection.open_uni().await.unwrap();
        out.write_chunk(vec![9; 3000].into()).await.unwrap();
        out.finish();
        let mut into = to.connection.accept_uni().await.unwrap();
        assert_eq!(into.read_to_end(3000).await.unwrap(), [9; 3000]);
    }
}

#[tokio::test]
async fn keys_are_updated_by_bytes_while_data_flows() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let (there, here) = session(&alice, &bob, bob.local_addr()).await;
    let meter = there.meter();
    talk_until(&there, &here, || {
        meter.sealed.wake_soon();
        there.renewal.generation() >= 3 && here.renewal.generation() >= 3
    })
    .await;
    assert!(there.connection.close_reason().is_none());
}

#[tokio::test]
async fn keys_are_updated_by_time_while_data_flows() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let (there, here) = session(&alice, &bob, bob.local_addr()).await;
    let pace = key_update::Pace {
        bytes: u64::MAX / 2,
        age: Duration::from_millis(1),
        renewal: Duration::from_secs(3600),
    };
    let (connection, renewal) = (there.connection.clone(), Arc::clone(&there.renewal));
    tokio::spawn(key_update::update(connection, there.meter(), renewal, pace));
    talk_until(&there, &here, || there.renewal.generation() >= 3 && here.renewal.generation() >= 3)
        .await;
    assert!(there.connection.close_reason().is_none());
}

/// The fuzzer's targets on seeded noise, so that they stay alive between two runs of it.
#[test]
fn the_targets_of_the_fuzzer_hold() {
    let mut random = fastrand::Rng::with_seed(7);
    for length in (0..600).chain(1190..1240) {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        fuzz::messages(&bytes);
        fuzz::knock(&bytes);
        fuzz::handshake(&bytes);
        fuzz::datagram(&bytes);
        fuzz::places(&bytes);
        fuzz::renewal(&bytes);
        crate::route::fuzz::route_datagram(&bytes);
        crate::route::fuzz::routes(&bytes);
        crate::route::fuzz::address(&String::from_utf8_lossy(&bytes));
    }
}
