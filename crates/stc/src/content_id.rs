//! The address of a value.

use std::{fmt, str::FromStr};

/// The BLAKE3 hash of a value: its address in every store and in the swarm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId([u8; 32]);

/// A text is not a content id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a content id has 64 hexadecimal digits")]
pub struct ContentIdError;

impl crate::Coded for ContentIdError {
    fn code(&self) -> &'static str {
        "store.content_id"
    }

    fn retry_helps(&self) -> bool {
        false
    }

    fn hint(&self) -> Option<&'static str> {
        Some("copy the whole id that `stt store put` or `stt store ls` printed")
    }
}

impl ContentId {
    /// Bytes of an id.
    pub const LEN: usize = 32;

    /// The id of `data`.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        Self(*blake3::hash(data).as_bytes())
    }

    /// Takes a hash that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<blake3::Hash> for ContentId {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl From<ContentId> for blake3::Hash {
    fn from(id: ContentId) -> Self {
        Self::from_bytes(id.0)
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

impl FromStr for ContentId {
    type Err = ContentIdError;

    fn from_str(text: &str) -> Result<Self, ContentIdError> {
        // Only plain digits: `blake3::Hash::from_hex` also takes upper case, which is fine here.
        blake3::Hash::from_hex(text.trim()).map(Self::from).map_err(|_| ContentIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_comes_back() {
        let id = ContentId::of(b"hello");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("".parse::<ContentId>(), Err(ContentIdError));
        assert_eq!(id.to_string().replace('a', "ä").parse::<ContentId>(), Err(ContentIdError));
    }
}
