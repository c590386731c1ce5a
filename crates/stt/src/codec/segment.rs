//! The bytes of a segment, and the keys that seal them.
//!
//! 32 bytes of header, big-endian, then the ciphertext with its tag of 16 bytes. The header is
//! authenticated.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | cipher suite |
//! | 2 | flags: bit 0 marks the last segment; the others are 0 |
//! | 4 | generation: grows with each reset |
//! | 8 | sequence, from 0 |
//! | 16 | start: random, drawn at each start and reset of the encoder |
//!
//! The key is derived from the root key, the session's id, the stream's number, the role, the
//! generation, the start, and the sequence divided by 65,536; the nonce is the sequence. A restarted
//! encoder draws another start, so it meets an old key only if two random numbers of 128 bits meet.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use stc::{
    Key,
    aead::{AeadKey, NONCE_LEN, Suite, TAG_LEN},
    kdf,
};

use super::{CodecConfig, CodecError, CodecRole};
use crate::SessionId;

/// A sealed segment, ready to travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number, from 0. It is also inside [`Self::bytes`].
    pub sequence: u64,
    /// Whether the stream ends with it.
    pub last: bool,
    /// Header, ciphertext and tag.
    pub bytes: Bytes,
}

impl Segment {
    /// Bytes that a segment adds to what it carries.
    pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
}

/// How far an encoder may go, said by the decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// Which start of the encoder it is for: counted by its resets.
    pub generation: u32,
    /// The first sequence that may not be sent yet.
    pub limit: u64,
}

impl Credit {
    /// Bytes of [`Self::to_bytes`].
    pub const LEN: usize = 12;

    /// The credit for its way to the encoder: generation, then limit, big-endian.
    ///
    /// They are not sealed. Send them over a session, or over something else that nobody else writes
    /// to: who can, stops the stream, or has the encoder run further ahead than the decoder holds.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (generation, limit) = bytes.split_at_mut(4);
        generation.copy_from_slice(&self.generation.to_be_bytes());
        limit.copy_from_slice(&self.limit.to_be_bytes());
        bytes
    }

    /// What [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] when it is not as long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let bytes = <[u8; Self::LEN]>::try_from(bytes).map_err(|_| CodecError::Malformed)?;
        let mut bytes = bytes.as_slice();
        Ok(Self { generation: bytes.get_u32(), limit: bytes.get_u64() })
    }
}

pub(super) const HEADER_LEN: usize = 32;
const VERSION: u8 = 1;
const LAST: u16 = 1;
/// Segments of one start, at most: 256 TiB of full ones.
pub(super) const MAX_SEQUENCE: u64 = 1 << 32;
const SEGMENTS_PER_KEY: u32 = 16;

/// A header that is well formed; whether it is true is known once the tag verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) suite: Suite,
    pub(super) last: bool,
    pub(super) generation: u32,
    pub(super) sequence: u64,
    pub(super) start: [u8; 16],
}

impl Header {
    fn put(&self, bytes: &mut BytesMut) {
        bytes.put_u8(VERSION);
        bytes.put_u8(self.suite.id());
        bytes.put_u16(if self.last { LAST } else { 0 });
        bytes.put_u32(self.generation);
        bytes.put_u64(self.sequence);
        bytes.put_slice(&self.start);
    }

    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.len() < HEADER_LEN + TAG_LEN || bytes.get_u8() != VERSION {
            return Err(CodecError::Malformed);
        }
        let suite = Suite::from_id(bytes.get_u8()).ok_or(CodecError::Malformed)?;
        let flags = bytes.get_u16();
        let generation = bytes.get_u32();
        let sequence = bytes.get_u64();
        let mut start = [0; 16];
        bytes.copy_to_slice(&mut start);
        if flags > LAST || sequence >= MAX_SEQUENCE {
            return Err(CodecError::Malformed);
        }
        Ok(Self { suite, last: flags == LAST, generation, sequence, start })
    }
}

/// What binds segments to their stream; makes the keys.
pub(super) struct Binding {
    root: Key,
    session: SessionId,
    stream: u32,
    role: Option<CodecRole>,
    /// The keys used last, newest first: two, because segments around a change of key mix.
    keys: [Option<(KeyName, AeadKey)>; 2],
}

type KeyName = (u8, u32, [u8; 16], u64);

impl Binding {
    pub(super) fn new(root: &Key, session: SessionId, stream: u32, config: &CodecConfig) -> Self {
        Self { root: root.clone(), session, stream, role: config.role, keys: [None, None] }
    }

    fn key(&mut self, header: &Header) -> Result<&AeadKey, CodecError> {
        let epoch = header.sequence >> SEGMENTS_PER_KEY;
        let name = (header.suite.id(), header.generation, header.start, epoch);
        let [newest, other] = &mut self.keys;
        let is = |slot: &Option<(KeyName, AeadKey)>| slot.as_ref().is_some_and(|key| key.0 == name);
        if is(other) {
            std::mem::swap(newest, other);
        } else if !is(newest) {
            let role = match self.role {
                None => 0,
                Some(CodecRole::Initiator) => 1,
                Some(CodecRole::Responder) => 2,
            };
            let key = kdf::derive(
                &self.root,
                "stt stream segments 1",
                &[
                    self.session.as_bytes(),
                    &self.stream.to_be_bytes(),
                    &[role, header.suite.id()],
                    &header.generation.to_be_bytes(),
                    &header.start,
                    &epoch.to_be_bytes(),
                ],
            );
            let key = AeadKey::new(header.suite, &key).ok_or(CodecError::Malformed)?;
            *other = newest.replace((name, key));
        }
        newest.as_ref().map(|(_, key)| key).ok_or(CodecError::Malformed)
    }

    pub(super) fn seal(&mut self, header: &Header, parts: &[Bytes]) -> Result<Bytes, CodecError> {
        let length: usize = parts.iter().map(Bytes::len).sum();
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + length + TAG_LEN);
        header.put(&mut bytes);
        parts.iter().for_each(|part| bytes.put_slice(part));
        let (head, body) = bytes.split_at_mut(HEADER_LEN);
        let tag =
            self.key(header)?.seal(nonce(header), head, body).map_err(|_| CodecError::Exhausted)?;
        bytes.put_slice(&tag);
        Ok(bytes.freeze())
    }

    /// Opens in place when the bytes are not shared, else in a copy.
    pub(super) fn open(&mut self, header: &Header, segment: Bytes) -> Result<Bytes, CodecError> {
        let mut head = BytesMut::from(segment);
        let mut body = head.split_off(HEADER_LEN);
        let length = self
            .key(header)?
            .open(nonce(header), &head, &mut body)
            .map_err(|_| CodecError::Forged)?
            .len();
        body.truncate(length);
        Ok(body.freeze())
    }

    /// Forgets all keys of starts that are over.
    pub(super) fn forget(&mut self) {
        self.keys = [None, None];
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding")
            .field("session", &self.session)
            .field("stream", &self.stream)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

fn nonce(header: &Header) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    for (to, from) in nonce.iter_mut().skip(NONCE_LEN - 8).zip(header.sequence.to_be_bytes()) {
        *to = from;
    }
    nonce
}
