//! What the fuzzer calls (`fuzz/`): every reader of the wire, and the handshake as a whole.

use std::sync::{Arc, LazyLock};

use stc::{Key, aead::Suite};

use super::{
    handshake::{Handshake, Local},
    messages::{AuthProof, Hello, Response},
    opaque::{IdMark, Opaque},
};
use crate::{Identity, Keyring, SharedSeed, stream::header::Header};

static KEYRING: LazyLock<Arc<Keyring>> =
    LazyLock::new(|| Arc::new(Keyring::from(SharedSeed::from_key(Key::from_bytes([1; 32])))));
static IDENTITY: LazyLock<Option<Arc<Identity>>> =
    LazyLock::new(|| Identity::from_key(&Key::from_bytes([2; 32])).ok().map(Arc::new));

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
    if let Ok(Some((header, length))) = Header::parse(bytes) {
        let mut again = Vec::new();
        header.put(&mut again);
        assert!(again.len() <= length);
    }
}

/// Neither side of a handshake believes the bytes, in whatever pieces they come.
///
/// # Panics
/// When it does.
pub fn handshake(bytes: &[u8]) {
    let Some(identity) = &*IDENTITY else { return };
    let local = || -> Option<Local> {
        Some(Local {
            identity: Arc::clone(identity),
            seed: Arc::clone(KEYRING.entries().first()?),
            suites: vec![Suite::Aes256Gcm],
            parameters: vec![],
            listens: vec![],
            time: 0,
            #[cfg(test)]
            ephemeral: None,
        })
    };
    let sides = [
        local().and_then(|local| Handshake::initiator(local, b"id", None).ok()),
        local().and_then(|local| Handshake::responder(local, b"id").ok()),
    ];
    for mut side in sides.into_iter().flatten() {
        for piece in bytes.chunks(97) {
            if side.read(piece).is_err() {
                break;
            }
        }
        assert!(!side.is_complete());
    }
}

/// A datagram, as it is and with a mask over it that fits.
pub fn datagram(bytes: &[u8]) {
    let opaque = Opaque::new(Arc::clone(&KEYRING), IdMark::new([3; 16]));
    let seeds = opaque.seeds();
    opaque.inbound(&seeds, &mut bytes.to_vec());
    for seed in &seeds {
        let mut masked = Vec::new();
        if seed.masks.seal_long(bytes, &[], &mut masked) {
            opaque.inbound(&seeds, &mut masked);
        }
        let mut stamped = bytes.to_vec();
        super::opaque::stamp(seed.slot, &mut stamped);
        opaque.outbound(seed.slot, &mut stamped, &mut masked);
    }
}
