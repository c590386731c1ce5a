//! Our code against vectors that an independent program computes from the specification
//! (`interop/wire`).

use stc::aead::Suite;

use super::*;
use crate::{
    header_mask::{Long, Masks},
    keyring::SeedKeys,
    testing::vectors::{Vectors, read},
    wire::{
        handshake::{Handshake, Local, Output},
        key_schedule::LevelSecrets,
        knock::KnockKey,
        packet_protection::{HeaderCipher, PacketCipher},
        rekey_exchange::{Parties, Renewal},
    },
};

fn seed_keys(byte: u8) -> Arc<SeedKeys> {
    Arc::clone(&Keyring::from(seed(byte)).entries()[0])
}

#[test]
fn keys_of_seeds() {
    let vectors = read("seeds");
    assert_eq!(vectors.len(), 3 * 6);
    for byte in [0, 1, 0xff] {
        let keys = seed_keys(byte);
        let of = |name: &str| vectors[&format!("{byte}-{name}")].as_slice();
        assert_eq!(keys.id.to_string().len(), 16);
        let id: String = of("id").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(keys.id.to_string(), id);
        assert_eq!(keys.psk.as_bytes(), of("psk"));
        assert_eq!(keys.initial.as_bytes(), of("initial"));
        assert_eq!(keys.knock.as_bytes(), of("knock"));
    }
}

#[test]
fn knocks() {
    let vectors = read("knocks");
    assert_eq!(vectors.len(), 6);
    let seed = seed_keys(1);
    let node = NodeId::from_bytes([7; 32]);
    for (who, expect) in [("anyone", None), ("pinned", Some(node))] {
        let key = KnockKey::new(&seed.knock, expect);
        for (when, time) in [("timeless", 0), ("now", 1_800_000_000), ("last", u32::MAX)] {
            let knock = key.knock([0, 1, 2, 3, 4, 5, 6, 7], time);
            assert_eq!(knock.as_slice(), vectors[&format!("{who}-{when}")], "{who} {when}");
            assert_eq!(key.open(&knock), Some(time));
        }
    }
}

#[test]
fn masks() {
    let vectors = read("masks");
    assert_eq!(vectors.len(), 5);
    let masks = Masks::new(&Key::from_bytes([1; 32]));
    let datagram = &vectors["datagram"];
    for (name, padding) in [("long", 0), ("long-padded", 30)] {
        let mut masked = Vec::new();
        masks.seal_long(datagram, &vec![0; padding], &mut masked);
        assert_eq!(masked, vectors[name]);
        assert_eq!(masks.open_long(&mut masked), Long::Datagram(datagram.len()));
    }
    let mut packet = vectors["packet"].clone();
    masks.short(&mut packet);
    assert_eq!(packet, vectors["short"]);
}

#[test]
fn packets() {
    let vectors = read("packets");
    assert_eq!(vectors.len(), 10);
    for (name, suite) in [("aes", Suite::Aes256Gcm), ("chacha", Suite::ChaCha20Poly1305)] {
        let secret = Key::from_bytes([9; 32]);
        let mut packet = vec![0x41, 0, 1, 2, 3, 4, 5, 6, 7, 0x12, 0x34];
        packet.extend(b"payload of a packet");
        packet.extend([0; 16]);
        PacketCipher::new(suite, &secret).seal(0x1234, &mut packet, 11).unwrap();
        HeaderCipher::new(suite, &secret).unwrap().apply(9, &mut packet, false);
        assert_eq!(packet, vectors[&format!("{name}-packet")]);
    }
    let id: Vec<u8> = (0..20).collect();
    let initial = LevelSecrets::initial(&seed_keys(1).initial, &id);
    assert_eq!(initial.initiator.as_bytes(), vectors["initial-initiator"].as_slice());
    assert_eq!(initial.responder.as_bytes(), vectors["initial-responder"].as_slice());
}

#[test]
fn handshakes() {
    for (name, suite) in
        [("handshake-aes", Suite::Aes256Gcm), ("handshake-chacha", Suite::ChaCha20Poly1305)]
    {
        let vectors = read(name);
        let side = |root, ephemeral, parameters: &[u8]| Local {
            identity: Arc::new(Identity::from_key(&Key::from_bytes([root; 32])).unwrap()),
            seed: seed_keys(1),
            suites: vec![suite],
            parameters: parameters.to_vec(),
            listens: vec!["127.0.0.1:9".parse().unwrap()],
            time: 1_800_000_000,
            ephemeral: Some([ephemeral; 32]),
            offer: None,
        };
        let id: Vec<u8> = (0..20).collect();
        let mut alice = Handshake::initiator(side(2, 4, b"abc"), &id, None).unwrap();
        let mut bob = Handshake::responder(side(3, 5, b"xyz"), &id).unwrap();
        let mut got: Vectors = [("suite".to_owned(), vec![suite.id()])].into();
        let mut records = ["hello", "response", "confirm", "auth-proof"].into_iter();
        let mut put = |name: &str, bytes: &[u8]| {
            let before = got.insert(name.to_owned(), bytes.to_vec());
            assert!(before.is_none_or(|before| before == bytes), "both sides agree on {name}");
        };
        for turn in 0..4 {
            let (from, to) =
                if turn % 2 == 0 { (&mut alice, &mut bob) } else { (&mut bob, &mut alice) };
            while let Some(output) = from.poll_output() {
                match output {
                    Output::Record(record) => {
                        put(records.next().unwrap(), &record);
                        to.read(&record).unwrap();
                    }
                    Output::Handshake(level) => {
                        put("handshake-initiator", level.initiator.as_bytes());
                        put("handshake-responder", level.responder.as_bytes());
                    }
                    Output::Session(session) => {
                        put("session-initiator", session.packets.initiator.as_bytes());
                        put("session-responder", session.packets.responder.as_bytes());
                        put("updated-initiator", session.packets.next(None).initiator.as_bytes());
                        put("final", session.final_confirm.as_bytes());
                        put("exporter", session.exporter.as_bytes());
                        put("session-id", &session.session_id.as_bytes()[..8]);
                    }
                }
            }
        }
        assert_eq!(got, vectors);
    }
}

#[test]
fn renewals() {
    for (name, suite) in
        [("renewal-aes", Suite::Aes256Gcm), ("renewal-chacha", Suite::ChaCha20Poly1305)]
    {
        let vectors = read(name);
        let identity = |byte| Arc::new(Identity::from_key(&Key::from_bytes([byte; 32])).unwrap());
        let side = |own, peer, ephemeral, initiator| {
            let peer: Arc<Identity> = identity(peer);
            Renewal::new(Parties {
                identity: identity(own),
                peer_static: *peer.static_key().public(),
                exporter: Key::from_bytes([9; 32]),
                suite,
                initiator,
                ephemeral: Some([ephemeral; 32]),
            })
        };
        let sides = [side(2, 3, 4, true), side(3, 2, 5, false)];
        let root = Key::from_bytes([8; 32]);
        let mut secrets = [LevelSecrets::new(&root, suite), LevelSecrets::new(&root, suite)];
        for generation in 1..=7 {
            if generation == 4 {
                let ask = sides[0].ask().unwrap();
                assert_eq!(ask, vectors["renew"]);
                let answer = sides[1].answer(&ask).unwrap();
                assert_eq!(answer, vectors["renewed"]);
                sides[0].take_answer(&answer).unwrap();
            }
            secrets = [0, 1].map(|side| sides[side].next(&secrets[side]));
        }
        for secrets in secrets {
            assert_eq!(secrets.initiator.as_bytes(), vectors["initiator"].as_slice());
            assert_eq!(secrets.responder.as_bytes(), vectors["responder"].as_slice());
        }
        assert_eq!((vectors.len(), vectors["suite"].as_slice()), (5, [suite.id()].as_slice()));
    }
}
