//! What the fuzzer calls (`fuzz/`): every reader of the wire, and the handshake as a whole.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use stc::{Key, aead::Suite};

use super::{
    advertised_ports::AdvertisedPorts,
    clock::Clock,
    gate::{Gate, GateConfig},
    handshake::{Handshake, Local, Output},
    knock::KnockKey,
    messages::{AuthProof, Hello, Response},
    obfuscation::{IdMark, Inbound, Opaque},
    rekey_exchange::{Parties, Renewal},
};
use crate::{identity::Identity, keyring::Keyring, packet_header::KNOCK_LEN, seed::SharedSeed};

static KEYRING: LazyLock<Arc<Keyring>> =
    LazyLock::new(|| Arc::new(Keyring::from(SharedSeed::from_key(Key::from_bytes([1; 32])))));
static IDENTITIES: LazyLock<Option<[Arc<Identity>; 2]>> = LazyLock::new(|| {
    let identity = |byte| Identity::from_key(&Key::from_bytes([byte; 32])).ok().map(Arc::new);
    Some([identity(2)?, identity(3)?])
});

/// Messages encode to the beginning of what they were read from.
///
/// # Panics
/// When they don't.
pub fn messages(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        assert!(bytes.starts_with(&hello.encode()));
    }
    if let Ok(response) = Response::decode(bytes) {
        assert!(bytes.starts_with(&response.encode()));
    }
    if let Ok(auth) = AuthProof::decode(bytes) {
        assert!(bytes.starts_with(&auth.encode()));
    }
}

/// Places are read as they were written, whatever is cut or unknown.
///
/// # Panics
/// When they aren't.
pub fn places(bytes: &[u8]) {
    let places = AdvertisedPorts::decode(bytes);
    assert_eq!(AdvertisedPorts::decode(&places.encode()), places);
}

/// Whatever one end of a session says about fresh keys, the other one keeps its own or makes the
/// same.
///
/// # Panics
/// When it makes others, or one that the peer did not answer.
pub fn renewal(bytes: &[u8]) {
    let Some([one, other]) = IDENTITIES.as_ref() else { return };
    // Of this session alone: the fuzzer remembers what others said, and would make a genuine message.
    let Ok(exporter) = Key::generate() else { return };
    let side = |own: &Arc<Identity>, peer: &Identity, initiator| {
        Some(Renewal::new(Parties {
            identity: Arc::clone(own),
            peer_static: *peer.static_key().public(),
            exporter: exporter.clone(),
            suite: Suite::Aes256Gcm,
            initiator,
            #[cfg(test)]
            ephemeral: None,
        }))
    };
    let (Some(alice), Some(bob)) = (side(one, other, true), side(other, one, false)) else {
        return;
    };
    assert!(alice.take_answer(bytes).is_err() && bob.answer(bytes).is_err());
    let Some(ask) = alice.ask() else { return };
    let (asks, answers): (Vec<_>, Vec<_>) =
        bytes.chunks_exact(4).partition(|edit| edit.first().is_some_and(|which| which & 1 == 0));
    let edited = |said: &[u8], edits: Vec<&[u8]>| {
        let mut heard = said.to_vec();
        apply(&mut heard, edits.into_iter().filter_map(|edit| edit.get(1..)));
        heard
    };
    let heard = edited(&ask, asks);
    let answer = bob.answer(&heard);
    assert_eq!(answer.is_ok(), heard == ask);
    let Ok(answer) = answer else { return };
    let heard = edited(&answer, answers);
    let taken = alice.take_answer(&heard).is_ok();
    // The session itself authenticates the generation.
    assert!(heard.get(8..) == answer.get(8..) || !taken);
    assert!(taken || heard != answer);
}

/// No knock is let in but a genuine one, and that only as it was made.
///
/// # Panics
/// When another one is.
pub fn knock(bytes: &[u8]) {
    let clock = Arc::new(Clock::System);
    let now = clock.now();
    let config = GateConfig { clock, window: Duration::from_secs(120), log: None, timeless: 0 };
    let node_id = crate::id::NodeId::from_bytes([9; 32]);
    let Ok(gate) = Gate::new(node_id, Arc::clone(&KEYRING), config, Arc::default()) else { return };
    assert!(gate.check(bytes).is_none());
    let entries = KEYRING.entries();
    let Some(seed) = entries.first() else { return };
    let key =
        KnockKey::new(&seed.knock, bytes.first().is_some_and(|b| b & 1 == 1).then_some(node_id));
    let genuine = key.knock([5; 8], now.saturating_add(1));
    let mut edited = genuine.to_vec();
    apply(&mut edited, bytes.chunks_exact(3));
    assert_eq!(gate.check(&edited).is_some(), edited == genuine);
    assert_eq!(gate.admit(&edited).is_some(), edited == genuine);
    assert!(gate.admit(&edited).is_none());
    assert_eq!(genuine.len(), KNOCK_LEN);
}

/// Changes `bytes` as the edits of three bytes say: place, kind, value.
fn apply<'a>(bytes: &mut Vec<u8>, edits: impl Iterator<Item = &'a [u8]>) {
    for edit in edits {
        let [at, kind, value] = *edit else { continue };
        let at = usize::from(at) * bytes.len() / 256;
        match kind % 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, value),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= value;
                }
            }
        }
    }
}

fn local(of: usize) -> Option<Local> {
    Some(Local {
        identity: Arc::clone(IDENTITIES.as_ref()?.get(of)?),
        seed: Arc::clone(KEYRING.entries().first()?),
        suites: vec![Suite::Aes256Gcm],
        parameters: vec![],
        listens: vec![],
        time: 0,
        #[cfg(test)]
        ephemeral: None,
        #[cfg(test)]
        offer: None,
    })
}

fn records(side: &mut Handshake) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(output) = side.poll_output() {
        if let Output::Record(record) = output {
            bytes.extend(record);
        }
    }
    bytes
}

/// Two sides talk while the bytes between them are changed as the input says, and come in pieces
/// of its choice. A side is done only if what it read was what the other one said.
///
/// # Panics
/// When a side believes something else.
pub fn handshake(bytes: &[u8]) {
    // As they are, the bytes are believed by nobody.
    let sides = || Some((local(0)?, local(1)?));
    let Some((ours, theirs)) = sides() else { return };
    let Ok(mut alice) = Handshake::initiator(ours, b"id", None) else { return };
    let Ok(mut bob) = Handshake::responder(theirs, b"id") else { return };
    let piece = usize::from(bytes.first().copied().unwrap_or_default()).max(1);
    // What was said to each side, and what it heard: all of it, since a byte too many after one message
    // is the next one's first.
    let mut flows = [const { (Vec::new(), Vec::new()) }; 2];
    let mut silent = false;
    for flight in 0_u8..3 {
        let (from, to) = if flight == 1 { (&mut bob, &mut alice) } else { (&mut alice, &mut bob) };
        let said = records(from);
        let mut heard = said.clone();
        let edits = bytes.chunks_exact(4).filter_map(|edit| edit.split_first());
        apply(&mut heard, edits.filter(|(of, _)| **of == flight).map(|(_, edit)| edit));
        silent |= said.is_empty();
        if let Some((all_said, all_heard)) = flows.get_mut(usize::from(flight != 1)) {
            all_said.extend_from_slice(&said);
            all_heard.extend_from_slice(&heard);
        }
        for piece in heard.chunks(piece) {
            if to.read(piece).is_err() {
                break;
            }
        }
    }
    let [alice_heard, bob_heard] = flows.map(|(said, heard)| !silent && heard.starts_with(&said));
    assert!(alice_heard || !alice.is_complete());
    assert!(bob_heard || !bob.is_complete());
    if alice_heard && bob_heard {
        assert!(alice.is_complete() && bob.is_complete());
    }
    let Some((ours, theirs)) = sides() else { return };
    let alice = Handshake::initiator(ours, b"id", None).ok();
    let bob = Handshake::responder(theirs, b"id").ok();
    for mut side in [alice, bob].into_iter().flatten() {
        for piece in bytes.chunks(piece) {
            if side.read(piece).is_err() {
                break;
            }
        }
        assert!(!side.is_complete());
    }
}

/// A datagram, as it is and with a mask over it that fits.
///
/// # Panics
/// When one that is dropped was changed, or one that was masked does not come back.
pub fn datagram(bytes: &[u8]) {
    let opaque = Opaque::new(Arc::clone(&KEYRING), IdMark::new([3; 16]));
    let seeds = opaque.seeds();
    let mut unmasked = bytes.to_vec();
    if matches!(opaque.inbound(&seeds, &mut unmasked), Inbound::Unknown) {
        assert_eq!(unmasked, bytes);
    }
    let mut route = bytes.to_vec();
    match opaque.inbound_route(&seeds, &mut route, |id| id.first().is_some_and(|b| b & 1 == 0)) {
        Some(id) => assert_eq!(route.get(1..9), Some(id.as_slice())),
        None => assert_eq!(route, bytes),
    }
    for seed in seeds.iter() {
        let mut masked = Vec::new();
        if seed.masks.seal_long(bytes, &[], &mut masked) {
            opaque.inbound(&seeds, &mut masked);
        }
        let mut stamped = bytes.to_vec();
        super::obfuscation::stamp(seed.slot, &mut stamped);
        if opaque.outbound(seed.slot, &mut stamped, &mut masked) && is_long(&stamped) {
            // Unless one of its packets has a type that nobody sends.
            match opaque.inbound(&seeds, &mut masked) {
                Inbound::Long(length) => assert_eq!(length, bytes.len()),
                other => assert_eq!(other, Inbound::Unknown),
            }
        }
    }
}

/// Whether the engine may have made it: a whole long header with an id of a length that occurs.
fn is_long(datagram: &[u8]) -> bool {
    let version = crate::packet_header::QUIC_VERSION.to_be_bytes();
    datagram.len() >= 24
        && datagram.first().is_some_and(|flags| flags & 0xc0 == 0xc0)
        && datagram.get(1..5).is_some_and(|field| field == version)
        && matches!(datagram.get(5), Some(8 | 20))
}
