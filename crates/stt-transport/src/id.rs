//! The names of nodes and sessions.

use std::{fmt, str::FromStr};

/// A text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is {expected} hexadecimal digits, this has {got} characters or others than digits")]
pub struct IdParseError {
    expected: usize,
    got: usize,
}

impl stc::Coded for IdParseError {
    fn code(&self) -> &'static str {
        "id.malformed"
    }

    fn retry_helps(&self) -> bool {
        false
    }
}

/// Defines an id of `$len` bytes that prints as hexadecimal digits.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Bytes of such an id.
            pub const LEN: usize = $len;

            /// The id with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                let malformed = IdParseError { expected: $len * 2, got: text.chars().count() };
                let digits = text.as_bytes();
                if digits.len() != $len * 2 {
                    return Err(malformed);
                }
                let mut bytes = [0; $len];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = std::str::from_utf8(pair)
                        .ok()
                        .filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))
                        .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                        .ok_or_else(|| malformed.clone())?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// Who a node is: its ed25519 public key.
    NodeId,
    32
);
id!(
    /// Which session: 8 bytes of exported key material, equal on both sides and never sent.
    SessionId,
    8
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_from_its_digits() {
        let id = SessionId::from_bytes([0, 1, 0x2f, 255, 4, 5, 6, 7]);
        assert_eq!(id.to_string(), "00012fff04050607");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "00", "+0012fff04050607", "zz012fff04050607", "00012fff0405060708"] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
