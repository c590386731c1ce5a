//! Small sealed records: saved states and marks.
//!
//! Magic (4 bytes), suite (1), salt (32), then AEAD ciphertext with its tag. The key is made from
//! the root, the magic and the salt, and used once.

use crate::{
    Coded, Key,
    aead::{AeadKey, Suite},
    kdf,
    random::{self, RandomError},
};
use zeroize::Zeroizing;

const SALT_LEN: usize = 32;
const HEAD_LEN: usize = 4 + 1 + SALT_LEN;
const ONCE: [u8; 12] = [0; 12];

/// Why a saved record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes are not a record of this kind.
    #[error("these are not the bytes of such a record")]
    NotOne,
    /// Another seed made it, or it was changed.
    #[error("the record was made with another seed, or changed")]
    Forged,
    /// It opened and holds what this version does not write.
    #[error("the record's content has an unknown form")]
    Content,
    /// Parts of different snapshots.
    #[error("the parts belong to different snapshots")]
    Mixed,
    /// No randomness to seal it.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl Coded for RecordError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotOne => "record.not_one",
            Self::Forged => "record.forged",
            Self::Content => "record.content",
            Self::Mixed => "record.mixed",
            Self::Random(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        matches!(self, Self::Random(_))
    }
}

fn cipher(root: &Key, magic: [u8; 4], suite: Suite, salt: &[u8]) -> Option<AeadKey> {
    AeadKey::new(suite, &kdf::derive(root, "stc v1 record", &[&magic, &[suite.id()], salt]))
}

/// Seals `content` as a record of the kind `magic`.
pub(crate) fn seal(root: &Key, magic: [u8; 4], content: &[u8]) -> Result<Vec<u8>, RecordError> {
    let salt: [u8; SALT_LEN] = random::bytes()?;
    let suite = Suite::preferred();
    let mut body = Zeroizing::new(content.to_vec());
    let tag = cipher(root, magic, suite, &salt)
        .and_then(|cipher| cipher.seal(ONCE, &[], &mut body).ok())
        .ok_or(RecordError::Content)?;
    Ok([magic.as_slice(), &[suite.id()], &salt, &body, &tag].concat())
}

/// Opens a record of the kind `magic`.
pub(crate) fn open(
    root: &Key,
    magic: [u8; 4],
    record: &[u8],
) -> Result<Zeroizing<Vec<u8>>, RecordError> {
    let (head, body) = record.split_first_chunk::<HEAD_LEN>().ok_or(RecordError::NotOne)?;
    let rest = head.strip_prefix(&magic).ok_or(RecordError::NotOne)?;
    let (suite, salt) = rest.split_first().ok_or(RecordError::NotOne)?;
    let suite = Suite::from_id(*suite).ok_or(RecordError::NotOne)?;
    let mut body = Zeroizing::new(body.to_vec());
    let len = cipher(root, magic, suite, salt)
        .and_then(|cipher| cipher.open(ONCE, &[], &mut body).map(|opened| opened.len()).ok())
        .ok_or(RecordError::Forged)?;
    body.truncate(len);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_root_and_kind_open_a_record() {
        let root = Key::from_bytes([1; 32]);
        let sealed = seal(&root, *b"ABCD", b"content").unwrap();
        assert_eq!(*open(&root, *b"ABCD", &sealed).unwrap(), b"content");
        assert_ne!(sealed, seal(&root, *b"ABCD", b"content").unwrap());
        assert_eq!(open(&root, *b"ABCE", &sealed).unwrap_err(), RecordError::NotOne);
        let other = Key::from_bytes([2; 32]);
        assert_eq!(open(&other, *b"ABCD", &sealed).unwrap_err(), RecordError::Forged);
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&root, *b"ABCD", &bad).is_err(), "byte {at}");
            assert!(open(&root, *b"ABCD", &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}
