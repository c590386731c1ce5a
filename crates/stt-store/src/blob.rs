//! What a backend stores: opaque bytes under opaque names.

use std::fmt;

/// The name of a blob: 1 to [`BlobName::MAX_LEN`] bytes, ordered as bytes are.
///
/// The first byte is the *kind*: backends count blobs and bytes per kind, and otherwise see no
/// meaning in a name.
#[derive(Clone, Copy)]
pub struct BlobName {
    len: u8,
    bytes: [u8; Self::MAX_LEN],
}

/// Bytes that cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a blob name has 1 to {} bytes, not {len}", BlobName::MAX_LEN)]
pub struct BlobNameError {
    /// Bytes given.
    pub len: usize,
}

/// What a backend knows about a blob without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobStat {
    /// Bytes of the blob.
    pub len: u64,
}

impl BlobName {
    /// Longest name, in bytes: in hexadecimal, with a suffix, it still fits into a file name of 255
    /// bytes.
    pub const MAX_LEN: usize = 80;

    /// A name of the bytes of all `parts`, one after the other.
    ///
    /// # Errors
    /// [`BlobNameError`] unless there are 1 to [`Self::MAX_LEN`] bytes.
    pub fn new(parts: &[&[u8]]) -> Result<Self, BlobNameError> {
        let len = parts.iter().map(|part| part.len()).sum();
        let error = BlobNameError { len };
        let mut bytes = [0; Self::MAX_LEN];
        let mut at = 0;
        for part in parts {
            bytes.get_mut(at..at + part.len()).ok_or(error)?.copy_from_slice(part);
            at += part.len();
        }
        let len = u8::try_from(len).ok().filter(|len| *len > 0).ok_or(error)?;
        Ok(Self { len, bytes })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The first byte.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        let [first, ..] = self.bytes;
        first
    }

    /// The bytes in hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(self.as_bytes())
    }

    /// Reads what [`Self::to_hex`] wrote; lower case only, so that one name has one text.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::new(&[&unhex(text)?]).ok()
    }
}

/// The bytes of lower-case hexadecimal.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// `bytes` in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl AsRef<[u8]> for BlobName {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for BlobName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for BlobName {}

impl PartialOrd for BlobName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BlobName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl std::hash::Hash for BlobName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_1_to_80_bytes() {
        assert_eq!(BlobName::new(&[]).unwrap_err(), BlobNameError { len: 0 });
        assert_eq!(BlobName::new(&[&[1; 81]]).unwrap_err(), BlobNameError { len: 81 });
        assert_eq!(BlobName::new(&[&[1; 79], &[2]]).unwrap().as_bytes().len(), 80);
    }

    #[test]
    fn hex_comes_back_and_has_one_form() {
        let name = BlobName::new(&[b"c", &[0xab, 0x00]]).unwrap();
        assert_eq!(name.to_hex(), "63ab00");
        assert_eq!(BlobName::from_hex("63ab00"), Some(name));
        for wrong in ["", "6", "63AB00", "63ab0", "zz", "é"] {
            assert_eq!(BlobName::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_bytes() {
        let name = |bytes: &[u8]| BlobName::new(&[bytes]).unwrap();
        assert!(name(b"a") < name(b"a\0"));
        assert!(name(b"a\0") < name(b"b"));
    }
}
