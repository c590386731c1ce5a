//! Messages on the wire: signed by who published them, for one topic, with a sequence that grows.
//!
//! `kind (1) ‖ attempt (1) ‖ publisher (32) ‖ started (8) ‖ count (8) ‖ signature (64) ‖ data`,
//! big-endian. The attempt is not signed and means nothing: the engine takes the same bytes only
//! once, and a message that it had no room for is given to it again.
//!
//! The kind 2 is a message. The kind 3 says that the message with this sequence was the last for a
//! while, so that subscribers know what they lack; its data is `first (8) ‖ age (4) ‖ round (1)`:
//! the first message since the publisher last said so, how many milliseconds ago it was published,
//! and how often it said so before.

use std::time::Duration;

use stt::{IdentityError, Node, NodeId};

use super::{Sequence, window::Tail};

const MESSAGE: (u8, &str) = (2, "stt-swarm/1 message");
const TAIL: (u8, &str) = (3, "stt-swarm/1 tail");
/// Longest data.
pub(crate) const MAX_DATA: usize = 60_000;

/// An envelope that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) publisher: NodeId,
    pub(crate) sequence: Sequence,
    pub(crate) said: Said<'a>,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Message(&'a [u8]),
    Tail(Tail),
}

fn signed_bytes(topic: &str, started: [u8; 8], count: [u8; 8], data: &[u8]) -> Vec<u8> {
    // The topic is a hash of swarm and name, so of one length.
    [topic.as_bytes(), &started, &count, data].concat()
}

/// Signs `data` for the topic with this hash.
pub(crate) fn seal(
    node: &Node,
    topic: &str,
    sequence: Sequence,
    data: &[u8],
) -> Result<Vec<u8>, IdentityError> {
    seal_as(MESSAGE, node, topic, sequence, data)
}

/// Signs what the node says of its last messages on the topic with this hash.
pub(crate) fn seal_tail(node: &Node, topic: &str, tail: Tail) -> Result<Vec<u8>, IdentityError> {
    let age = u32::try_from(tail.age.as_millis()).unwrap_or(u32::MAX);
    let data = [&tail.first.to_be_bytes()[..], &age.to_be_bytes(), &[tail.round]].concat();
    seal_as(TAIL, node, topic, tail.newest, &data)
}

fn seal_as(
    (kind, context): (u8, &str),
    node: &Node,
    topic: &str,
    sequence: Sequence,
    data: &[u8],
) -> Result<Vec<u8>, IdentityError> {
    let (started, count) = (sequence.started.to_be_bytes(), sequence.count.to_be_bytes());
    let signature = node.sign(context, &signed_bytes(topic, started, count, data))?;
    Ok([&[kind, 0], &node.node_id().as_bytes()[..], &started, &count, &signature, data].concat())
}

/// Makes other bytes of the same message. False if it has none that were not given before.
pub(crate) fn try_again(sealed: &mut [u8]) -> bool {
    let again = sealed.get_mut(1).and_then(|attempt| {
        *attempt = attempt.checked_add(1)?;
        Some(())
    });
    again.is_some()
}

/// What the bytes are said to be; not verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) publisher: NodeId,
    pub(crate) sequence: Sequence,
    /// Of what a publisher says of its last messages.
    pub(crate) round: Option<u8>,
}

/// The parts of one.
struct Parts<'a> {
    kind: u8,
    publisher: NodeId,
    started: [u8; 8],
    count: [u8; 8],
    signature: &'a [u8; NodeId::SIGNATURE_LEN],
    data: &'a [u8],
}

fn parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let (&[kind, _attempt], rest) = bytes.split_first_chunk()?;
    let (publisher, rest) = rest.split_first_chunk()?;
    let (&started, rest) = rest.split_first_chunk()?;
    let (&count, rest) = rest.split_first_chunk()?;
    let (signature, data) = rest.split_first_chunk()?;
    let publisher = NodeId::from_bytes(*publisher);
    Some(Parts { kind, publisher, started, count, signature, data })
}

impl Parts<'_> {
    const fn sequence(&self) -> Sequence {
        let (started, count) = (u64::from_be_bytes(self.started), u64::from_be_bytes(self.count));
        Sequence { started, count }
    }
}

/// Reads who is said to have said what; not verified.
pub(crate) fn claim(bytes: &[u8]) -> Option<Claim> {
    let parts = parts(bytes)?;
    let (publisher, sequence) = (parts.publisher, parts.sequence());
    let round = parts.data.get(12).copied().filter(|_| parts.kind == TAIL.0);
    Some(Claim { publisher, sequence, round })
}

/// Reads one. `None` if nobody signed it for this topic.
pub(crate) fn open<'a>(topic: &str, bytes: &'a [u8]) -> Option<Opened<'a>> {
    let parts = parts(bytes)?;
    let (publisher, sequence) = (parts.publisher, parts.sequence());
    let (context, said) = if parts.kind == MESSAGE.0 {
        (MESSAGE.1, Said::Message(parts.data))
    } else if parts.kind == TAIL.0 {
        let (first, age) = parts.data.split_first_chunk()?;
        let (age, &[round]) = age.split_first_chunk::<4>()? else { return None };
        let first = u64::from_be_bytes(*first);
        let age = Duration::from_millis(u32::from_be_bytes(*age).into());
        (TAIL.1, Said::Tail(Tail { newest: sequence, first, age, round }))
    } else {
        return None;
    };
    let signed = signed_bytes(topic, parts.started, parts.count, parts.data);
    (parts.data.len() <= MAX_DATA && publisher.verifies(context, &signed, parts.signature))
        .then_some(Opened { publisher, sequence, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_envelope_holds_for_its_topic_and_bytes() {
        let seed = stt::SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
        let node =
            Node::builder(seed).host("127.0.0.1").port(0).start(stt::Mode::Server).await.unwrap();
        let sequence = Sequence { started: 5, count: 6 };
        let bytes = seal(&node, "topic", sequence, b"data").unwrap();
        let opened = open("topic", &bytes).unwrap();
        assert_eq!((opened.sequence, opened.said), (sequence, Said::Message(b"data")));
        let claimed = claim(&bytes).unwrap();
        assert_eq!((claimed.publisher, claimed.sequence), (node.node_id(), sequence));
        assert_eq!(open("other", &bytes), None);
        let mut again = bytes.clone();
        for _ in 0..255 {
            assert!(try_again(&mut again));
            assert_eq!(open("topic", &again), Some(opened));
        }
        assert!(!try_again(&mut again));
        for at in (0..bytes.len()).filter(|at| *at != 1) {
            let mut forged = bytes.clone();
            forged[at] ^= 0x80;
            assert_eq!(open("topic", &forged), None, "{at}");
            assert_eq!(open("topic", &bytes[..at]), None, "{at}");
        }
        let tail = Tail { newest: sequence, first: 3, age: Duration::from_millis(7), round: 2 };
        let bytes = seal_tail(&node, "topic", tail).unwrap();
        assert_eq!(open("topic", &bytes).unwrap().said, Said::Tail(tail));
        assert_eq!(claim(&bytes).unwrap().round, Some(2));
        let as_message = [&[MESSAGE.0], &bytes[1..]].concat();
        assert_eq!(open("topic", &as_message), None);
        assert_eq!(open("topic", &[&bytes[..], &[0]].concat()), None);
    }
}
