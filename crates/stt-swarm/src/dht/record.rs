//! Values in the DHT: signed by who published them, for one key and a time.
//!
//! `1 ‖ publisher (32) ‖ sequence (8) ‖ expires (8) ‖ signature (64) ‖ value`; sequence and expiry
//! are milliseconds since 1970, big-endian.

use std::time::Duration;

use stt::{IdentityError, Node, NodeId};

/// What the signature is for.
const CONTEXT: &str = "stt-swarm/1 value";
const VERSION: u8 = 1;
/// Bytes before the value.
const HEAD: usize = 1 + 32 + 8 + 8 + NodeId::SIGNATURE_LEN;
/// How long a value holds unless it is published again.
pub(crate) const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// How far another clock may be ahead.
pub(crate) const SKEW: Duration = Duration::from_secs(60 * 60);
/// Longest value, so that a message of the DHT can hold it.
pub(crate) const MAX_VALUE: usize = 12 << 10;
/// Longest value with all that is around it.
pub(crate) const MAX_RECORD: usize = HEAD + MAX_VALUE;

/// A value that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed<'a> {
    pub(crate) publisher: NodeId,
    pub(crate) sequence: u64,
    pub(crate) expires: u64,
    pub(crate) value: &'a [u8],
}

/// Where the DHT keeps the value of `key`.
pub(crate) fn place(swarm: &str, key: &[u8]) -> [u8; 32] {
    keyed("stt-swarm/1 key of a value", swarm, key)
}

/// Where the DHT keeps who provides `key`.
pub(crate) fn providers_place(swarm: &str, key: &[u8]) -> [u8; 32] {
    keyed("stt-swarm/1 key of providers", swarm, key)
}

/// A hash for one purpose and one swarm.
pub(crate) fn keyed(purpose: &'static str, swarm: &str, key: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    let len = u64::try_from(swarm.len()).unwrap_or(u64::MAX);
    hasher.update(&len.to_be_bytes()).update(swarm.as_bytes()).update(key);
    *hasher.finalize().as_bytes()
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn signed_bytes(place: &[u8; 32], sequence: [u8; 8], expires: [u8; 8], value: &[u8]) -> Vec<u8> {
    [place, &sequence[..], &expires[..], value].concat()
}

/// Signs `value` for `place`. `now` is the time since 1970.
pub(crate) fn sign(
    node: &Node,
    place: &[u8; 32],
    value: &[u8],
    now: Duration,
) -> Result<Vec<u8>, IdentityError> {
    let sequence = millis(now).to_be_bytes();
    let expires = millis(now.saturating_add(TTL)).to_be_bytes();
    let signature = node.sign(CONTEXT, &signed_bytes(place, sequence, expires, value))?;
    let publisher = node.node_id();
    Ok([&[VERSION], &publisher.as_bytes()[..], &sequence, &expires, &signature, value].concat())
}

/// Reads what was signed for `place`. `None` if it is not, or holds no longer, or too long.
pub(crate) fn open<'a>(place: &[u8], bytes: &'a [u8], now: Duration) -> Option<Signed<'a>> {
    let place: &[u8; 32] = place.try_into().ok()?;
    let (&[version], rest) = bytes.split_first_chunk()?;
    let (publisher, rest) = rest.split_first_chunk()?;
    let (&sequence, rest) = rest.split_first_chunk()?;
    let (&expires, rest) = rest.split_first_chunk()?;
    let (signature, value) = rest.split_first_chunk::<{ NodeId::SIGNATURE_LEN }>()?;
    let latest = millis(now.saturating_add(TTL).saturating_add(SKEW));
    let until = u64::from_be_bytes(expires);
    let publisher = NodeId::from_bytes(*publisher);
    (version == VERSION
        && value.len() <= MAX_VALUE
        && millis(now) < until
        && until <= latest
        && u64::from_be_bytes(sequence) <= latest
        && publisher.verifies(CONTEXT, &signed_bytes(place, sequence, expires, value), signature))
    .then_some(Signed { publisher, sequence: u64::from_be_bytes(sequence), expires: until, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_900_000_000);

    #[tokio::test]
    async fn a_value_holds_for_its_key_publisher_and_time() {
        let seed = stt::SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
        let node =
            Node::builder(seed).host("127.0.0.1").port(0).start(stt::Mode::Server).await.unwrap();
        let (here, there) = (place("", b"a"), place("", b"b"));
        let bytes = sign(&node, &here, b"value", NOW).unwrap();
        let signed = open(&here, &bytes, NOW).unwrap();
        assert_eq!((signed.value, signed.publisher), (&b"value"[..], node.node_id()));
        assert_eq!(open(&there, &bytes, NOW), None);
        assert_eq!(open(&place("other", b"a"), &bytes, NOW), None);
        assert_eq!(open(&here, &bytes, NOW + TTL), None);
        // One that would hold for ever is none.
        assert_eq!(open(&here, &bytes, NOW - SKEW - Duration::from_secs(1)), None);
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            assert_eq!(open(&here, &forged, NOW), None, "{at}");
            assert_eq!(open(&here, &bytes[..at], NOW), None, "{at}");
        }
    }
}
