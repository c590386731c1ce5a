//! What the two ends of a managed stream say to each other: one frame per message of the
//! transport, its type first, numbers in network order.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::StreamsError;

/// Bytes before the payload of [`Frame::Data`].
pub(crate) const DATA_HEADER: usize = 10;
/// Longest frame that is not data.
pub(crate) const MAX_CONTROL: usize = 512;
/// Longest id of a stream in bytes.
pub(crate) const MAX_ID: usize = 256;

const VERSION: u8 = 1;
const HELLO: u8 = 1;
const DATA: u8 = 2;
const ACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const CLOSE: u8 = 5;
const PACE: u8 = 6;

/// Names one life of one end of a stream. Whoever knows it may resume the stream.
pub(crate) type Instance = [u8; 16];

/// The first frame on every transport, in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) id: String,
    /// The sender's life.
    pub(crate) instance: Instance,
    /// Whom the sender spoke to before; zero at first.
    pub(crate) peer: Instance,
    /// Messages that have arrived here in order.
    pub(crate) received: u64,
    /// Messages that the application has acknowledged.
    pub(crate) consumed: u64,
    /// Messages that may be under way to the sender.
    pub(crate) window: u32,
    /// Bytes that may be under way to the sender.
    pub(crate) bytes: u64,
    /// Longest message that the sender takes.
    pub(crate) max_message: u64,
    /// Time between the sender's heartbeats.
    pub(crate) heartbeat_ms: u32,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Hello(Hello),
    /// A message and its number, from 0.
    Data {
        sequence: u64,
        kind: Kind,
        payload: Bytes,
    },
    /// Totals, so that a later one replaces an earlier one.
    Ack {
        received: u64,
        consumed: u64,
        /// Whether the peer's CLOSE and all before it have arrived.
        closed: bool,
    },
    Heartbeat,
    /// No message has this number or a later one.
    Close {
        end: u64,
    },
    /// Whether the receiver asks for less, because its application is slow.
    Pace {
        slower: bool,
    },
}

impl Frame {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(match self {
            Self::Data { payload, .. } => DATA_HEADER + payload.len(),
            Self::Hello(_) => MAX_CONTROL,
            _ => 32,
        });
        match self {
            Self::Hello(hello) => {
                out.put_u8(HELLO);
                out.put_u8(VERSION);
                out.put_slice(&hello.instance);
                out.put_slice(&hello.peer);
                out.put_u64(hello.received);
                out.put_u64(hello.consumed);
                out.put_u32(hello.window);
                out.put_u64(hello.bytes);
                out.put_u64(hello.max_message);
                out.put_u32(hello.heartbeat_ms);
                out.put_slice(hello.id.as_bytes());
            }
            Self::Data { sequence, kind, payload } => {
                out.put_u8(DATA);
                out.put_u64(*sequence);
                out.put_u8(u8::from(*kind == Kind::Error));
                out.put_slice(payload);
            }
            Self::Ack { received, consumed, closed } => {
                out.put_u8(ACK);
                out.put_u64(*received);
                out.put_u64(*consumed);
                out.put_u8(u8::from(*closed));
            }
            Self::Heartbeat => out.put_u8(HEARTBEAT),
            Self::Close { end } => {
                out.put_u8(CLOSE);
                out.put_u64(*end);
            }
            Self::Pace { slower } => {
                out.put_u8(PACE);
                out.put_u8(u8::from(*slower));
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(mut from: Bytes) -> Result<Self, StreamsError> {
        let broken = StreamsError::Protocol { rule: "a frame is malformed" };
        let parsed = Self::parse(&mut from).ok_or(broken.clone())?;
        if from.is_empty() { Ok(parsed) } else { Err(broken) }
    }

    fn parse(from: &mut Bytes) -> Option<Self> {
        Some(match from.try_get_u8().ok()? {
            HELLO => {
                if from.try_get_u8().ok()? != VERSION {
                    return None;
                }
                let mut hello = Hello {
                    id: String::new(),
                    instance: instance(from)?,
                    peer: instance(from)?,
                    received: from.try_get_u64().ok()?,
                    consumed: from.try_get_u64().ok()?,
                    window: from.try_get_u32().ok()?,
                    bytes: from.try_get_u64().ok()?,
                    max_message: from.try_get_u64().ok()?,
                    heartbeat_ms: from.try_get_u32().ok()?,
                };
                let id = from.split_to(from.len());
                if id.is_empty() || id.len() > MAX_ID {
                    return None;
                }
                hello.id = std::str::from_utf8(&id).ok()?.to_owned();
                Self::Hello(hello)
            }
            DATA => Self::Data {
                sequence: from.try_get_u64().ok()?,
                kind: if flag(from)? { Kind::Error } else { Kind::Message },
                payload: from.split_to(from.len()),
            },
            ACK => Self::Ack {
                received: from.try_get_u64().ok()?,
                consumed: from.try_get_u64().ok()?,
                closed: flag(from)?,
            },
            HEARTBEAT => Self::Heartbeat,
            CLOSE => Self::Close { end: from.try_get_u64().ok()? },
            PACE => Self::Pace { slower: flag(from)? },
            _ => return None,
        })
    }
}

fn instance(from: &mut Bytes) -> Option<Instance> {
    let mut instance = Instance::default();
    from.try_copy_to_slice(&mut instance).ok()?;
    Some(instance)
}

fn flag(from: &mut Bytes) -> Option<bool> {
    match from.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Frame {
        Frame::Hello(Hello {
            id: "x".repeat(MAX_ID),
            instance: [1; 16],
            peer: [2; 16],
            received: 3,
            consumed: 4,
            window: 5,
            bytes: 6,
            max_message: 7,
            heartbeat_ms: 8,
        })
    }

    #[test]
    fn every_frame_comes_back() {
        let payload = Bytes::from_static(b"payload");
        for frame in [
            hello(),
            Frame::Data { sequence: 9, kind: Kind::Message, payload: payload.clone() },
            Frame::Data { sequence: 9, kind: Kind::Error, payload },
            Frame::Ack { received: 2, consumed: 1, closed: true },
            Frame::Heartbeat,
            Frame::Close { end: 7 },
            Frame::Pace { slower: true },
        ] {
            let bytes = frame.encode();
            assert!(matches!(frame, Frame::Data { .. }) || bytes.len() <= MAX_CONTROL);
            assert_eq!(Frame::decode(bytes), Ok(frame));
        }
    }

    proptest! {
        #[test]
        fn whatever_decodes_is_the_only_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let bytes = Bytes::from(bytes);
            if let Ok(frame) = Frame::decode(bytes.clone()) {
                prop_assert_eq!(frame.encode(), bytes);
            }
        }
    }
}
