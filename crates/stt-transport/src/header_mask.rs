//! Masks: what makes a datagram look like noise to those without the seed (docs/protocol.md, MASK-1).
//!
//! The payload of a packet is encrypted anyway. What is left to hide are the first bytes of short
//! headers, and everything that a datagram with long headers shows. Whoever holds the seed can take
//! a mask off: it hides, it does not protect.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use stc::{Key, kdf};

use crate::packet_header::{CONNECTION_ID_LEN, KNOCK_LEN, QUIC_VERSION};

/// The last bytes of a datagram, which are a tag and so random: they make each mask another one.
pub(crate) const SAMPLE_LEN: usize = 16;
/// What a masked long datagram has in front: its length without the padding.
pub(crate) const LENGTH_LEN: usize = 2;
/// Flags and connection id of a short header.
const SHORT_LEN: usize = 1 + CONNECTION_ID_LEN;
/// Enough of a long datagram to see that it is one: length, flags, version, length of the id.
const PEEK_LEN: usize = 8;

/// The mask keys of one seed.
pub(crate) struct Masks {
    /// `None` when the library refused the key: then nothing is sent or recognised.
    long: Option<EncryptingKey>,
    short: Option<EncryptingKey>,
}

/// What a datagram is under the masks of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Long {
    /// Long headers, unmasked in place; that many bytes of it count.
    Datagram(usize),
    /// One of a member that speaks another version of the wire.
    OtherVersion,
    /// Nothing for this seed.
    Foreign,
}

impl Masks {
    pub(crate) fn new(seed_root: &Key) -> Self {
        let key = |label| {
            let key = kdf::derive(seed_root, label, &[]);
            UnboundCipherKey::new(&AES_256, key.as_bytes()).ok()
        };
        Self {
            long: key("stt/1 mask long").and_then(|key| EncryptingKey::ctr(key).ok()),
            short: key("stt/1 mask short").and_then(|key| EncryptingKey::ecb(key).ok()),
        }
    }

    /// Puts the mask on the short header of `packet`, or takes it off (MASK-3). `false` if it
    /// cannot.
    pub(crate) fn short(&self, packet: &mut [u8]) -> bool {
        let Some(key) = &self.short else { return false };
        let Some((rest, sample)) = packet.split_last_chunk_mut::<SAMPLE_LEN>() else {
            return false;
        };
        let mut mask = *sample;
        let Some(header) = rest.get_mut(..SHORT_LEN) else { return false };
        if key.less_safe_encrypt(&mut mask, EncryptionContext::None).is_err() {
            return false;
        }
        for (byte, mask) in header.iter_mut().zip(mask) {
            *byte ^= mask;
        }
        true
    }

    /// Writes `datagram` with its mask to `out`, with `padding` inside of it (MASK-2). `false` if
    /// it cannot.
    pub(crate) fn seal_long(&self, datagram: &[u8], padding: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        let Some((body, sample)) = datagram.split_last_chunk::<SAMPLE_LEN>() else { return false };
        let Ok(length) = u16::try_from(datagram.len()) else { return false };
        out.extend(length.to_be_bytes());
        out.extend(body);
        out.extend(padding);
        if !self.stream(sample, out) {
            out.clear();
            return false;
        }
        out.extend(sample);
        true
    }

    /// Takes the mask off `datagram`, if it is one with long headers under this seed, and moves
    /// what it holds to its beginning. Otherwise it is left as it was.
    pub(crate) fn open_long(&self, datagram: &mut [u8]) -> Long {
        let Some((masked, sample)) = datagram.split_last_chunk_mut::<SAMPLE_LEN>() else {
            return Long::Foreign;
        };
        let sample = *sample;
        let Some(mut peek) = masked.first_chunk::<PEEK_LEN>().copied() else {
            return Long::Foreign;
        };
        if !self.stream(&sample, &mut peek) {
            return Long::Foreign;
        }
        let [l0, l1, flags, v0, v1, v2, v3, id_len] = peek;
        let [s0, s1, s2, own] = QUIC_VERSION.to_be_bytes();
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let id_len = usize::from(id_len);
        let Some(body_len) = length.checked_sub(SAMPLE_LEN) else { return Long::Foreign };
        let fits = LENGTH_LEN + body_len <= masked.len()
            && flags & 0xc0 == 0xc0
            && [v0, v1, v2] == [s0, s1, s2]
            && (id_len == KNOCK_LEN || id_len == CONNECTION_ID_LEN);
        if !fits {
            return Long::Foreign;
        }
        if v3 != own {
            return Long::OtherVersion;
        }
        if !self.stream(&sample, masked) {
            return Long::Foreign;
        }
        datagram.copy_within(LENGTH_LEN..LENGTH_LEN + body_len, 0);
        if let Some(tail) = datagram.get_mut(body_len..length) {
            tail.copy_from_slice(&sample);
        }
        Long::Datagram(length)
    }

    /// AES-256-CTR over `bytes`, with the sample as first counter block.
    fn stream(&self, sample: &[u8; SAMPLE_LEN], bytes: &mut [u8]) -> bool {
        let context = EncryptionContext::Iv128((*sample).into());
        self.long.as_ref().is_some_and(|key| key.less_safe_encrypt(bytes, context).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masks(byte: u8) -> Masks {
        Masks::new(&Key::from_bytes([byte; 32]))
    }

    fn long(version: u32, length: usize) -> Vec<u8> {
        let mut datagram = vec![0xc1];
        datagram.extend(version.to_be_bytes());
        datagram.push(8);
        datagram.resize(length, 0xab);
        datagram
    }

    #[test]
    fn a_long_datagram_comes_back_without_its_padding() {
        let datagram = long(QUIC_VERSION, 100);
        for padding in [0, 1, 30] {
            let mut masked = Vec::new();
            assert!(masks(1).seal_long(&datagram, &vec![7; padding], &mut masked));
            assert_eq!(masked.len(), 102 + padding);
            let before = masked.clone();
            assert_eq!(masks(2).open_long(&mut masked), Long::Foreign);
            assert_eq!(masked, before);
            assert_eq!(masks(1).open_long(&mut masked), Long::Datagram(100));
            assert_eq!(masked[..100], datagram);
        }
    }

    #[test]
    fn another_version_is_told_from_noise() {
        let mut masked = Vec::new();
        masks(1).seal_long(&long(QUIC_VERSION + 1, 60), &[], &mut masked);
        assert_eq!(masks(1).open_long(&mut masked), Long::OtherVersion);
        masks(1).seal_long(&long(1, 60), &[], &mut masked);
        assert_eq!(masks(1).open_long(&mut masked), Long::Foreign);
    }

    #[test]
    fn a_short_header_is_masked_and_the_rest_is_not() {
        let mut packet: Vec<u8> = (0..40).collect();
        let before = packet.clone();
        assert!(masks(1).short(&mut packet));
        assert!(packet[..9].iter().zip(&before).filter(|(a, b)| a == b).count() < 4);
        assert_eq!(packet[9..], before[9..]);
        assert!(masks(1).short(&mut packet));
        assert_eq!(packet, before);
        assert!(!masks(1).short(&mut [0; 24]));
    }

    proptest! {
        #[test]
        fn noise_is_foreign_and_stays_as_it_is(mut noise: Vec<u8>) {
            let before = noise.clone();
            prop_assert_eq!(masks(1).open_long(&mut noise), Long::Foreign);
            prop_assert_eq!(noise, before);
        }
    }
}
