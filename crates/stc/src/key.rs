//! A 32-byte secret and the form in which a person can carry it.

use std::fmt;

use bech32::{Bech32m, Hrp};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::random::{self, RandomError};

/// 32 uniformly random bytes, wiped from memory when dropped.
///
/// Only this type skips the stretch of [`crate::stretch`]: bytes of any length that came from
/// somewhere else are treated as a phrase.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; 32]);

/// Why a text is not the printable form of a [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyParseError {
    /// It starts like a key, but the checksum does not fit: most likely a typing error.
    #[error("the key has a typing error: its checksum does not fit")]
    Checksum,
    /// It does not start with the prefix of a key.
    #[error("this is not a printed key: it does not start with `{}1`", Key::PREFIX)]
    NotAKey,
    /// The checksum fits, but there are not 32 bytes in it.
    #[error("the key holds {got} bytes where 32 are needed")]
    Length {
        /// Bytes found.
        got: usize,
    },
}

impl crate::Coded for KeyParseError {
    fn code(&self) -> &'static str {
        match self {
            Self::Checksum => "key.checksum",
            Self::NotAKey => "key.not_a_key",
            Self::Length { .. } => "key.length",
        }
    }

    fn retry_helps(&self) -> bool {
        false
    }

    fn hint(&self) -> Option<&'static str> {
        Some("copy the whole line that `stt seed new` printed")
    }
}

impl Key {
    /// What every printed key starts with, before the separator `1` (BIP 350).
    pub const PREFIX: &'static str = "stt";

    /// A new random key.
    ///
    /// # Errors
    /// [`RandomError`] when the operating system gives no random bytes.
    pub fn generate() -> Result<Self, RandomError> {
        random::bytes().map(Self)
    }

    /// Takes 32 bytes that are already uniformly random.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The printable form: [`Key::PREFIX`], `1`, and 58 letters and digits of which the last six
    /// are a checksum (bech32m, BIP 350). It finds every single typing error.
    #[must_use]
    pub fn to_printable(&self) -> Zeroizing<String> {
        let text = Hrp::parse(Self::PREFIX)
            .ok()
            .and_then(|hrp| bech32::encode::<Bech32m>(hrp, &self.0).ok())
            .unwrap_or_default();
        Zeroizing::new(text)
    }

    /// Whether `text` claims to be a printed key, right or wrong.
    #[must_use]
    pub fn looks_printed(text: &str) -> bool {
        let text = text.trim().as_bytes();
        let prefix = Self::PREFIX.as_bytes();
        text.len() >= 40
            && text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
            && text.get(prefix.len()) == Some(&b'1')
            && text.iter().all(u8::is_ascii_alphanumeric)
    }

    /// Reads the printable form, in upper or lower case, with white space around it.
    ///
    /// # Errors
    /// [`KeyParseError`] says whether it is a typing error or no key at all.
    pub fn parse(text: &str) -> Result<Self, KeyParseError> {
        let text = text.trim();
        if !Self::looks_printed(text) {
            return Err(KeyParseError::NotAKey);
        }
        let checked = bech32::primitives::decode::CheckedHrpstring::new::<Bech32m>(text)
            .map_err(|_| KeyParseError::Checksum)?;
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(checked.byte_iter().collect());
        let bytes = <[u8; 32]>::try_from(bytes.as_slice())
            .map_err(|_| KeyParseError::Length { got: bytes.len() })?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printable_form_comes_back() {
        let key = Key::generate().unwrap();
        let text = key.to_printable();
        assert!(text.starts_with("stt1"), "{}", text.as_str());
        assert!(Key::parse(&text).unwrap() == key);
        assert!(Key::parse(&format!(" {}\n", text.to_uppercase())).unwrap() == key);
    }

    #[test]
    fn every_single_typing_error_is_found() {
        let text = Key::from_bytes([9; 32]).to_printable();
        for at in 4..text.len() {
            let mut typed = text.as_bytes().to_vec();
            typed[at] = if typed[at] == b'q' { b'p' } else { b'q' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(Key::parse(&typed).unwrap_err(), KeyParseError::Checksum, "at {at}");
        }
    }

    #[test]
    fn a_phrase_is_not_a_key() {
        assert_eq!(Key::parse("correct horse").unwrap_err(), KeyParseError::NotAKey);
        assert_eq!(Key::parse("").unwrap_err(), KeyParseError::NotAKey);
    }

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        assert_eq!(format!("{:?}", Key::from_bytes([1; 32])), "Key(..)");
    }
}
