//! The messages on a link, as bytes (RESUME-2).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::machine::Positions;
use crate::SessionId;

/// The version of these bytes.
const VERSION: u8 = 1;
/// Bytes that a message has beside its own.
pub(super) const OVERHEAD: usize = 13;

/// Why a resumption was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no such session here, or no longer.
    Unknown,
    /// The proof is not one of the tickets that count, or an earlier attempt.
    Ticket,
    /// There are as many sessions as there may be.
    Full,
    /// One side broke a rule.
    Broken,
    /// It is there, and nobody can go on with it now.
    Away,
}

/// One message on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Open,
    Resume { id: SessionId, attempt: u64, at: Positions, proof: [u8; 32] },
    Accepted { at: Positions, proof: [u8; 32] },
    Refused(Refused),
    Message { position: u64, stream: u32, data: Bytes },
    Committed { before: u64 },
    End { position: u64 },
    GivenUp,
}

impl Frame {
    /// About how many bytes it has.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Message { data, .. } => data.len().saturating_add(OVERHEAD),
            _ => OVERHEAD,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Open => out.put_slice(&[1, VERSION]),
            Self::Resume { id, attempt, at, proof } => {
                out.put_slice(&[2, VERSION]);
                out.put_slice(id.as_bytes());
                out.put_u64(*attempt);
                put_positions(&mut out, *at);
                out.put_slice(proof);
            }
            Self::Accepted { at, proof } => {
                out.put_u8(3);
                put_positions(&mut out, *at);
                out.put_slice(proof);
            }
            Self::Refused(why) => {
                let why = match why {
                    Refused::Unknown => 1,
                    Refused::Ticket => 2,
                    Refused::Full => 3,
                    Refused::Broken => 4,
                    Refused::Away => 5,
                };
                out.put_slice(&[4, why]);
            }
            Self::Message { position, stream, data } => {
                out.reserve(OVERHEAD + data.len());
                out.put_u8(0x10);
                out.put_u64(*position);
                out.put_u32(*stream);
                out.put_slice(data);
            }
            Self::Committed { before } => {
                out.put_u8(0x11);
                out.put_u64(*before);
            }
            Self::End { position } => {
                out.put_u8(0x12);
                out.put_u64(*position);
            }
            Self::GivenUp => out.put_u8(0x13),
        }
        out.freeze()
    }

    /// `None` if it is no frame of this version.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        let kind = bytes.try_get_u8().ok()?;
        let frame = match kind {
            1 | 2 if bytes.try_get_u8().ok()? != VERSION => return None,
            1 => Self::Open,
            2 => Self::Resume {
                id: SessionId::from_bytes(array(&mut bytes)?),
                attempt: bytes.try_get_u64().ok()?,
                at: positions(&mut bytes)?,
                proof: array(&mut bytes)?,
            },
            3 => Self::Accepted { at: positions(&mut bytes)?, proof: array(&mut bytes)? },
            4 => Self::Refused(match bytes.try_get_u8().ok()? {
                1 => Refused::Unknown,
                2 => Refused::Ticket,
                3 => Refused::Full,
                4 => Refused::Broken,
                5 => Refused::Away,
                _ => return None,
            }),
            0x10 => {
                let (position, stream) = (bytes.try_get_u64().ok()?, bytes.try_get_u32().ok()?);
                return Some(Self::Message { position, stream, data: bytes });
            }
            0x11 => Self::Committed { before: bytes.try_get_u64().ok()? },
            0x12 => Self::End { position: bytes.try_get_u64().ok()? },
            0x13 => Self::GivenUp,
            _ => return None,
        };
        bytes.is_empty().then_some(frame)
    }
}

fn put_positions(out: &mut BytesMut, at: Positions) {
    out.put_u64(at.received);
    out.put_u64(at.committed);
}

fn positions(bytes: &mut Bytes) -> Option<Positions> {
    let received = bytes.try_get_u64().ok()?;
    Some(Positions { received, committed: bytes.try_get_u64().ok()? })
}

fn array<const N: usize>(bytes: &mut Bytes) -> Option<[u8; N]> {
    let mut out = [0; N];
    bytes.try_copy_to_slice(&mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = Frame> {
        let at = || {
            any::<(u64, u64)>().prop_map(|(received, committed)| Positions { received, committed })
        };
        prop_oneof![
            Just(Frame::Open),
            (any::<[u8; 8]>(), any::<u64>(), at(), any::<[u8; 32]>()).prop_map(
                |(id, attempt, at, proof)| {
                    Frame::Resume { id: SessionId::from_bytes(id), attempt, at, proof }
                }
            ),
            (at(), any::<[u8; 32]>()).prop_map(|(at, proof)| Frame::Accepted { at, proof }),
            prop_oneof![
                Just(Refused::Unknown),
                Just(Refused::Ticket),
                Just(Refused::Full),
                Just(Refused::Broken),
                Just(Refused::Away)
            ]
            .prop_map(Frame::Refused),
            (any::<u64>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..99)).prop_map(
                |(position, stream, data)| {
                    Frame::Message { position, stream, data: data.into() }
                }
            ),
            any::<u64>().prop_map(|before| Frame::Committed { before }),
            any::<u64>().prop_map(|position| Frame::End { position }),
            Just(Frame::GivenUp),
        ]
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_and_a_cut_one_does_not(frame in frame()) {
            let bytes = frame.encode();
            prop_assert_eq!(Frame::decode(bytes.clone()), Some(frame.clone()));
            if !matches!(frame, Frame::Message { .. }) {
                prop_assert_eq!(Frame::decode(bytes.slice(..bytes.len() - 1)), None);
                prop_assert_eq!(Frame::decode([&bytes[..], &[0]].concat().into()), None);
            }
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Frame::decode(bytes.into());
        }
    }
}
