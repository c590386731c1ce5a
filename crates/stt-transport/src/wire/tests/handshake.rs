//! The handshake under attack, without a network.

use std::sync::Arc;

use proptest::prelude::*;
use snow::{
    Builder, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};
use stc::{Key, aead::Suite};

use crate::{
    id::NodeId,
    identity::{Identity, Role},
    keyring::Keyring,
    seed::SharedSeed,
    wire::{
        handshake::{Handshake, HandshakeError, Local, Output},
        messages::{AuthProof, Hello},
    },
};

const ID: &[u8] = b"the first connection";

fn local_of(identity: Identity, seed: u8) -> Local {
    let keyring = Keyring::from(SharedSeed::from_key(Key::from_bytes([seed; 32])));
    Local {
        identity: Arc::new(identity),
        seed: Arc::clone(&keyring.entries()[0]),
        suites: vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305],
        parameters: vec![1, 2, 3],
        listens: vec!["127.0.0.1:9".parse().unwrap()],
        time: 1_800_000_000,
        ephemeral: None,
        offer: None,
    }
}

fn local(seed: u8) -> Local {
    local_of(Identity::ephemeral().unwrap(), seed)
}

fn pair() -> (Handshake, Handshake) {
    let alice = Handshake::initiator(local(1), ID, None).unwrap();
    let bob = Handshake::responder(local(1), ID).unwrap();
    (alice, bob)
}

/// Everything that a side has to say now, as the bytes of one level.
fn records(side: &mut Handshake) -> Vec<u8> {
    std::iter::from_fn(|| side.poll_output())
        .filter_map(|output| match output {
            Output::Record(record) => Some(record),
            Output::Handshake(_) | Output::Session(_) => None,
        })
        .flatten()
        .collect()
}

/// Carries records to and fro until nobody has anything to say. `change` may alter the nth flight.
fn run(
    alice: &mut Handshake,
    bob: &mut Handshake,
    mut change: impl FnMut(usize, &mut Vec<u8>),
) -> Result<(), HandshakeError> {
    for flight in 0.. {
        let (from, to): (&mut Handshake, &mut Handshake) =
            if flight % 2 == 0 { (alice, bob) } else { (bob, alice) };
        let mut bytes = records(from);
        if bytes.is_empty() {
            break;
        }
        change(flight, &mut bytes);
        to.read(&bytes)?;
    }
    Ok(())
}

#[test]
fn both_sides_come_to_the_same_secrets() {
    let (mut alice, mut bob) = pair();
    let mut secrets: Vec<[u8; 32]> = Vec::new();
    for flight in 0..3 {
        let (from, to) =
            if flight % 2 == 0 { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
        while let Some(output) = from.poll_output() {
            match output {
                Output::Record(record) => to.read(&record).unwrap(),
                Output::Session(session) => secrets.push(*session.exporter.as_bytes()),
                Output::Handshake(_) => {}
            }
        }
    }
    while let Some(output) = bob.poll_output() {
        if let Output::Session(session) = output {
            secrets.push(*session.exporter.as_bytes());
        }
    }
    assert_eq!(secrets.len(), 2);
    assert_eq!(secrets[0], secrets[1]);
    assert!(alice.is_complete() && bob.is_complete());
    assert_eq!(alice.peer_time(), Some(1_800_000_000));
    assert_eq!(bob.peer_listens(), ["127.0.0.1:9".parse().unwrap()]);
    assert_eq!(alice.peer_parameters(), Some([1, 2, 3].as_slice()));
}

#[test]
fn another_seed_or_another_connection_id_does_not_verify() {
    for bob in [
        Handshake::responder(local(2), ID).unwrap(),
        Handshake::responder(local(1), b"another connection").unwrap(),
    ] {
        let (mut alice, _) = pair();
        let mut bob = bob;
        assert_eq!(run(&mut alice, &mut bob, |_, _| {}), Err(HandshakeError::Tampered));
        assert!(records(&mut bob).is_empty());
    }
}

#[test]
fn every_changed_byte_of_every_flight_is_noticed() {
    let mut lengths = Vec::new();
    let (mut alice, mut bob) = pair();
    run(&mut alice, &mut bob, |_, bytes| lengths.push(bytes.len())).unwrap();
    assert_eq!(lengths.len(), 3);
    for (changed, length) in lengths.into_iter().enumerate() {
        for at in (0..length).step_by(5) {
            let (mut alice, mut bob) = pair();
            let result = run(&mut alice, &mut bob, |flight, bytes| {
                if flight == changed {
                    bytes[at] ^= 0x40;
                }
            });
            // A changed length may also leave the reader waiting for more.
            let complete = alice.is_complete() && bob.is_complete();
            assert!(result.is_err() || !complete, "flight {changed}, byte {at}");
            assert!(!bob.is_complete(), "flight {changed}, byte {at}");
        }
    }
}

#[test]
fn a_reflected_message_does_not_verify() {
    let (mut alice, mut bob) = pair();
    let hello = records(&mut alice);
    // Too short for a response, or one that does not verify: it depends on the parameters.
    let refused = alice.read(&hello);
    assert!(matches!(refused, Err(HandshakeError::Tampered | HandshakeError::Malformed)));
    bob.read(&hello).unwrap();
    let response = records(&mut bob);
    assert_eq!(bob.read(&response), Err(HandshakeError::Tampered));
}

#[test]
fn a_message_too_many_is_refused() {
    let (mut alice, mut bob) = pair();
    let mut last = Vec::new();
    run(&mut alice, &mut bob, |_, bytes| last = bytes.clone()).unwrap();
    assert_eq!(bob.read(&last), Err(HandshakeError::OutOfTurn));
}

#[test]
fn a_cut_flight_waits_for_the_rest_and_a_long_one_is_refused() {
    let (mut alice, mut bob) = pair();
    let hello = records(&mut alice);
    for byte in &hello[..hello.len() - 1] {
        bob.read(&[*byte]).unwrap();
        assert!(bob.poll_output().is_none());
    }
    bob.read(&hello[hello.len() - 1..]).unwrap();
    assert!(bob.poll_output().is_some());
    let (_, mut bob) = pair();
    assert_eq!(bob.read(&[0x10, 0x01]), Err(HandshakeError::Malformed));
}

#[test]
fn a_node_that_is_not_the_expected_one_learns_nothing_of_the_initiator() {
    let expected = NodeId::from_bytes([7; 32]);
    let mut alice = Handshake::initiator(local(1), ID, Some(expected)).unwrap();
    let mut bob = Handshake::responder(local(1), ID).unwrap();
    bob.read(&records(&mut alice)).unwrap();
    assert_eq!(alice.read(&records(&mut bob)), Err(HandshakeError::WrongPeer));
    assert!(alice.poll_output().is_none());
    assert!(!alice.is_complete());
}

#[test]
fn a_key_that_its_node_key_did_not_sign_is_refused_on_either_side() {
    let impostor = || {
        let victim = Identity::ephemeral().unwrap();
        local_of(Identity::ephemeral().unwrap().with_proofs_of(&victim), 1)
    };
    let (mut alice, _) = pair();
    let mut bob = Handshake::responder(impostor(), ID).unwrap();
    assert_eq!(run(&mut alice, &mut bob, |_, _| {}), Err(HandshakeError::UnsignedKey));
    assert!(alice.poll_output().is_none());

    let (_, mut bob) = pair();
    let mut alice = Handshake::initiator(impostor(), ID, None).unwrap();
    assert_eq!(run(&mut alice, &mut bob, |_, _| {}), Err(HandshakeError::UnsignedKey));
    assert!(!bob.is_complete());
}

#[test]
fn no_common_cipher_or_version_is_said_so() {
    let mut weak = local(1);
    weak.suites = vec![Suite::ChaCha20Poly1305];
    let mut alice = Handshake::initiator(weak, ID, None).unwrap();
    let mut strong = local(1);
    strong.suites = vec![Suite::Aes256Gcm];
    let mut bob = Handshake::responder(strong, ID).unwrap();
    assert_eq!(run(&mut alice, &mut bob, |_, _| {}), Err(HandshakeError::Suite));

    for (versions, suites, expected) in
        [(vec![9], vec![1], HandshakeError::Version), (vec![9, 1], vec![77], HandshakeError::Suite)]
    {
        let hello = Hello { versions, suites, parameters: vec![] };
        let mut bob = Handshake::responder(local(1), ID).unwrap();
        assert_eq!(bob.read(&hello_record(&mut evil(None), &hello)), Err(expected));
    }
    // The initiator's order decides, and unknown numbers are skipped.
    let hello = Hello { versions: vec![9, 1], suites: vec![77, 2, 1], parameters: vec![] };
    let mut bob = Handshake::responder(local(1), ID).unwrap();
    bob.read(&hello_record(&mut evil(None), &hello)).unwrap();
    assert_eq!(bob.suite(), Suite::ChaCha20Poly1305);
}

/// Snow's own primitives, except that a secret of zeroes has the public key zero, with which every
/// exchange comes to zero, and a fixed ephemeral key is possible.
struct EvilResolver;

struct LowOrder;

impl Dh for LowOrder {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, _: &[u8]) {}
    fn generate(&mut self, _: &mut dyn Random) -> Result<(), snow::Error> {
        Ok(())
    }
    fn pubkey(&self) -> &[u8] {
        &[0; 32]
    }
    fn privkey(&self) -> &[u8] {
        &[0; 32]
    }
    fn dh(&self, _: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        out[..32].fill(0);
        Ok(())
    }
}

impl CryptoResolver for EvilResolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }
    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(LowOrder))
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// A member that follows Noise and nothing else.
fn evil(resolver: Option<EvilResolver>) -> HandshakeState {
    let params = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s".parse().unwrap();
    let builder = match resolver {
        Some(resolver) => Builder::with_resolver(params, Box::new(resolver)),
        None => Builder::new(params),
    };
    let keys = local(1).seed;
    let prologue = [b"stt/1 ".as_slice(), ID].concat();
    builder
        .local_private_key(&[5; 32])
        .unwrap()
        .psk(0, keys.psk.as_bytes())
        .unwrap()
        .prologue(&prologue)
        .unwrap()
        .build_initiator()
        .unwrap()
}

fn record(noise: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; payload.len() + 200];
    let length = noise.write_message(payload, &mut message).unwrap();
    let prefix = u16::try_from(length).unwrap().to_be_bytes();
    [&prefix, &message[..length]].concat()
}

fn hello_record(noise: &mut HandshakeState, hello: &Hello) -> Vec<u8> {
    record(noise, &hello.encode())
}

#[test]
fn a_key_of_low_order_is_refused() {
    let hello = Hello { versions: vec![1], suites: vec![1], parameters: vec![] };
    let mut bob = Handshake::responder(local(1), ID).unwrap();
    let hello = hello_record(&mut evil(Some(EvilResolver)), &hello);
    assert_eq!(bob.read(&hello), Err(HandshakeError::LowOrderKey));
    assert!(bob.poll_output().is_none());
}

#[test]
fn a_genuine_proof_for_the_other_role_or_of_another_key_is_refused() {
    let owner = Identity::ephemeral().unwrap();
    for role in [Role::Initiator, Role::Responder] {
        let mut noise = evil(None);
        let mut bob = Handshake::responder(local(1), ID).unwrap();
        let hello = Hello { versions: vec![1], suites: vec![1], parameters: vec![] };
        bob.read(&hello_record(&mut noise, &hello)).unwrap();
        let flight = records(&mut bob);
        let length = usize::from(u16::from_be_bytes([flight[0], flight[1]]));
        noise.read_message(&flight[2..2 + length], &mut vec![0; 4096]).unwrap();
        let auth = AuthProof { proof: owner.proof(role), listens: vec![] };
        let last = record(&mut noise, &auth.encode());
        assert_eq!(bob.read(&last), Err(HandshakeError::UnsignedKey));
    }
}

proptest! {
    /// Whatever a member or a stranger sends, in whatever pieces, nothing panics and nobody
    /// believes it.
    #[test]
    fn noise_is_never_believed(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let (mut alice, mut bob) = pair();
        for piece in &pieces {
            if alice.read(piece).is_err() | bob.read(piece).is_err() {
                break;
            }
        }
        prop_assert!(!alice.is_complete() && !bob.is_complete());
    }
}
