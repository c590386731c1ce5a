//! Authenticated encryption in place: AES-256-GCM, or ChaCha20-Poly1305 where the processor has no
//! instructions for AES.
//!
//! ```
//! use stc::{Key, aead::{AeadKey, Suite}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = AeadKey::new(Suite::preferred(), &Key::generate()?).ok_or("no such cipher")?;
//! let nonce = [0; 12]; // Never twice under one key.
//! let mut message = b"meet at nine".to_vec();
//! let tag = key.seal(nonce, b"header", &mut message)?;
//! message.extend_from_slice(&tag);
//! assert_eq!(key.open(nonce, b"header", &mut message)?, b"meet at nine");
//! # Ok(())
//! # }
//! ```

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::Key;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// Which cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-256-GCM (NIST SP 800-38D). Wire number 1.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439). Wire number 2.
    ChaCha20Poly1305,
}

impl Suite {
    /// The number that stands for it in every format of this project.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// The suite with that number, if there is one.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The faster one on this processor.
    #[must_use]
    pub fn preferred() -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
        let has_aes = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let has_aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
        let has_aes = false;
        if has_aes { Self::Aes256Gcm } else { Self::ChaCha20Poly1305 }
    }
}

/// The data is not what was sealed under this key, nonce and associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data did not verify: wrong key, or changed on the way")]
pub struct Forged;

/// A key bound to its cipher, with the key schedule done once.
pub struct AeadKey {
    key: LessSafeKey,
    suite: Suite,
}

impl AeadKey {
    /// Prepares `key` for `suite`.
    #[must_use]
    pub fn new(suite: Suite, key: &Key) -> Option<Self> {
        let algorithm = match suite {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_bytes()).ok()?);
        Some(Self { key, suite })
    }

    /// The cipher.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Encrypts `data` in place and returns the tag.
    ///
    /// The caller answers for it that a nonce is never used twice under one key.
    ///
    /// # Errors
    /// [`Forged`] only when `data` is longer than the cipher can take (64 GiB).
    pub fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        associated: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Forged> {
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                data,
            )
            .map_err(|_| Forged)?;
        <[u8; TAG_LEN]>::try_from(tag.as_ref()).map_err(|_| Forged)
    }

    /// Decrypts `ciphertext` into `out`, which is as long.
    ///
    /// # Errors
    /// [`Forged`] when the tag does not verify or the lengths do not fit; `out` then holds nothing
    /// that may be used.
    pub fn open_to(
        &self,
        nonce: [u8; NONCE_LEN],
        associated: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        out: &mut [u8],
    ) -> Result<(), Forged> {
        self.key
            .open_separate_gather(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                ciphertext,
                tag,
                out,
            )
            .map_err(|_| Forged)
    }

    /// Decrypts `data` in place, whose tag stands elsewhere.
    ///
    /// # Errors
    /// [`Forged`] when the tag does not verify; `data` then holds nothing that may be used.
    pub fn open_beside_tag(
        &self,
        nonce: [u8; NONCE_LEN],
        associated: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Forged> {
        self.key
            .open_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                tag,
                data,
            )
            .map(|_| ())
            .map_err(|_| Forged)
    }

    /// Decrypts `data`, which ends with the tag, in place, and returns the plaintext's part of it.
    ///
    /// # Errors
    /// [`Forged`] when the tag does not verify; no plaintext is released then.
    pub fn open<'a>(
        &self,
        nonce: [u8; NONCE_LEN],
        associated: &[u8],
        data: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        self.key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), data)
            .map_err(|_| Forged)
    }
}

impl std::fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AeadKey({:?}, ..)", self.suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_suites_open_what_they_sealed_and_nothing_else() {
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            assert_eq!(Suite::from_id(suite.id()), Some(suite));
            let key = AeadKey::new(suite, &Key::from_bytes([3; 32])).unwrap();
            let mut data = b"hello".to_vec();
            let tag = key.seal([1; 12], b"ad", &mut data).unwrap();
            data.extend(tag);
            assert_eq!(key.open([1; 12], b"ad", &mut data.clone()).unwrap(), b"hello");
            assert_eq!(key.open([1; 12], b"other", &mut data.clone()), Err(Forged));
            assert_eq!(key.open([2; 12], b"ad", &mut data.clone()), Err(Forged));
            data[0] ^= 1;
            assert_eq!(key.open([1; 12], b"ad", &mut data), Err(Forged));
        }
    }
}
