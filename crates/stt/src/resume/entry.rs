//! The records of the log of sessions, as bytes (RESUME-6).

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use stc::Key;

use super::{
    machine::{Change, Item},
    stored::{Keys, Over, Role, Stored},
};
use crate::{NodeId, SessionId};

/// Bytes that an entry of a message has beside its own.
pub(super) const OVERHEAD: usize = 21;

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// All sessions follow; what came before counts until they are whole.
    SnapshotBegins,
    SnapshotIsWhole,
    /// A session, without its messages.
    Session(Box<Stored>),
    Keys(Keys),
    /// Attempts are above this one from now on.
    Attempt(u64),
    Address(String),
    Change(Change),
    /// A link was there just now.
    Seen,
    Over(Over),
    /// It is forgotten.
    Gone,
}

fn put_address(out: &mut BytesMut, address: &str) {
    // Longer ones are refused before.
    let bytes = address.as_bytes();
    out.put_u16(u16::try_from(bytes.len()).unwrap_or_default());
    out.put_slice(bytes);
}

fn put_keys(out: &mut BytesMut, keys: &Keys) {
    out.put_slice(keys.current.as_bytes());
    match &keys.successor {
        Some(successor) => {
            out.put_u8(1);
            out.put_slice(successor.as_bytes());
        }
        None => out.put_u8(0),
    }
    out.put_u64(keys.attempt);
}

fn put_optional(out: &mut BytesMut, value: Option<u64>) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        out.put_u64(value);
    }
}

/// The bytes of an entry of the session with this number.
pub(super) fn encode(number: u64, entry: &Entry) -> Bytes {
    let mut out = BytesMut::new();
    let mut begin = |kind: u8, len: usize| {
        out.reserve(9 + len);
        out.put_u8(kind);
        out.put_u64(number);
    };
    match entry {
        Entry::SnapshotBegins => begin(1, 0),
        Entry::SnapshotIsWhole => begin(2, 0),
        Entry::Session(stored) => {
            begin(3, 256);
            out.put_slice(stored.peer.as_bytes());
            out.put_slice(stored.id.as_bytes());
            match &stored.role {
                Role::Accepted => out.put_u8(0),
                Role::Dialled(address) => {
                    out.put_u8(1);
                    put_address(&mut out, address);
                }
            }
            put_keys(&mut out, &stored.keys);
            out.put_u64(stored.first);
            out.put_u8(u8::from(stored.has_ended));
            out.put_u64(stored.committed);
            put_optional(&mut out, stored.end);
            out.put_u64(stored.seen);
            out.put_u8(stored.over.map_or(0, |over| over as u8));
        }
        Entry::Keys(keys) => {
            begin(4, 80);
            put_keys(&mut out, keys);
        }
        Entry::Address(address) => {
            begin(5, address.len() + 2);
            put_address(&mut out, address);
        }
        Entry::Change(Change::Sent { position, item: Item::Message { stream, data } }) => {
            begin(6, 12 + data.len());
            out.put_u64(*position);
            out.put_u32(*stream);
            out.put_slice(data);
        }
        Entry::Change(Change::Sent { position, item: Item::End }) => {
            begin(7, 8);
            out.put_u64(*position);
        }
        Entry::Change(Change::Acknowledged { before }) => {
            begin(8, 8);
            out.put_u64(*before);
        }
        Entry::Change(Change::Committed { before, end }) => {
            begin(9, 17);
            out.put_u64(*before);
            put_optional(&mut out, *end);
        }
        Entry::Seen => begin(10, 0),
        Entry::Over(over) => {
            begin(11, 1);
            out.put_u8(*over as u8);
        }
        Entry::Gone => begin(12, 0),
        Entry::Attempt(attempt) => {
            begin(13, 8);
            out.put_u64(*attempt);
        }
    }
    out.freeze()
}

fn array<const N: usize>(bytes: &mut Bytes) -> Option<[u8; N]> {
    let mut out = [0; N];
    bytes.try_copy_to_slice(&mut out).ok()?;
    Some(out)
}

fn flag(bytes: &mut Bytes) -> Option<bool> {
    match bytes.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn address(bytes: &mut Bytes) -> Option<String> {
    let len = usize::from(bytes.try_get_u16().ok()?);
    if bytes.len() < len {
        return None;
    }
    String::from_utf8(bytes.split_to(len).to_vec()).ok()
}

fn keys(bytes: &mut Bytes) -> Option<Keys> {
    let current = Key::from_bytes(array(bytes)?);
    let successor = if flag(bytes)? { Some(Key::from_bytes(array(bytes)?)) } else { None };
    Some(Keys { current, successor, attempt: bytes.try_get_u64().ok()? })
}

fn optional(bytes: &mut Bytes) -> Option<Option<u64>> {
    if flag(bytes)? { Some(Some(bytes.try_get_u64().ok()?)) } else { Some(None) }
}

fn over(bytes: &mut Bytes) -> Option<Option<Over>> {
    Some(Some(match bytes.try_get_u8().ok()? {
        0 => return Some(None),
        1 => Over::Finished,
        2 => Over::Expired,
        3 => Over::Lost,
        4 => Over::Ticket,
        5 => Over::GivenUpByPeer,
        6 => Over::Broken,
        _ => return None,
    }))
}

fn session(bytes: &mut Bytes) -> Option<Stored> {
    Some(Stored {
        peer: NodeId::from_bytes(array(bytes)?),
        id: SessionId::from_bytes(array(bytes)?),
        role: if flag(bytes)? { Role::Dialled(address(bytes)?) } else { Role::Accepted },
        keys: keys(bytes)?,
        first: bytes.try_get_u64().ok()?,
        items: VecDeque::new(),
        has_ended: flag(bytes)?,
        committed: bytes.try_get_u64().ok()?,
        end: optional(bytes)?,
        seen: bytes.try_get_u64().ok()?,
        over: over(bytes)?,
    })
}

/// The number of the session, and the entry; `None` if these are no such bytes.
pub(super) fn decode(mut bytes: Bytes) -> Option<(u64, Entry)> {
    let kind = bytes.try_get_u8().ok()?;
    let number = bytes.try_get_u64().ok()?;
    let entry = match kind {
        1 => Entry::SnapshotBegins,
        2 => Entry::SnapshotIsWhole,
        3 => Entry::Session(Box::new(session(&mut bytes)?)),
        4 => Entry::Keys(keys(&mut bytes)?),
        5 => Entry::Address(address(&mut bytes)?),
        6 => {
            let (position, stream) = (bytes.try_get_u64().ok()?, bytes.try_get_u32().ok()?);
            // What is kept must not hold the buffer of all that was read with it.
            let data = Bytes::copy_from_slice(&bytes);
            let item = Item::Message { stream, data };
            return Some((number, Entry::Change(Change::Sent { position, item })));
        }
        7 => {
            let position = bytes.try_get_u64().ok()?;
            Entry::Change(Change::Sent { position, item: Item::End })
        }
        8 => Entry::Change(Change::Acknowledged { before: bytes.try_get_u64().ok()? }),
        9 => {
            let before = bytes.try_get_u64().ok()?;
            Entry::Change(Change::Committed { before, end: optional(&mut bytes)? })
        }
        10 => Entry::Seen,
        11 => Entry::Over(over(&mut bytes)??),
        12 => Entry::Gone,
        13 => Entry::Attempt(bytes.try_get_u64().ok()?),
        _ => return None,
    };
    bytes.is_empty().then_some((number, entry))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::stored::Book, *};

    fn key() -> impl Strategy<Value = Key> {
        any::<[u8; 32]>().prop_map(Key::from_bytes)
    }

    fn some_keys() -> impl Strategy<Value = Keys> {
        (key(), prop::option::of(key()), any::<u64>())
            .prop_map(|(current, successor, attempt)| Keys { current, successor, attempt })
    }

    fn some_over() -> impl Strategy<Value = Over> {
        prop_oneof![
            Just(Over::Finished),
            Just(Over::Expired),
            Just(Over::Lost),
            Just(Over::Ticket),
            Just(Over::GivenUpByPeer),
            Just(Over::Broken)
        ]
    }

    fn some_session() -> impl Strategy<Value = Stored> {
        let role = prop_oneof![Just(Role::Accepted), ".{0,40}".prop_map(Role::Dialled)];
        let ids = (any::<[u8; 32]>(), any::<[u8; 8]>());
        let numbers = (any::<u64>(), any::<u64>(), prop::option::of(any::<u64>()), any::<u64>());
        let over = prop::option::of(some_over());
        (ids, role, some_keys(), any::<bool>(), numbers, over).prop_map(
            |((peer, id), role, keys, has_ended, (first, committed, end, seen), over)| Stored {
                peer: NodeId::from_bytes(peer),
                id: SessionId::from_bytes(id),
                role,
                keys,
                first,
                items: VecDeque::new(),
                has_ended,
                committed,
                end,
                seen,
                over,
            },
        )
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let data = prop::collection::vec(any::<u8>(), 0..50);
        prop_oneof![
            Just(Entry::SnapshotBegins),
            Just(Entry::SnapshotIsWhole),
            some_session().prop_map(|stored| Entry::Session(Box::new(stored))),
            some_keys().prop_map(Entry::Keys),
            ".{0,40}".prop_map(Entry::Address),
            (any::<u64>(), any::<u32>(), data).prop_map(|(position, stream, data)| {
                let item = Item::Message { stream, data: data.into() };
                Entry::Change(Change::Sent { position, item })
            }),
            any::<u64>()
                .prop_map(|position| { Entry::Change(Change::Sent { position, item: Item::End }) }),
            any::<u64>().prop_map(|before| Entry::Change(Change::Acknowledged { before })),
            (any::<u64>(), prop::option::of(any::<u64>()))
                .prop_map(|(before, end)| Entry::Change(Change::Committed { before, end })),
            Just(Entry::Seen),
            some_over().prop_map(Entry::Over),
            Just(Entry::Gone),
            any::<u64>().prop_map(Entry::Attempt),
        ]
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_and_a_cut_one_does_not(number in any::<u64>(), entry in entry()) {
            let bytes = encode(number, &entry);
            prop_assert_eq!(decode(bytes.clone()), Some((number, entry.clone())));
            if !matches!(entry, Entry::Change(Change::Sent { item: Item::Message { .. }, .. })) {
                prop_assert_eq!(decode(bytes.slice(..bytes.len() - 1)), None);
                prop_assert_eq!(decode([&bytes[..], &[0]].concat().into()), None);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some((number, entry)) = decode(bytes.into()) {
                let _ = Book::new(true).apply(number, entry, 1);
            }
        }
    }
}
