//! Who a node is: an ed25519 node key, and the X25519 key that it vouches for.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{
    agreement::{PrivateKey, X25519},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use curve25519_dalek::edwards::CompressedEdwardsY;
use stc::{
    Coded, Key, kdf,
    random::RandomError,
    stretch::{Cost, StretchError, stretch},
};
use subtle::ConstantTimeEq;

use crate::{id::NodeId, lru::Lru};

/// Proofs of others that are remembered.
const MAX_VERIFIED: usize = 1_024;

/// Which side of a handshake a key is used on. Part of what the node key signs, so that a proof
/// made for one side is worth nothing on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// A node's keys.
///
/// The X25519 key of the handshake is a key of its own, signed once for each role when the identity
/// is made. (An ed25519 key turned into an X25519 one would share its secret with its negation,
/// and so evade a list of denied nodes.)
pub struct Identity {
    node_id: NodeId,
    node_key: Ed25519KeyPair,
    static_key: Arc<StaticKey>,
    /// Hashes of proofs of others that verified: of those who come back.
    verified: Mutex<Lru<[u8; 32], ()>>,
    proofs: [[u8; Proof::SIGNATURE_LEN]; 2],
}

/// What a peer shows to prove that its X25519 key belongs to its node key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) node_id: NodeId,
    pub(crate) signature: [u8; Self::SIGNATURE_LEN],
}

/// Why there is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A persistent identity needs a node seed, and it is empty.
    #[error("the node seed is empty")]
    EmptySeed,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The node seed could not be stretched.
    #[error(transparent)]
    Stretch(#[from] StretchError),
    /// The cryptographic library refused a freshly derived key.
    #[error("the node's keys could not be made")]
    Keys,
}

impl Coded for IdentityError {
    fn code(&self) -> &'static str {
        match self {
            Self::EmptySeed => "identity.empty_seed",
            Self::Random(error) => error.code(),
            Self::Stretch(error) => error.code(),
            Self::Keys => "identity.keys",
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Random(error) => error.retry_helps(),
            Self::Stretch(error) => error.retry_helps(),
            Self::EmptySeed | Self::Keys => false,
        }
    }
}

impl Identity {
    /// A new node, unlike every other, forgotten when the process ends.
    ///
    /// # Errors
    /// [`IdentityError::Random`] when the system has no random bytes.
    pub fn ephemeral() -> Result<Self, IdentityError> {
        Self::from_key(&Key::generate()?)
    }

    /// The node that belongs to `node_seed`, the same at every start.
    ///
    /// The seed is stretched with Argon2id at [`Cost::DEFAULT`]: who guesses it is this node.
    ///
    /// # Errors
    /// [`IdentityError::EmptySeed`] and [`IdentityError::Stretch`].
    pub fn persistent(node_seed: &[u8]) -> Result<Self, IdentityError> {
        Self::persistent_with_cost(node_seed, Cost::DEFAULT)
    }

    /// As [`Self::persistent`] at another cost, which gives another node.
    ///
    /// # Errors
    /// As [`Self::persistent`].
    pub fn persistent_with_cost(node_seed: &[u8], cost: Cost) -> Result<Self, IdentityError> {
        if node_seed.is_empty() {
            return Err(IdentityError::EmptySeed);
        }
        let salt = blake3::derive_key("stt/1 node seed", b"");
        Self::from_key(&stretch(node_seed, &salt, cost)?)
    }

    /// The node that belongs to a random key (docs/protocol.md, ID-1).
    ///
    /// # Errors
    /// [`IdentityError::Keys`] when the cryptographic library fails, which it has no reason to.
    pub fn from_key(root: &Key) -> Result<Self, IdentityError> {
        let node_key = Ed25519KeyPair::from_seed_unchecked(
            kdf::derive(root, "stt/1 node key", &[]).as_bytes(),
        )
        .map_err(|_| IdentityError::Keys)?;
        let static_secret = kdf::derive(root, "stt/1 static key", &[]);
        let static_key = StaticKey::new(static_secret).ok_or(IdentityError::Keys)?;
        let sign = |role| -> Result<[u8; Proof::SIGNATURE_LEN], IdentityError> {
            let signature = node_key
                .try_sign(&Proof::message(role, static_key.public()))
                .map_err(|_| IdentityError::Keys)?;
            signature.as_ref().try_into().map_err(|_| IdentityError::Keys)
        };
        let proofs = [sign(Role::Initiator)?, sign(Role::Responder)?];
        let node_id = node_key.public_key().as_ref().try_into().map_err(|_| IdentityError::Keys)?;
        let (node_id, static_key) = (NodeId::from_bytes(node_id), Arc::new(static_key));
        let verified = Mutex::new(Lru::new(MAX_VERIFIED));
        Ok(Self { node_id, node_key, static_key, proofs, verified })
    }

    /// The node's name: its ed25519 public key.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Signs `message` for `context`, so that nobody can pass it off as one for another purpose
    /// (docs/protocol.md, ID-3). [`NodeId::verifies`] checks it.
    ///
    /// # Errors
    /// [`IdentityError::Keys`] when the cryptographic library fails, which it has no reason to.
    pub fn sign(
        &self,
        context: &str,
        message: &[u8],
    ) -> Result<[u8; NodeId::SIGNATURE_LEN], IdentityError> {
        let signature = self.node_key.try_sign(&signed_bytes(context, message));
        let signature = signature.map_err(|_| IdentityError::Keys)?;
        signature.as_ref().try_into().map_err(|_| IdentityError::Keys)
    }

    /// This node's keys with the proofs of another one: what an impostor has.
    #[cfg(test)]
    pub(crate) fn with_proofs_of(mut self, other: &Self) -> Self {
        self.proofs = other.proofs;
        self.node_id = other.node_id;
        self
    }

    pub(crate) const fn static_key(&self) -> &Arc<StaticKey> {
        &self.static_key
    }

    /// As [`Proof::verifies`], of which it remembers the outcome if it is good: whoever was here
    /// before costs one check less.
    pub(crate) fn verifies(&self, proof: &Proof, role: Role, static_public: &[u8; 32]) -> bool {
        let hash = proof.hash(role, static_public);
        let verified = || self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let known = verified().get(&hash).is_some();
        if !known && !proof.verifies(role, static_public) {
            return false;
        }
        verified().touch(hash, || ());
        true
    }

    /// What proves in the given role that the static key is this node's.
    pub(crate) const fn proof(&self, role: Role) -> Proof {
        let [initiator, responder] = self.proofs;
        let signature = match role {
            Role::Initiator => initiator,
            Role::Responder => responder,
        };
        Proof { node_id: self.node_id, signature }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, ..)", self.node_id)
    }
}

/// What the node key signs for an application.
fn signed_bytes(context: &str, message: &[u8]) -> Vec<u8> {
    let len = u64::try_from(context.len()).unwrap_or(u64::MAX).to_be_bytes();
    [b"stt/1 signature for ", &len[..], context.as_bytes(), message].concat()
}

/// Whether the node key of `node_id` signed `message`, and is a key that only its owner can sign
/// with: a key of low order verifies signatures that anybody can make.
fn verifies(node_id: NodeId, message: &[u8], signature: &[u8]) -> bool {
    let sound = CompressedEdwardsY(*node_id.as_bytes())
        .decompress()
        .is_some_and(|point| !point.is_small_order());
    sound && UnparsedPublicKey::new(&ED25519, node_id.as_bytes()).verify(message, signature).is_ok()
}

impl NodeId {
    /// Bytes of a signature.
    pub const SIGNATURE_LEN: usize = 64;

    /// Whether the node with this id signed `message` for `context`
    /// ([`Identity::sign`]).
    #[must_use]
    pub fn verifies(&self, context: &str, message: &[u8], signature: &[u8]) -> bool {
        verifies(*self, &signed_bytes(context, message), signature)
    }
}

impl Proof {
    pub(crate) const SIGNATURE_LEN: usize = NodeId::SIGNATURE_LEN;

    /// What the node key signs (docs/protocol.md, ID-2).
    fn message(role: Role, static_public: &[u8; 32]) -> Vec<u8> {
        let role: &[u8] = match role {
            Role::Initiator => b"initiator",
            Role::Responder => b"responder",
        };
        [b"stt/1 static key of the ", role, b": ", static_public.as_slice()].concat()
    }

    /// Names all that is verified.
    fn hash(&self, role: Role, static_public: &[u8; 32]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("stt/1 verified proof");
        hasher.update(self.node_id.as_bytes());
        hasher.update(&self.signature);
        hasher.update(&Self::message(role, static_public));
        *hasher.finalize().as_bytes()
    }

    /// Whether the node key signed `static_public` for `role`.
    pub(crate) fn verifies(&self, role: Role, static_public: &[u8; 32]) -> bool {
        verifies(self.node_id, &Self::message(role, static_public), &self.signature)
    }
}

/// An X25519 key: its secret, and what is computed from it once.
pub(crate) struct StaticKey {
    secret: Key,
    public: [u8; 32],
    /// The secret as the library wants it, which wipes it.
    agreement: PrivateKey,
}

impl StaticKey {
    /// `None` when the library refuses the secret, which it has no reason to.
    pub(crate) fn new(secret: Key) -> Option<Self> {
        let agreement = PrivateKey::from_private_key(&X25519, secret.as_bytes()).ok()?;
        let public = agreement.compute_public_key().ok()?.as_ref().try_into().ok()?;
        Some(Self { secret, public, agreement })
    }

    pub(crate) const fn secret(&self) -> &Key {
        &self.secret
    }

    pub(crate) const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    pub(crate) const fn agreement(&self) -> &PrivateKey {
        &self.agreement
    }

    /// Whether that is its secret.
    pub(crate) fn is(&self, secret: &Key) -> bool {
        self.secret.as_bytes().ct_eq(secret.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persistent_node_keeps_its_name_and_an_ephemeral_one_does_not() {
        let cost = Cost::new(16, 1).unwrap();
        let node = |seed: &[u8]| Identity::persistent_with_cost(seed, cost).unwrap().node_id();
        assert_eq!(node(b"one"), node(b"one"));
        assert_ne!(node(b"one"), node(b"two"));
        let ephemeral = || Identity::ephemeral().unwrap().node_id();
        assert_ne!(ephemeral(), ephemeral());
        assert_eq!(Identity::persistent(b"").unwrap_err(), IdentityError::EmptySeed);
    }

    #[test]
    fn a_proof_holds_for_its_role_key_and_node_only() {
        let identity = Identity::ephemeral().unwrap();
        let other = Identity::ephemeral().unwrap();
        let public = *identity.static_key().public();
        let proof = identity.proof(Role::Initiator);
        assert!(proof.verifies(Role::Initiator, &public));
        assert!(!proof.verifies(Role::Responder, &public));
        let others = *other.static_key().public();
        assert!(!proof.verifies(Role::Initiator, &others));
        let stolen = Proof { node_id: other.node_id(), ..proof };
        assert!(!stolen.verifies(Role::Initiator, &public));
    }

    #[test]
    fn a_proof_that_verified_is_remembered_and_no_other_for_it() {
        let (here, there) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
        let (public, proof) = (*there.static_key().public(), there.proof(Role::Responder));
        let known = || {
            let mut count = 0;
            here.verified.lock().unwrap().retain(|_, ()| {
                count += 1;
                true
            });
            count
        };
        for _ in 0..2 {
            assert!(here.verifies(&proof, Role::Responder, &public));
            assert_eq!(known(), 1);
        }
        let mut forged = [proof; 2];
        forged[0].signature[3] ^= 1;
        forged[1].node_id = here.node_id();
        for forged in forged {
            assert!(!here.verifies(&forged, Role::Responder, &public));
        }
        assert!(!here.verifies(&proof, Role::Initiator, &public));
        assert!(!here.verifies(&proof, Role::Responder, here.static_key().public()));
        assert_eq!(known(), 1);
    }

    #[test]
    fn a_signature_holds_for_its_context_message_and_node_only() {
        let (here, there) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
        let signature = here.sign("topic", b"message").unwrap();
        let id = here.node_id();
        assert!(id.verifies("topic", b"message", &signature));
        assert!(!id.verifies("topic", b"other", &signature));
        assert!(!id.verifies("topicm", b"essage", &signature));
        assert!(!there.node_id().verifies("topic", b"message", &signature));
        assert!(!id.verifies("topic", b"message", &signature[..63]));
        // It is no proof of a key for a handshake.
        let public = *here.static_key().public();
        let text = Proof::message(Role::Initiator, &public);
        let signature = here.sign("", &text).unwrap();
        assert!(!Proof { node_id: id, signature }.verifies(Role::Initiator, &public));
    }

    #[test]
    fn a_node_key_of_low_order_is_refused() {
        // The neutral point (y = 1): R = S·B verifies for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; Proof::SIGNATURE_LEN];
        signature[0] = 1;
        let proof = Proof { node_id: NodeId::from_bytes(neutral), signature };
        assert!(!proof.verifies(Role::Initiator, &[9; 32]));
        assert!(!proof.node_id.verifies("", b"anything", &signature));
    }
}
