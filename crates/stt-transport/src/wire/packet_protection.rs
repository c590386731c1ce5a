//! Protection of packets and of their headers (docs/protocol.md, PKT-1).
//!
//! As in RFC 9001, sections 5.3 and 5.4, with keys from our own schedule.

use std::sync::OnceLock;

use aws_lc_rs::aead::quic::{AES_256, CHACHA20, HeaderProtectionKey};
use stc::{
    Key,
    aead::{AeadKey, Forged, NONCE_LEN, Suite, TAG_LEN},
    kdf,
};

/// Encrypts or decrypts the payload of packets in one direction (PKT-2).
pub(crate) struct PacketCipher {
    suite: Suite,
    key: Key,
    iv: [u8; NONCE_LEN],
    /// Made when it is used first: the keys after the next update wait for days, and this is ten
    /// times as large as they are.
    ready: OnceLock<Option<AeadKey>>,
}

/// Hides packet numbers and the flags beside them in one direction (PKT-3).
pub(crate) struct HeaderCipher {
    key: HeaderProtectionKey,
}

/// Bytes of ciphertext that decide over the mask of a header.
pub(crate) const SAMPLE_LEN: usize = 16;
/// First bit of a packet: set in long headers.
pub(crate) const LONG: u8 = 0x80;

impl PacketCipher {
    pub(crate) fn new(suite: Suite, secret: &Key) -> Self {
        let key = kdf::derive(secret, "stt/1 packet key", &[]);
        let mut iv = [0; NONCE_LEN];
        kdf::derive_into(secret, "stt/1 packet iv", &[], &mut iv);
        Self { suite, key, iv, ready: OnceLock::new() }
    }

    pub(crate) const fn suite(&self) -> Suite {
        self.suite
    }

    /// Fails only when the cryptographic library refuses a 32-byte key.
    fn ready(&self) -> Result<&AeadKey, Forged> {
        self.ready.get_or_init(|| AeadKey::new(self.suite, &self.key)).as_ref().ok_or(Forged)
    }

    fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// Encrypts what follows the header. The last 16 bytes of `packet` take the tag.
    pub(crate) fn seal(
        &self,
        number: u64,
        packet: &mut [u8],
        header_len: usize,
    ) -> Result<(), Forged> {
        let (header, body) = packet.split_at_mut_checked(header_len).ok_or(Forged)?;
        let payload_len = body.len().checked_sub(TAG_LEN).ok_or(Forged)?;
        let (payload, room) = body.split_at_mut_checked(payload_len).ok_or(Forged)?;
        let tag = self.ready()?.seal(self.nonce(number), header, payload)?;
        room.copy_from_slice(&tag);
        Ok(())
    }

    /// Decrypts `payload`, tag included, and returns the length of the plaintext.
    pub(crate) fn open(
        &self,
        number: u64,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<usize, Forged> {
        self.ready()?.open(self.nonce(number), header, payload).map(|plain| plain.len())
    }
}

impl HeaderCipher {
    /// `None` only when the cryptographic library refuses a 32-byte key.
    pub(crate) fn new(suite: Suite, secret: &Key) -> Option<Self> {
        let algorithm = match suite {
            Suite::Aes256Gcm => &AES_256,
            Suite::ChaCha20Poly1305 => &CHACHA20,
            _ => return None,
        };
        let key = kdf::derive(secret, "stt/1 header key", &[]);
        Some(Self { key: HeaderProtectionKey::new(algorithm, key.as_bytes()).ok()? })
    }

    /// Hides flags and packet number of the packet, or shows them again with `remove`.
    ///
    /// A packet too short for it is left as it is; the engine pads what it sends and checks what
    /// it receives.
    pub(crate) fn apply(&self, number_at: usize, packet: &mut [u8], remove: bool) {
        let Some((header, rest)) = packet.split_at_mut_checked(number_at) else { return };
        let Some((number, ciphertext)) = rest.split_at_mut_checked(4) else { return };
        let Some(mask) = ciphertext.get(..SAMPLE_LEN).and_then(|s| self.key.new_mask(s).ok())
        else {
            return;
        };
        let [flag_mask, number_mask @ ..] = mask;
        let Some(flags) = header.first_mut() else { return };
        let hidden = if *flags & LONG == 0 { 0x1f } else { 0x0f };
        let masked = *flags ^ (flag_mask & hidden);
        let plain = if remove { masked } else { *flags };
        *flags = masked;
        let number_len = usize::from(plain & 0x03) + 1;
        for (byte, mask) in number.iter_mut().zip(number_mask).take(number_len) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_comes_back_and_a_changed_one_does_not() {
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            let secret = Key::from_bytes([5; 32]);
            let packets = PacketCipher::new(suite, &secret);
            let headers = HeaderCipher::new(suite, &secret).unwrap();
            let mut packet = vec![0x41; 9 + 2 + 30 + TAG_LEN];
            let sent = packet.clone();
            packets.seal(77, &mut packet, 11).unwrap();
            headers.apply(9, &mut packet, false);
            assert_ne!(packet[9..11], sent[9..11]);
            headers.apply(9, &mut packet, true);
            let (header, payload) = packet.split_at_mut(11);
            assert_eq!(header, &sent[..11]);
            assert!(packets.open(78, header, &mut payload.to_vec()).is_err());
            let length = packets.open(77, header, payload).unwrap();
            assert_eq!(payload[..length], sent[11..41]);
        }
    }

    #[test]
    fn short_packets_are_left_alone() {
        let headers = HeaderCipher::new(Suite::Aes256Gcm, &Key::from_bytes([5; 32])).unwrap();
        for length in 0..29 {
            let mut packet = vec![0x40; length];
            headers.apply(9, &mut packet, false);
            assert_eq!(packet, vec![0x40; length]);
        }
    }
}
