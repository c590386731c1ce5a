//! The knock: the first connection id of an initiator, by which a responder tells members from
//! strangers before it does anything else (docs/protocol.md, KNOCK-1).
//!
//! `nonce (8) ‖ time (4, masked) ‖ mac (8)`. Without the seed it is 20 random bytes.

use stc::{Key, kdf};
use subtle::ConstantTimeEq;

use crate::{id::NodeId, packet_header::KNOCK_LEN};

const NONCE_LEN: usize = 8;
const SIGNED_LEN: usize = 12;

/// Key of the knocks of one seed, for anyone or for one responder (KNOCK-2).
#[derive(Clone)]
pub(crate) struct KnockKey {
    mask: Key,
    mac: Key,
}

impl KnockKey {
    /// For a responder that the initiator expects (`Some`) or for whoever answers.
    pub(crate) fn new(seed_knock: &Key, responder: Option<NodeId>) -> Self {
        let derive = |label| match &responder {
            None => kdf::derive(seed_knock, label, &[]),
            Some(node) => kdf::derive(seed_knock, label, &[node.as_bytes()]),
        };
        Self { mask: derive("stt/1 knock mask"), mac: derive("stt/1 knock mac") }
    }

    /// The knock of `time`, in seconds since 1970.
    pub(crate) fn knock(&self, nonce: [u8; NONCE_LEN], time: u32) -> [u8; KNOCK_LEN] {
        let time = self.masked(nonce, time);
        let signed = [nonce.as_slice(), &time.to_be_bytes()].concat();
        let mut knock = [0; KNOCK_LEN];
        for (byte, value) in knock.iter_mut().zip(signed.iter().chain(&self.mac(&signed))) {
            *byte = *value;
        }
        knock
    }

    /// The time inside of `knock`, if it was made with this key.
    pub(crate) fn open(&self, knock: &[u8]) -> Option<u32> {
        let (signed, mac) = knock.split_at_checked(SIGNED_LEN)?;
        if !bool::from(mac.ct_eq(&self.mac(signed))) {
            return None;
        }
        let (nonce, time) = signed.split_first_chunk::<NONCE_LEN>()?;
        Some(self.masked(*nonce, u32::from_be_bytes(time.try_into().ok()?)))
    }

    fn masked(&self, nonce: [u8; NONCE_LEN], time: u32) -> u32 {
        let [a, b, c, d, ..] = *blake3::keyed_hash(self.mask.as_bytes(), &nonce).as_bytes();
        time ^ u32::from_be_bytes([a, b, c, d])
    }

    fn mac(&self, signed: &[u8]) -> [u8; KNOCK_LEN - SIGNED_LEN] {
        let [a, b, c, d, e, f, g, h, ..] =
            *blake3::keyed_hash(self.mac.as_bytes(), signed).as_bytes();
        [a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knock_opens_with_its_own_key_only() {
        let seed = Key::from_bytes([1; 32]);
        let node = NodeId::from_bytes([2; 32]);
        let anyone = KnockKey::new(&seed, None);
        let pinned = KnockKey::new(&seed, Some(node));
        let knock = anyone.knock([3; 8], 1_800_000_000);
        assert_eq!(anyone.open(&knock), Some(1_800_000_000));
        assert_eq!(pinned.open(&knock), None);
        assert_eq!(anyone.open(&pinned.knock([3; 8], 5)), None);
        assert_eq!(KnockKey::new(&Key::from_bytes([9; 32]), None).open(&knock), None);
        for at in 0..KNOCK_LEN {
            let mut changed = knock;
            changed[at] ^= 1;
            assert_eq!(anyone.open(&changed), None, "byte {at}");
        }
        assert_eq!(anyone.open(&knock[..19]), None);
        assert_eq!(anyone.open(&[]), None);
    }
}
