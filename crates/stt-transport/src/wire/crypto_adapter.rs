//! The one file that knows how the engine wants its cryptography.
//!
//! Everything here translates: the handshake, the key schedule and the protection of packets are
//! written without the engine, beside this file.

use std::{
    any::Any,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use quinn_proto::{
    ConnectError, ConnectionError, ConnectionId, ConnectionIdGenerator, Side, TransportErrorCode,
    crypto::{
        AeadKey, CryptoError, ExportKeyingMaterialError, HandshakeTokenKey, HeaderKey, HmacKey,
        KeyPair, Keys, PacketKey, Session, UnsupportedVersion,
    },
};
use quinn_proto::{InvalidCid, TransportError, transport_parameters::TransportParameters};
use stc::{Key, aead::Suite, aead::TAG_LEN, kdf, random};

use super::{
    clock::Clock,
    gate::Gate,
    handshake::{Handshake, HandshakeError, Local, Output},
    key_schedule::{LevelSecrets, SessionSecrets},
    meter::Meter,
    obfuscation::{IdMark, stamp},
    packet_protection::{HeaderCipher, LONG, PacketCipher, SAMPLE_LEN},
    rekey_exchange::{Parties, Renewal},
    socket::short_id,
    stats::{Counters, count},
};
use crate::{
    id::NodeId, identity::Identity, keyring::SeedKeys, packet_header::CONNECTION_ID_LEN,
    route::Link,
};

/// Why a first flight ends here whose knock was not let in after all. Never on the wire: nobody is
/// told, and tokens, whose code this is, are not used.
const UNFIT: TransportErrorCode = TransportErrorCode::INVALID_TOKEN;

/// Whether a first flight ended because its knock was not let in.
pub(super) fn is_unfit(why: &ConnectionError) -> bool {
    matches!(why, ConnectionError::TransportError(error) if error.code == UNFIT)
}

/// What every session of an endpoint shares.
pub(crate) struct HandshakeContext {
    pub(crate) identity: Arc<Identity>,
    pub(crate) gate: Gate,
    pub(crate) suites: Vec<Suite>,
    #[cfg(test)]
    pub(crate) offer: Option<super::handshake::Offer>,
    pub(crate) listens: Vec<SocketAddr>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) counters: Arc<Counters>,
}

/// What a finished handshake tells the layer above.
#[derive(Clone)]
pub(crate) struct PeerInfo {
    pub(crate) node_id: NodeId,
    pub(crate) suite: Suite,
    pub(crate) session_id: Key,
    pub(crate) exporter: Key,
    pub(crate) final_confirm: Key,
    pub(crate) listens: Vec<SocketAddr>,
    /// The responder's time; `None` on its own side.
    pub(crate) time: Option<u32>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) renewal: Arc<Renewal>,
    /// The seed whose masks the session uses.
    pub(crate) seed: Arc<SeedKeys>,
}

/// The client's side of one attempt: which seed, which knock, which node is expected.
pub(crate) struct Attempt {
    pub(crate) endpoint: Arc<HandshakeContext>,
    pub(crate) seed: Arc<SeedKeys>,
    pub(crate) knock: ConnectionId,
    pub(crate) expect: Option<NodeId>,
    /// Tells what came back, from the first packet on.
    pub(crate) meter: Arc<Meter>,
}

/// The server's side of all sessions.
pub(crate) struct Acceptor(pub(crate) Arc<HandshakeContext>);

struct NoiseSession {
    endpoint: Arc<HandshakeContext>,
    side: Side,
    /// The initiator knows all that it needs; the responder learns the first connection id later.
    handshake: Option<Handshake>,
    parameters: Vec<u8>,
    /// Responder: the seed and the knock that it was called with.
    called: OnceLock<(Arc<SeedKeys>, ConnectionId)>,
    /// Secrets of the newest keys of the session; the engine has them made one update ahead.
    packets: Option<LevelSecrets>,
    peer: Option<PeerInfo>,
    meter: Arc<Meter>,
}

impl HandshakeContext {
    fn local(&self, seed: Arc<SeedKeys>, parameters: Vec<u8>) -> Local {
        Local {
            identity: Arc::clone(&self.identity),
            seed,
            suites: self.suites.clone(),
            parameters,
            listens: self.listens.clone(),
            time: self.clock.now(),
            #[cfg(test)]
            ephemeral: None,
            #[cfg(test)]
            offer: self.offer.clone(),
        }
    }
}

impl quinn_proto::crypto::ClientConfig for Attempt {
    fn start_session(
        self: Arc<Self>,
        _version: u32,
        _server_name: &str,
        parameters: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let local = self.endpoint.local(Arc::clone(&self.seed), encoded(parameters));
        let handshake = Handshake::initiator(local, &self.knock, self.expect)
            .map_err(|_| ConnectError::EndpointStopping)?;
        let called = OnceLock::new();
        // A cell that is new takes its first value.
        let _ = called.set((Arc::clone(&self.seed), self.knock));
        Ok(Box::new(NoiseSession {
            endpoint: Arc::clone(&self.endpoint),
            side: Side::Client,
            handshake: Some(handshake),
            parameters: Vec::new(),
            called,
            packets: None,
            peer: None,
            meter: Arc::clone(&self.meter),
        }))
    }
}

impl quinn_proto::crypto::ServerConfig for Acceptor {
    fn initial_keys(
        &self,
        _version: u32,
        connection_id: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        // The engine drops such a packet without an answer.
        let seed = self.0.gate.check(connection_id).ok_or(UnsupportedVersion)?;
        let secrets = LevelSecrets::initial(&seed.initial, connection_id);
        Ok(early_keys(&secrets, Side::Server, seed.slot, None))
    }

    fn retry_tag(&self, _: u32, _: &ConnectionId, _: &[u8]) -> [u8; 16] {
        [0; 16]
    }

    fn start_session(
        self: Arc<Self>,
        _version: u32,
        parameters: &TransportParameters,
    ) -> Box<dyn Session> {
        Box::new(NoiseSession {
            endpoint: Arc::clone(&self.0),
            side: Side::Server,
            handshake: None,
            parameters: encoded(parameters),
            called: OnceLock::new(),
            packets: None,
            peer: None,
            meter: Arc::default(),
        })
    }
}

impl NoiseSession {
    fn handshake(&mut self) -> Result<&mut Handshake, HandshakeError> {
        if self.handshake.is_none() {
            let (seed, knock) = self.called.get().ok_or(HandshakeError::OutOfTurn)?;
            let parameters = std::mem::take(&mut self.parameters);
            let local = self.endpoint.local(Arc::clone(seed), parameters);
            self.handshake = Some(Handshake::responder(local, knock)?);
        }
        self.handshake.as_mut().ok_or(HandshakeError::Internal)
    }

    fn install(&mut self, secrets: Output) -> Option<Keys> {
        match secrets {
            Output::Handshake(secrets) => {
                let (seed, _) = self.called.get()?;
                Some(early_keys(&secrets, self.side, seed.slot, Some(&self.meter)))
            }
            Output::Session(secrets) => self.complete(&secrets),
            Output::Record(_) => None,
        }
    }

    fn complete(&mut self, secrets: &SessionSecrets) -> Option<Keys> {
        let (seed, _) = self.called.get()?;
        let handshake = self.handshake.as_ref()?;
        let renewal = Renewal::new(Parties {
            identity: Arc::clone(&self.endpoint.identity),
            peer_static: handshake.peer_static()?,
            exporter: secrets.exporter.clone(),
            suite: handshake.suite(),
            initiator: self.side == Side::Client,
            #[cfg(test)]
            ephemeral: None,
        });
        self.peer = Some(PeerInfo {
            node_id: handshake.peer()?,
            suite: handshake.suite(),
            session_id: secrets.session_id.clone(),
            exporter: secrets.exporter.clone(),
            final_confirm: secrets.final_confirm.clone(),
            listens: handshake.peer_listens().to_vec(),
            time: handshake.peer_time(),
            meter: Arc::clone(&self.meter),
            renewal: Arc::new(renewal),
            seed: Arc::clone(seed),
        });
        let (local, remote) = sides(&secrets.packets, self.side);
        let cipher = |secret| HeaderCipher::new(secrets.packets.suite, secret);
        let headers = KeyPair {
            local: Box::new(ShortHeaders { cipher: cipher(local), seed: Arc::clone(seed) })
                as Box<dyn HeaderKey>,
            remote: Box::new(Headers { cipher: cipher(remote), slot: seed.slot }),
        };
        let packets = packet_keys(&secrets.packets, self.side, Some(&self.meter));
        self.packets = Some(secrets.packets.clone());
        Some(Keys { header: headers, packet: packets })
    }
}

impl Session for NoiseSession {
    fn initial_keys(&self, connection_id: &ConnectionId, side: Side) -> Keys {
        if side == Side::Server {
            // Called when the first packet authenticated, and not before. The same knock may have been
            // used since it was checked.
            if let Some(seed) = self.endpoint.gate.admit(connection_id) {
                let _ = self.called.set((seed, *connection_id));
            }
        }
        match self.called.get() {
            Some((seed, _)) => {
                let secrets = LevelSecrets::initial(&seed.initial, connection_id);
                early_keys(&secrets, side, seed.slot, Some(&self.meter))
            }
            // Nothing is said to such a peer.
            None => dead_keys(),
        }
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.peer_identity()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.peer.clone().map(|peer| Box::new(peer) as Box<dyn Any>)
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        !self.handshake.as_ref().is_some_and(Handshake::is_complete)
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        if self.called.get().is_none() {
            return Err(TransportError::from(UNFIT));
        }
        let read = self.handshake().and_then(|handshake| handshake.read(bytes));
        read.map(|()| false).map_err(|error| {
            count(&self.endpoint.counters.handshakes_failed);
            if error == HandshakeError::Version {
                count(&self.endpoint.counters.handshakes_other_version);
            }
            let mut transport = TransportError::from(TransportErrorCode::crypto(error.alert()));
            transport.reason = error.to_string();
            transport
        })
    }

    /// As RFC 9000, section 18, has them (HS-7).
    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let handshake = self.handshake.as_ref();
        let Some(mut bytes) = handshake.and_then(Handshake::peer_parameters) else {
            return Ok(None);
        };
        Ok(Some(TransportParameters::read(self.side, &mut bytes)?))
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        match self.handshake.as_mut()?.poll_output()? {
            Output::Record(record) => {
                out.extend(record);
                // A record and the keys that follow it leave in one call, or the engine would ask
                // for them only after the next packet.
                let secrets = self.handshake.as_mut()?.take_secrets()?;
                self.install(secrets)
            }
            secrets => self.install(secrets),
        }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let next = self.peer.as_ref()?.renewal.next(self.packets.as_ref()?);
        let pair = packet_keys(&next, self.side, Some(&self.meter));
        self.packets = Some(next);
        Some(pair)
    }

    /// We never send a Retry, so we never believe one (VER-3).
    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn export_keying_material(
        &self,
        out: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        let peer = self.peer.as_ref().ok_or(ExportKeyingMaterialError)?;
        kdf::derive_into(&peer.exporter, "stt/1 export", &[label, context], out);
        Ok(())
    }
}

fn encoded(parameters: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    parameters.write(&mut bytes);
    bytes
}

/// `(local, remote)` of one level.
fn sides(secrets: &LevelSecrets, side: Side) -> (&Key, &Key) {
    match side {
        Side::Client => (&secrets.initiator, &secrets.responder),
        Side::Server => (&secrets.responder, &secrets.initiator),
    }
}

/// Keys of Initial or Handshake packets.
fn early_keys(secrets: &LevelSecrets, side: Side, slot: u8, meter: Option<&Arc<Meter>>) -> Keys {
    let (local, remote) = sides(secrets, side);
    let header = |secret| -> Box<dyn HeaderKey> {
        Box::new(Headers { cipher: HeaderCipher::new(secrets.suite, secret), slot })
    };
    Keys {
        header: KeyPair { local: header(local), remote: header(remote) },
        packet: packet_keys(secrets, side, meter),
    }
}

fn packet_keys(
    secrets: &LevelSecrets,
    side: Side,
    meter: Option<&Arc<Meter>>,
) -> KeyPair<Box<dyn PacketKey>> {
    let (local, remote) = sides(secrets, side);
    let packet = |secret| -> Box<dyn PacketKey> {
        let cipher = Some(PacketCipher::new(secrets.suite, secret));
        Box::new(Packets { cipher, meter: meter.cloned() })
    };
    KeyPair { local: packet(local), remote: packet(remote) }
}

/// Keys with which nothing is ever sent or read.
fn dead_keys() -> Keys {
    let header = || Box::new(Headers { cipher: None, slot: 0 });
    let packet = || Box::new(Packets { cipher: None, meter: None });
    Keys {
        header: KeyPair { local: header(), remote: header() },
        packet: KeyPair { local: packet(), remote: packet() },
    }
}

/// Header protection whose masks are put on and taken off by the socket. Without a cipher, when the
/// library refused the key, nothing can be sent or read with it.
struct Headers {
    cipher: Option<HeaderCipher>,
    slot: u8,
}

impl HeaderKey for Headers {
    fn decrypt(&self, number_at: usize, packet: &mut [u8]) {
        if let Some(cipher) = &self.cipher {
            cipher.apply(number_at, packet, true);
        }
    }

    fn encrypt(&self, number_at: usize, packet: &mut [u8]) {
        if let Some(cipher) = &self.cipher {
            cipher.apply(number_at, packet, false);
        }
        stamp(self.slot, packet);
    }

    fn sample_size(&self) -> usize {
        SAMPLE_LEN
    }
}

/// Header protection of packets that we send in a session. The mask goes on here, where the packet
/// is written anyway, so that the socket need not copy it.
struct ShortHeaders {
    cipher: Option<HeaderCipher>,
    seed: Arc<SeedKeys>,
}

impl HeaderKey for ShortHeaders {
    /// Never called: this is the sending direction.
    fn decrypt(&self, _: usize, _: &mut [u8]) {}

    fn encrypt(&self, number_at: usize, packet: &mut [u8]) {
        let protected = self.cipher.as_ref().is_some_and(|cipher| {
            cipher.apply(number_at, packet, false);
            self.seed.masks.short(packet)
        });
        if !protected {
            packet.fill(0);
        }
    }

    fn sample_size(&self) -> usize {
        SAMPLE_LEN
    }
}

struct Packets {
    cipher: Option<PacketCipher>,
    meter: Option<Arc<Meter>>,
}

impl PacketKey for Packets {
    fn encrypt(&self, number: u64, packet: &mut [u8], header_len: usize) {
        if let Some(meter) = &self.meter {
            meter.sealed.add(packet.len());
        }
        let sealed = self.cipher.as_ref().map(|c| c.seal(number, packet, header_len));
        if !matches!(sealed, Some(Ok(()))) {
            // The engine cannot be told. What was not encrypted must not leave.
            packet.fill(0);
        }
    }

    fn decrypt(
        &self,
        number: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        let cipher = self.cipher.as_ref().ok_or(CryptoError)?;
        let length = cipher.open(number, header, payload).map_err(|_| CryptoError)?;
        if let Some(meter) = &self.meter {
            meter.opened.add(payload.len());
            // The engine makes most ids in a task that serves all connections. Which of them the
            // peer uses shows here first, in a packet that verified, in this connection's task.
            if header.first().is_some_and(|flags| flags & LONG == 0)
                && let Some(id) = short_id(header)
                && meter.is_new_id(id)
                && let Some(link) = Link::current()
            {
                link.add_id(id);
            }
        }
        payload.truncate(length);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        TAG_LEN
    }

    /// RFC 9001, section 6.6.
    fn confidentiality_limit(&self) -> u64 {
        match self.cipher.as_ref().map(PacketCipher::suite) {
            Some(Suite::ChaCha20Poly1305) => u64::MAX,
            _ => 1 << 23,
        }
    }

    /// RFC 9001, section 6.6.
    fn integrity_limit(&self) -> u64 {
        match self.cipher.as_ref().map(PacketCipher::suite) {
            Some(Suite::ChaCha20Poly1305) => 1 << 36,
            _ => 1 << 52,
        }
    }
}

/// Random connection ids, marked for the socket. The engine is told that it knows none of them, so
/// that it never answers a stranger's packet with a stateless reset.
pub(crate) struct ConnectionIds(pub(crate) IdMark);

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        // The engine asks again when an id is taken already. Without randomness it would ask for
        // ever, so then time has to do: an id is not a secret.
        let random = random::bytes().unwrap_or_else(|_| nanoseconds().to_be_bytes());
        let id = self.0.id(random);
        // That of a connection which is being made; the others are met when the peer uses them.
        if let Some(link) = Link::current() {
            link.add_id(id);
        }
        ConnectionId::new(&id)
    }

    fn validate(&self, _: &ConnectionId) -> Result<(), InvalidCid> {
        Err(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LEN
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

fn nanoseconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos()
}

/// Key of the stateless reset tokens that the engine puts into its transport parameters.
pub(crate) struct ResetKey(pub(crate) Key);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        kdf::derive_into(&self.0, "stt/1 reset", &[data], out);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError)
    }
}

/// Address validation tokens are neither sent nor accepted.
pub(crate) struct NoTokens;

impl HandshakeTokenKey for NoTokens {
    fn aead_from_hkdf(&self, _: &[u8]) -> Box<dyn AeadKey> {
        Box::new(Self)
    }
}

impl AeadKey for NoTokens {
    fn seal(&self, _: &mut Vec<u8>, _: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError)
    }

    fn open<'a>(&self, _: &'a mut [u8], _: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        Err(CryptoError)
    }
}
