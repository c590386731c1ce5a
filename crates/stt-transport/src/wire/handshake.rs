//! The handshake as a state machine: bytes in, bytes and secrets out; no engine, no socket, no
//! clock (docs/protocol.md, HS-1).
//!
//! `Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s` (Noise Protocol Framework, revision 34) with one record
//! added: after message 2 the responder repeats, in the new keys, that it has them. Without that
//! record one lost packet can leave the initiator waiting for ever.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use stc::{Key, aead::Suite};
use subtle::ConstantTimeEq;

use super::{
    key_schedule::{LevelSecrets, SessionSecrets, Transcript},
    messages::{AuthProof, Hello, Malformed, Response, VERSION},
    noise::Noise,
};
use crate::{
    id::NodeId,
    identity::{Identity, Proof, Role},
    keyring::SeedKeys,
};

/// HS-1.
const NOISE: &str = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s";
/// Longest record, in bytes. The largest honest one is about 800.
pub(crate) const MAX_RECORD: usize = 4096;
/// What a Noise message adds to its payload at most: two keys and three tags.
const OVERHEAD: usize = 2 * 32 + 3 * 16;

/// Why a handshake failed on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A message did not verify.
    #[error("a handshake message did not verify: it was changed on the way or replayed")]
    Tampered,
    /// A message does not have the fields that it should have.
    #[error("a handshake message is not what the protocol says")]
    Malformed,
    /// A message too many.
    #[error("a handshake message came out of turn")]
    OutOfTurn,
    /// The peer speaks other versions of the protocol.
    #[error("no version of the protocol in common")]
    Version,
    /// The peer has other ciphers.
    #[error("no cipher in common")]
    Suite,
    /// A key exchange had the result zero.
    #[error("the peer used a key of low order")]
    LowOrderKey,
    /// The node key's signature does not verify.
    #[error("the peer's key is not signed by its node key")]
    UnsignedKey,
    /// Another node answered than was expected.
    #[error("the peer is not the node that was expected")]
    WrongPeer,
    /// Nothing that the peer did.
    #[error("the cryptographic library failed")]
    Internal,
}

impl HandshakeError {
    /// Its number in a CONNECTION_CLOSE frame, as a TLS alert would be (docs/protocol.md, ERR-1).
    pub(crate) const fn alert(self) -> u8 {
        match self {
            Self::OutOfTurn => 10,
            Self::UnsignedKey => 42,
            Self::WrongPeer => 46,
            Self::LowOrderKey => 47,
            Self::Malformed => 50,
            Self::Tampered => 51,
            Self::Version => 70,
            Self::Suite => 71,
            Self::Internal => 80,
        }
    }

    /// The error with that number.
    pub(crate) const fn from_alert(alert: u64) -> Option<Self> {
        Some(match alert {
            10 => Self::OutOfTurn,
            42 => Self::UnsignedKey,
            46 => Self::WrongPeer,
            47 => Self::LowOrderKey,
            50 => Self::Malformed,
            51 => Self::Tampered,
            70 => Self::Version,
            71 => Self::Suite,
            80 => Self::Internal,
            _ => return None,
        })
    }
}

impl From<Malformed> for HandshakeError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<snow::Error> for HandshakeError {
    fn from(error: snow::Error) -> Self {
        match error {
            snow::Error::Decrypt => Self::Tampered,
            snow::Error::Dh => Self::LowOrderKey,
            snow::Error::Input => Self::Malformed,
            snow::Error::State(_) => Self::OutOfTurn,
            _ => Self::Internal,
        }
    }
}

/// What one side brings into a handshake.
pub(crate) struct Local {
    pub(crate) identity: Arc<Identity>,
    pub(crate) seed: Arc<SeedKeys>,
    /// Suites that this side has, best first.
    pub(crate) suites: Vec<Suite>,
    /// QUIC transport parameters, which the engine encodes and reads.
    pub(crate) parameters: Vec<u8>,
    /// Addresses at which this node can be reached, told to the responder.
    pub(crate) listens: Vec<SocketAddr>,
    /// This side's time, told to the initiator.
    pub(crate) time: u32,
    /// The ephemeral key, for vectors.
    #[cfg(test)]
    pub(crate) ephemeral: Option<[u8; 32]>,
    /// What HELLO offers instead, for refusals.
    #[cfg(test)]
    pub(crate) offer: Option<Offer>,
}

/// Numbers of versions and of suites.
#[cfg(test)]
pub(crate) type Offer = (Vec<u8>, Vec<u8>);

/// Bytes and keys, in the order in which the engine has to take them. Keys lie in boxes: what is
/// moved out of a queue leaves a copy behind, and what is moved out of a box, too.
pub(crate) enum Output {
    /// A record for the peer, in the current level.
    Record(Vec<u8>),
    /// The secrets of Handshake packets.
    Handshake(Box<LevelSecrets>),
    /// The secrets of the session: the handshake is complete on this side.
    Session(Box<SessionSecrets>),
}

enum Step {
    /// Initiator, after message 1.
    AwaitResponse,
    /// Initiator, after message 2 (HS-4).
    AwaitConfirm(Key),
    /// Responder, at the start.
    AwaitHello,
    /// Responder, after message 2 (HS-5).
    AwaitAuthProof,
    Done,
    Failed,
}

/// One side of a handshake.
pub(crate) struct Handshake {
    local: Local,
    expect: Option<NodeId>,
    noise: Option<Noise>,
    step: Step,
    received: Vec<u8>,
    output: VecDeque<Output>,
    suite: Suite,
    peer: Option<NodeId>,
    peer_static: Option<[u8; 32]>,
    peer_parameters: Option<Vec<u8>>,
    peer_listens: Vec<SocketAddr>,
    peer_time: Option<u32>,
}

impl Handshake {
    /// The side that knocks. `expect` is the node that must answer.
    pub(crate) fn initiator(
        local: Local,
        connection_id: &[u8],
        expect: Option<NodeId>,
    ) -> Result<Self, HandshakeError> {
        let noise = noise(&local, connection_id, true)?;
        let mut this = Self::new(local, expect, noise, Step::AwaitResponse);
        let hello = Hello {
            versions: vec![VERSION],
            suites: this.local.suites.iter().map(|suite| suite.id()).collect(),
            parameters: std::mem::take(&mut this.local.parameters),
        };
        #[cfg(test)]
        let hello = match this.local.offer.take() {
            Some((versions, suites)) => Hello { versions, suites, ..hello },
            None => hello,
        };
        this.write(&hello.encode())?;
        Ok(this)
    }

    /// The side that answers.
    pub(crate) fn responder(local: Local, connection_id: &[u8]) -> Result<Self, HandshakeError> {
        let noise = noise(&local, connection_id, false)?;
        Ok(Self::new(local, None, noise, Step::AwaitHello))
    }

    fn new(local: Local, expect: Option<NodeId>, noise: Noise, step: Step) -> Self {
        Self {
            suite: local.suites.first().copied().unwrap_or(Suite::Aes256Gcm),
            local,
            expect,
            noise: Some(noise),
            step,
            received: Vec::new(),
            output: VecDeque::new(),
            peer: None,
            peer_static: None,
            peer_parameters: None,
            peer_listens: Vec::new(),
            peer_time: None,
        }
    }

    /// Takes the next bytes of the peer's records, cut anywhere.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        self.received.extend(bytes);
        while let Some((head, rest)) = self.received.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*head));
            if length > MAX_RECORD {
                return Err(HandshakeError::Malformed);
            }
            let Some(record) = rest.get(..length) else { return Ok(()) };
            let record = record.to_vec();
            self.received.drain(..2 + length);
            self.take_record(&record)?;
        }
        Ok(())
    }

    /// What the engine has to do next.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// As [`Self::poll_output`], unless a record comes next.
    pub(crate) fn take_secrets(&mut self) -> Option<Output> {
        match self.output.front()? {
            Output::Record(_) => None,
            Output::Handshake(_) | Output::Session(_) => self.output.pop_front(),
        }
    }

    /// Whether the keys of the session exist.
    pub(crate) const fn is_complete(&self) -> bool {
        matches!(self.step, Step::Done)
    }

    /// Who the peer proved to be.
    pub(crate) const fn peer(&self) -> Option<NodeId> {
        self.peer
    }

    /// The static key that the peer's proof is about.
    pub(crate) const fn peer_static(&self) -> Option<[u8; 32]> {
        self.peer_static
    }

    /// The peer's transport parameters.
    pub(crate) fn peer_parameters(&self) -> Option<&[u8]> {
        self.peer_parameters.as_deref()
    }

    /// Where the initiator can be reached, as it says; empty on the initiator's side.
    pub(crate) fn peer_listens(&self) -> &[SocketAddr] {
        &self.peer_listens
    }

    /// The responder's time when it answered; the initiator is not asked for its own.
    pub(crate) const fn peer_time(&self) -> Option<u32> {
        self.peer_time
    }

    /// The cipher of the session, once there is a choice.
    pub(crate) const fn suite(&self) -> Suite {
        self.suite
    }

    fn take_record(&mut self, record: &[u8]) -> Result<(), HandshakeError> {
        match std::mem::replace(&mut self.step, Step::Failed) {
            Step::AwaitHello => {
                let hello = Hello::decode(&self.noise_read(record)?)?;
                self.take_hello(hello)?;
                self.step = Step::AwaitAuthProof;
            }
            Step::AwaitResponse => {
                let response = Response::decode(&self.noise_read(record)?)?;
                let confirm = self.take_response(response)?;
                self.step = Step::AwaitConfirm(confirm);
            }
            Step::AwaitConfirm(confirm) => {
                if !bool::from(record.ct_eq(confirm.as_bytes())) {
                    return Err(HandshakeError::Tampered);
                }
                let auth = AuthProof {
                    proof: self.local.identity.proof(Role::Initiator),
                    listens: std::mem::take(&mut self.local.listens),
                };
                self.write(&auth.encode())?;
                self.finish()?;
            }
            Step::AwaitAuthProof => {
                let auth = AuthProof::decode(&self.noise_read(record)?)?;
                self.peer = Some(self.verify_peer(&auth.proof, Role::Initiator)?);
                self.peer_listens = auth.listens;
                self.finish()?;
            }
            Step::Done | Step::Failed => return Err(HandshakeError::OutOfTurn),
        }
        Ok(())
    }

    /// HELLO (HS-2) is answered with RESPONSE and CONFIRM (HS-3, HS-4).
    fn take_hello(&mut self, hello: Hello) -> Result<(), HandshakeError> {
        if !hello.versions.contains(&VERSION) {
            return Err(HandshakeError::Version);
        }
        // The initiator's order decides: the side that asks may be the weaker machine.
        let mut offered = hello.suites.iter().filter_map(|id| Suite::from_id(*id));
        self.suite =
            offered.find(|suite| self.local.suites.contains(suite)).ok_or(HandshakeError::Suite)?;
        self.peer_parameters = Some(hello.parameters);
        let response = Response {
            version: VERSION,
            suite: self.suite,
            time: self.local.time,
            proof: self.local.identity.proof(Role::Responder),
            parameters: std::mem::take(&mut self.local.parameters),
        };
        self.write(&response.encode())?;
        let (secrets, confirm) = self.transcript()?.handshake(self.suite);
        self.output.push_back(Output::Handshake(Box::new(secrets)));
        self.push_record(confirm.as_bytes());
        Ok(())
    }

    /// Everything about the responder is checked here, before the initiator's own key leaves it
    /// (HS-3).
    fn take_response(&mut self, response: Response) -> Result<Key, HandshakeError> {
        if response.version != VERSION {
            return Err(HandshakeError::Version);
        }
        if !self.local.suites.contains(&response.suite) {
            return Err(HandshakeError::Suite);
        }
        let peer = self.verify_peer(&response.proof, Role::Responder)?;
        if self.expect.is_some_and(|expected| expected != peer) {
            return Err(HandshakeError::WrongPeer);
        }
        self.peer = Some(peer);
        self.suite = response.suite;
        self.peer_time = Some(response.time);
        self.peer_parameters = Some(response.parameters);
        let (secrets, confirm) = self.transcript()?.handshake(self.suite);
        self.output.push_back(Output::Handshake(Box::new(secrets)));
        Ok(confirm)
    }

    fn verify_peer(&mut self, proof: &Proof, role: Role) -> Result<NodeId, HandshakeError> {
        let noise = self.noise.as_ref().ok_or(HandshakeError::OutOfTurn)?;
        let key = noise.get_remote_static().and_then(|key| <&[u8; 32]>::try_from(key).ok());
        let key = *key.ok_or(HandshakeError::OutOfTurn)?;
        if !self.local.identity.verifies(proof, role, &key) {
            return Err(HandshakeError::UnsignedKey);
        }
        self.peer_static = Some(key);
        Ok(proof.node_id)
    }

    fn finish(&mut self) -> Result<(), HandshakeError> {
        let secrets = self.transcript()?.session(self.suite);
        self.output.push_back(Output::Session(Box::new(secrets)));
        self.noise = None;
        self.step = Step::Done;
        Ok(())
    }

    fn transcript(&mut self) -> Result<Transcript, HandshakeError> {
        let noise = self.noise.as_mut().ok_or(HandshakeError::OutOfTurn)?;
        noise.transcript().ok_or(HandshakeError::Internal)
    }

    fn noise_read(&mut self, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        let noise = self.noise.as_mut().ok_or(HandshakeError::OutOfTurn)?;
        let mut payload = vec![0; message.len()];
        let length = noise.read_message(message, &mut payload)?;
        payload.truncate(length);
        Ok(payload)
    }

    fn write(&mut self, payload: &[u8]) -> Result<(), HandshakeError> {
        let noise = self.noise.as_mut().ok_or(HandshakeError::OutOfTurn)?;
        let mut message = vec![0; payload.len() + OVERHEAD];
        let length = noise.write_message(payload, &mut message)?;
        message.truncate(length);
        self.push_record(&message);
        Ok(())
    }

    fn push_record(&mut self, message: &[u8]) {
        let length = u16::try_from(message.len()).unwrap_or_default();
        self.output.push_back(Output::Record([&length.to_be_bytes(), message].concat()));
    }
}

fn noise(local: &Local, connection_id: &[u8], initiator: bool) -> Result<Noise, HandshakeError> {
    // The version here is that of the wire's shape; what may change within it is agreed in HELLO.
    let prologue = [b"stt/1 ".as_slice(), connection_id].concat();
    let own = local.identity.static_key();
    let noise = Noise::new(NOISE, Some(own), |builder| {
        let builder = builder
            .local_private_key(own.secret().as_bytes())?
            .psk(0, local.seed.psk.as_bytes())?
            .prologue(&prologue)?;
        #[cfg(test)]
        let builder = match &local.ephemeral {
            Some(key) => builder.fixed_ephemeral_key_for_testing_only(key),
            None => builder,
        };
        if initiator { builder.build_initiator() } else { builder.build_responder() }
    })?;
    Ok(noise)
}
