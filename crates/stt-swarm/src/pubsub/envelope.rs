//! Messages on the wire: signed by who published them, for one topic, with a sequence that grows.
//!
//! `2 ‖ attempt (1) ‖ publisher (32) ‖ started (8) ‖ count (8) ‖ signature (64) ‖ data`, big-endian.
//! The attempt is not signed and means nothing: the engine takes the same bytes only once, and a
//! message that it had no room for is given to it again.

use stt::{IdentityError, Node, NodeId};

use super::Sequence;

const CONTEXT: &str = "stt-swarm/1 message";
const VERSION: u8 = 2;
/// Longest data.
pub(crate) const MAX_DATA: usize = 60_000;

/// An envelope that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) publisher: NodeId,
    pub(crate) sequence: Sequence,
    pub(crate) data: &'a [u8],
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
    let (started, count) = (sequence.started.to_be_bytes(), sequence.count.to_be_bytes());
    let signature = node.sign(CONTEXT, &signed_bytes(topic, started, count, data))?;
    Ok([&[VERSION, 0], &node.node_id().as_bytes()[..], &started, &count, &signature, data].concat())
}

/// Makes other bytes of the same message. False if it has none that were not given before.
pub(crate) fn try_again(sealed: &mut [u8]) -> bool {
    let again = sealed.get_mut(1).and_then(|attempt| {
        *attempt = attempt.checked_add(1)?;
        Some(())
    });
    again.is_some()
}

/// Who is said to have published it; not verified.
pub(crate) fn publisher(bytes: &[u8]) -> Option<NodeId> {
    let publisher = bytes.get(2..)?.first_chunk()?;
    Some(NodeId::from_bytes(*publisher))
}

/// Reads one. `None` if nobody signed it for this topic.
pub(crate) fn open<'a>(topic: &str, bytes: &'a [u8]) -> Option<Opened<'a>> {
    let (&[version, _attempt], rest) = bytes.split_first_chunk()?;
    let (publisher, rest) = rest.split_first_chunk()?;
    let (&started, rest) = rest.split_first_chunk()?;
    let (&count, rest) = rest.split_first_chunk()?;
    let (signature, data) = rest.split_first_chunk::<{ NodeId::SIGNATURE_LEN }>()?;
    let publisher = NodeId::from_bytes(*publisher);
    let sequence =
        Sequence { started: u64::from_be_bytes(started), count: u64::from_be_bytes(count) };
    (version == VERSION
        && data.len() <= MAX_DATA
        && publisher.verifies(CONTEXT, &signed_bytes(topic, started, count, data), signature))
    .then_some(Opened { publisher, sequence, data })
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
        assert_eq!((opened.sequence, opened.data), (sequence, &b"data"[..]));
        assert_eq!(publisher(&bytes), Some(node.node_id()));
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
    }
}
