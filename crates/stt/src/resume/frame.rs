//! The messages on a link, as bytes (RESUME-2).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::machine::{ENTRY_BYTES, Positions};
use crate::{SessionId, stream::unpinned_part};

/// The version of these bytes.
const VERSION: u8 = 2;
/// Bytes that a message has beside its own.
pub(super) const OVERHEAD: usize = 13;
/// Most that the messages of one MESSAGES may be charged: it may come to an inbox that is full.
pub(super) const MAX_BATCH: usize = 65_536;
/// Bytes in front of the messages of MESSAGES.
const BATCH_HEADER: usize = 9;

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
    Resume {
        id: SessionId,
        attempt: u64,
        at: Positions,
        proof: [u8; 32],
    },
    Accepted {
        at: Positions,
        proof: [u8; 32],
    },
    Refused(Refused),
    Message {
        position: u64,
        stream: u32,
        data: Bytes,
    },
    /// Messages that follow each other, from this position on.
    Messages {
        first: u64,
        entries: Entries,
    },
    Committed {
        before: u64,
    },
    End {
        position: u64,
    },
    GivenUp,
}

/// The messages of a MESSAGES: whole, and at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entries(Bytes);

impl Entries {
    /// `None` if these bytes are something else.
    fn parse(bytes: Bytes) -> Option<Self> {
        let (mut rest, mut charge) = (&*bytes, 0_usize);
        while !rest.is_empty() {
            let (_, data, behind) = split_entry(rest)?;
            charge = charge.saturating_add(ENTRY_BYTES).saturating_add(data.len());
            // At once: a frame may be as long as the longest message.
            if charge > MAX_BATCH {
                return None;
            }
            rest = behind;
        }
        (charge > 0).then_some(Self(bytes))
    }
}

/// Streams and messages, in order. Each message has memory of its own, or most of that of all.
impl Iterator for Entries {
    type Item = (u32, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let (stream, data, behind) = split_entry(&self.0)?;
        let at = self.0.len() - behind.len();
        let data = unpinned_part(&self.0, data);
        self.0.advance(at);
        Some((stream, data))
    }
}

/// The stream and the message of the first entry, and what is behind it.
fn split_entry(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (stream, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (data, behind) = rest.split_at_checked(len)?;
    Some((u32::from_be_bytes(*stream), data, behind))
}

/// What a link sends for these frames, in order: short messages that follow each other go together.
pub(super) fn packed(mut frames: &[Frame]) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let (now, later) = frames.split_at_checked(together(frames))?;
        frames = later;
        match now {
            [] => None,
            [one] => Some(one.encode()),
            many => Some(batch(many)),
        }
    })
}

/// How many at the front go as one.
fn together(frames: &[Frame]) -> usize {
    let (mut count, mut bytes, mut next) = (0, 0_usize, None);
    for frame in frames {
        let Frame::Message { position, data, .. } = frame else { break };
        bytes = bytes.saturating_add(ENTRY_BYTES).saturating_add(data.len());
        if bytes > MAX_BATCH || next.is_some_and(|next| next != *position) {
            break;
        }
        next = Some(position.wrapping_add(1));
        count += 1;
    }
    // One that is alone is what it is.
    count.max(usize::from(!frames.is_empty()))
}

fn batch(frames: &[Frame]) -> Bytes {
    let len: usize = frames.iter().map(Frame::size).sum();
    let mut out = BytesMut::with_capacity(BATCH_HEADER + len);
    for frame in frames {
        let Frame::Message { position, stream, data } = frame else { continue };
        if out.is_empty() {
            out.put_u8(0x14);
            out.put_u64(*position);
        }
        out.put_u32(*stream);
        // Less than `MAX_BATCH`.
        out.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
        out.put_slice(data);
    }
    out.freeze()
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
            Self::Messages { first, entries } => {
                out.reserve(BATCH_HEADER + entries.0.len());
                out.put_u8(0x14);
                out.put_u64(*first);
                out.put_slice(&entries.0);
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
            0x14 => {
                let first = bytes.try_get_u64().ok()?;
                return Some(Self::Messages { first, entries: Entries::parse(bytes)? });
            }
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

    #[test]
    fn a_batch_has_messages_and_not_too_many() {
        let begin = [0x14, 0, 0, 0, 0, 0, 0, 0, 0];
        let of = |entries: &[u8]| Frame::decode([&begin[..], entries].concat().into());
        assert_eq!(of(&[]), None);
        // Empty ones, which cost what is charged besides.
        let most = MAX_BATCH / ENTRY_BYTES;
        assert!(of(&vec![0; 8 * most]).is_some());
        assert_eq!(of(&vec![0; 8 * (most + 1)]), None);
        // A long one.
        let long = |len: usize| {
            let mut entry = vec![0; 8 + len];
            entry[4..8].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
            of(&entry)
        };
        assert!(long(MAX_BATCH - ENTRY_BYTES).is_some());
        assert_eq!(long(MAX_BATCH - ENTRY_BYTES + 1), None);
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
        fn packed_messages_are_those_before_in_order(
            frames in prop::collection::vec(frame(), 0..9),
            first in any::<u64>(),
            lens in prop::collection::vec(prop_oneof![0..90_usize, 0..70_000_usize], 0..40),
            behind in prop::collection::vec(frame(), 0..3),
        ) {
            let run = lens.iter().zip(0..).map(|(len, at)| Frame::Message {
                position: first.wrapping_add(at),
                stream: 7,
                data: vec![at.to_le_bytes()[0]; *len].into(),
            });
            let sent: Vec<Frame> = frames.into_iter().chain(run).chain(behind).collect();
            let mut got = Vec::new();
            for bytes in packed(&sent) {
                let len = bytes.len();
                match Frame::decode(bytes).unwrap() {
                    Frame::Messages { first, entries } => {
                        prop_assert!(len <= MAX_BATCH);
                        let mut position = first;
                        for (stream, data) in entries {
                            got.push(Frame::Message { position, stream, data });
                            position = position.wrapping_add(1);
                        }
                    }
                    frame => got.push(frame),
                }
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn a_cut_batch_is_none(
            lens in prop::collection::vec(0..40_usize, 2..9),
            cut in any::<prop::sample::Index>(),
        ) {
            let sent: Vec<Frame> = (0..).zip(&lens).map(|(position, len)| {
                Frame::Message { position, stream: 0, data: vec![0xff; *len].into() }
            }).collect();
            let whole = packed(&sent).next().unwrap();
            let cut = cut.index(whole.len());
            // Unless it is cut between two messages.
            let entries = lens.iter().scan(BATCH_HEADER, |at, len| {
                *at += 8 + len;
                Some(*at)
            });
            let is_between = entries.into_iter().any(|at| at == cut);
            prop_assert_eq!(Frame::decode(whole.slice(..cut)).is_some(), is_between);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Frame::decode(bytes.into());
        }
    }
}
