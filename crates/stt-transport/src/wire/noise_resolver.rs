//! The primitives that snow computes with: X25519 and ChaCha20-Poly1305 by aws-lc-rs.

use std::sync::Arc;

use aws_lc_rs::agreement::{UnparsedPublicKey, X25519, agree};
use snow::{
    Error,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};
use stc::{
    Key,
    aead::{AeadKey, Suite, TAG_LEN},
    random,
};
use subtle::ConstantTimeEq;

use crate::identity::StaticKey;

/// Randomness of the operating system, X25519 and ChaCha20-Poly1305 by aws-lc-rs, which wipes its
/// keys; the hash by snow's own.
///
/// snow is given a node's secret key alone, for each handshake anew. To compute the public one again
/// would be a third of the work of an agreement.
pub(super) struct Resolver(pub(super) Option<Arc<StaticKey>>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OsRandom))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(KeyPair::empty(self.0.clone()))),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::new(ChaChaPoly { key: None })),
            _ => None,
        }
    }
}

/// Noise, section 12.3.
struct ChaChaPoly {
    /// `None` before there is a key, or when the library refused it.
    key: Option<AeadKey>,
}

impl ChaChaPoly {
    fn nonce(number: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        let (_, tail) = nonce.split_at_mut(4);
        tail.copy_from_slice(&number.to_le_bytes());
        nonce
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.key = AeadKey::new(Suite::ChaCha20Poly1305, &Key::from_bytes(*key));
    }

    /// snow can't be told of a failure: then nothing but zeroes leaves, which verify for nobody.
    fn encrypt(&self, nonce: u64, associated: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let length = plaintext.len() + TAG_LEN;
        let Some(out) = out.get_mut(..length) else { return 0 };
        let sealed = out.split_at_mut_checked(plaintext.len()).and_then(|(data, room)| {
            data.copy_from_slice(plaintext);
            let tag = self.key.as_ref()?.seal(Self::nonce(nonce), associated, data).ok()?;
            room.copy_from_slice(&tag);
            Some(())
        });
        if sealed.is_none() {
            out.fill(0);
        }
        length
    }

    fn decrypt(
        &self,
        nonce: u64,
        associated: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let (data, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..data.len()).ok_or(Error::Decrypt)?;
        let key = self.key.as_ref().ok_or(Error::Decrypt)?;
        key.open_to(Self::nonce(nonce), associated, data, tag, out).map_err(|_| Error::Decrypt)?;
        Ok(data.len())
    }
}

struct OsRandom;

impl Random for OsRandom {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        random::fill(out).map_err(|_| Error::Rng)
    }
}

struct KeyPair {
    /// `None` before there is one, or when the library refused its secret.
    key: Option<Arc<StaticKey>>,
    known: Option<Arc<StaticKey>>,
}

impl KeyPair {
    const fn empty(known: Option<Arc<StaticKey>>) -> Self {
        Self { key: None, known }
    }

    /// A secret that the library refuses gives a public key of zeroes, and every agreement fails.
    fn set_secret(&mut self, secret: Key) {
        self.key = match self.known.as_ref().filter(|known| known.is(&secret)) {
            Some(known) => Some(Arc::clone(known)),
            None => StaticKey::new(secret).map(Arc::new),
        };
    }
}

impl Dh for KeyPair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.set_secret(Key::from_bytes(secret.try_into().unwrap_or_default()));
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = [0; 32];
        rng.try_fill_bytes(&mut secret)?;
        self.set_secret(Key::from_bytes(secret));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.key.as_ref().map_or(&[0; 32], |key| key.public())
    }

    fn privkey(&self) -> &[u8] {
        self.key.as_ref().map_or(&[0; 32], |key| key.secret().as_bytes())
    }

    /// Refuses a result of zeroes, which a peer can force with a key of low order (RFC 7748,
    /// section 6.1). aws-lc checks it too; a change there must not go unnoticed.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // snow passes its buffer of the longest key there is.
        let public = public.get(..32).ok_or(Error::Dh)?;
        let secret = self.key.as_ref().ok_or(Error::Dh)?.agreement();
        let out = out.get_mut(..32).ok_or(Error::Dh)?;
        agree(secret, UnparsedPublicKey::new(&X25519, public), Error::Dh, |shared| {
            if shared.len() != 32 || bool::from(shared.ct_eq(&[0; 32])) {
                return Err(Error::Dh);
            }
            out.copy_from_slice(shared);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sides_agree_and_low_order_keys_are_refused() {
        let pair = |secret| {
            let mut pair = KeyPair::empty(None);
            pair.set(&[secret; 32]);
            pair
        };
        let (alice, bob) = (pair(1), pair(2));
        let shared = |own: &KeyPair, other: &[u8]| {
            let mut out = [0; 32];
            own.dh(other, &mut out).map(|()| out)
        };
        assert_eq!(shared(&alice, bob.pubkey()).unwrap(), shared(&bob, alice.pubkey()).unwrap());
        let mut one = [0; 32];
        one[0] = 1;
        for low_order in [[0; 32], one] {
            assert_eq!(shared(&alice, &low_order), Err(Error::Dh));
        }
    }
}
