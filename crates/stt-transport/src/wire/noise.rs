//! The state of a Noise handshake, which leaves nothing behind.
//!
//! snow wipes nothing: chaining key, pre-shared key and hash would stay in freed memory, and whoever
//! finds a chaining key there has the keys of the session that came of it.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use snow::{Builder, Error, HandshakeState};
use stc::Key;
use zeroize::Zeroize;

use super::{key_schedule::Transcript, noise_resolver::Resolver};
use crate::identity::StaticKey;

/// A handshake that needs no key to be begun, and is never carried out.
const BLANK: &str = "Noise_NN_25519_ChaChaPoly_BLAKE2s";

/// A handshake in Noise, overwritten when it is dropped.
///
/// Keys and ciphers in it are wiped by the library that computes with them (`resolver`). What snow had
/// on the stack meanwhile is not wiped by anybody (docs/protocol.md, What is left in memory).
pub(super) struct Noise(Box<HandshakeState>);

impl Noise {
    /// A handshake of `pattern`, with what `set_up` gives it. This side's key may be `own`.
    pub(super) fn new<'a>(
        pattern: &str,
        own: Option<&Arc<StaticKey>>,
        set_up: impl FnOnce(Builder<'a>) -> Result<HandshakeState, Error>,
    ) -> Result<Self, Error> {
        set_up(builder(pattern, own.cloned())?).map(|state| Self(Box::new(state)))
    }

    /// What it has come to so far. `None` only if the hash had another length.
    pub(super) fn transcript(&mut self) -> Option<Transcript> {
        let (mut first, mut second) = self.0.dangerously_get_raw_split();
        let split = [Key::from_bytes(first), Key::from_bytes(second)];
        first.zeroize();
        second.zeroize();
        let hash = self.0.get_handshake_hash().try_into().ok()?;
        Some(Transcript { split, hash })
    }

    /// Puts a handshake without any secret in its place, in the same memory.
    fn wipe(&mut self) {
        if let Ok(blank) = builder(BLANK, None).and_then(|builder| builder.build_initiator()) {
            *self.0 = blank;
            // The compiler must not see that nobody reads it any more.
            std::hint::black_box(&mut *self.0);
        }
    }
}

fn builder<'a>(pattern: &str, own: Option<Arc<StaticKey>>) -> Result<Builder<'a>, Error> {
    Ok(Builder::with_resolver(pattern.parse()?, Box::new(Resolver(own))))
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl Deref for Noise {
    type Target = HandshakeState;

    fn deref(&self) -> &HandshakeState {
        &self.0
    }
}

impl DerefMut for Noise {
    fn deref_mut(&mut self) -> &mut HandshakeState {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wiped_is_a_handshake_that_never_was() {
        let pattern = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
        let state = |psk: [u8; 32]| {
            let set_up =
                |builder: Builder<'_>| builder.psk(0, &psk)?.prologue(&psk)?.build_initiator();
            let mut noise = Noise::new(pattern, None, set_up).unwrap();
            noise.write_message(b"", &mut [0; 100]).unwrap();
            noise
        };
        let secrets = |noise: &mut Noise| {
            let Transcript { split: [first, second], hash } = noise.transcript().unwrap();
            (*first.as_bytes(), *second.as_bytes(), hash)
        };
        let (mut one, mut other) = (state([1; 32]), state([2; 32]));
        let before = (secrets(&mut one), secrets(&mut other));
        assert_ne!(before.0, before.1);
        let at = std::ptr::from_ref(&*one);
        one.wipe();
        other.wipe();
        assert_eq!(std::ptr::from_ref(&*one), at, "in the same memory");
        assert_ne!(secrets(&mut one), before.0);
        assert_eq!(secrets(&mut one), secrets(&mut other));
    }
}
