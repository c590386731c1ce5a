//! What a context is made from.

use zeroize::Zeroizing;

use crate::{
    Key, KeyParseError, kdf,
    stretch::{self, Cost, StretchError},
};

/// The shared secret behind a context.
///
/// A text and the bytes of its UTF-8 form are the same seed; a number is a seed of its own kind, so
/// `7` and `"7"` differ. A text that looks like a printed [`Key`] is read as one, and a typing
/// error in it is found instead of becoming another seed.
#[derive(Clone)]
pub struct Seed(Kind);

#[derive(Clone)]
enum Kind {
    Phrase(Zeroizing<Vec<u8>>),
    Integer(Zeroizing<String>),
    Key(Key),
}

/// Why a seed gives no root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// The text starts like a printed key and is none.
    #[error("the seed looks like a printed key and cannot be read as one")]
    Key(#[from] KeyParseError),
    /// The seed has no bytes at all.
    #[error("the seed is empty")]
    Empty,
    /// The stretch failed.
    #[error("the seed could not be stretched")]
    Stretch(#[from] StretchError),
}

impl crate::Coded for SeedError {
    fn code(&self) -> &'static str {
        match self {
            Self::Key(error) => error.code(),
            Self::Empty => "seed.empty",
            Self::Stretch(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Stretch(error) => error.retry_helps(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Key(error) => error.hint(),
            Self::Empty => Some("`stt seed new` makes a strong one"),
            Self::Stretch(error) => error.hint(),
        }
    }
}

impl Seed {
    /// An integer too large for `i128`, by its decimal digits (a leading `-` is allowed). Leading
    /// zeros do not matter.
    ///
    /// # Errors
    /// [`SeedError::Empty`] when there is a character that is no digit, or none at all.
    pub fn integer(digits: &str) -> Result<Self, SeedError> {
        let (sign, magnitude) = match digits.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", digits),
        };
        if magnitude.is_empty() || !magnitude.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SeedError::Empty);
        }
        let magnitude = magnitude.trim_start_matches('0');
        let canonical =
            if magnitude.is_empty() { "0".into() } else { format!("{sign}{magnitude}") };
        Ok(Self(Kind::Integer(Zeroizing::new(canonical))))
    }

    /// What a guesser has to find, unless the seed is a key.
    pub(crate) fn phrase(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Phrase(bytes) => Some(bytes),
            Kind::Integer(digits) => Some(digits.as_bytes()),
            Kind::Key(_) => None,
        }
    }

    /// Reads a printed key that came in as text.
    pub(crate) fn settle(self) -> Result<Self, SeedError> {
        if let Kind::Phrase(bytes) = &self.0 {
            if bytes.is_empty() {
                return Err(SeedError::Empty);
            }
            if let Ok(text) = std::str::from_utf8(bytes)
                && Key::looks_printed(text)
            {
                return Ok(Self(Kind::Key(Key::parse(text)?)));
            }
        }
        Ok(self)
    }

    /// The root key: a key as it is, anything else through Argon2id.
    ///
    /// There is nowhere to carry a salt, because two contexts must agree without talking: the salt
    /// is the hash of what kind of seed it is and of `realm`, so one table of guesses serves only
    /// one realm.
    ///
    /// # Errors
    /// [`SeedError`] for an empty seed, a misspelt key, or a failed stretch.
    pub fn root(&self, realm: &[u8], cost: Cost) -> Result<Key, SeedError> {
        let seed = self.clone().settle()?;
        let (kind, phrase): (&[u8], &[u8]) = match &seed.0 {
            Kind::Key(key) => return Ok(key.clone()),
            Kind::Phrase(bytes) => (b"phrase", bytes),
            Kind::Integer(digits) => (b"integer", digits.as_bytes()),
        };
        let salt = kdf::digest("stc v1 seed salt", &[kind, realm]);
        Ok(stretch::stretch(phrase, &salt, cost)?)
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl From<&str> for Seed {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<&String> for Seed {
    fn from(text: &String) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<&[u8]> for Seed {
    fn from(bytes: &[u8]) -> Self {
        Self(Kind::Phrase(Zeroizing::new(bytes.to_vec())))
    }
}

impl<const N: usize> From<&[u8; N]> for Seed {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<Key> for Seed {
    fn from(key: Key) -> Self {
        Self(Kind::Key(key))
    }
}

impl From<i128> for Seed {
    fn from(number: i128) -> Self {
        Self(Kind::Integer(Zeroizing::new(number.to_string())))
    }
}

impl From<i64> for Seed {
    fn from(number: i64) -> Self {
        Self::from(i128::from(number))
    }
}

impl From<i32> for Seed {
    fn from(number: i32) -> Self {
        Self::from(i128::from(number))
    }
}

impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        Self::from(i128::from(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(seed: impl Into<Seed>) -> Key {
        seed.into().root(b"", Cost::new(16, 1).unwrap()).unwrap()
    }

    #[test]
    fn kinds_of_seeds_differ_and_spellings_of_one_do_not() {
        assert!(root("seven") == root(b"seven"));
        assert!(root(7) == root(7_u64));
        assert!(root(7) != root("7"));
        assert!(root(7) == root(Seed::integer("007").unwrap()));
        assert!(root(0) == root(Seed::integer("-0").unwrap()));
        assert!(root(-7) == root(Seed::integer("-7").unwrap()));
        assert!(Seed::integer("7a").is_err());
        assert!(Seed::integer("").is_err());
    }

    #[test]
    fn only_typed_keys_skip_the_stretch() {
        let key = Key::from_bytes(*b"seed_32_bytes_minimum_required!!");
        assert!(root(key.clone()) == key);
        assert!(root(b"seed_32_bytes_minimum_required!!") != key);
        assert!(root(key.to_printable().as_str()) == key);
        let mut typo = key.to_printable().to_string();
        typo.replace_range(10..11, if typo.as_bytes()[10] == b'q' { "p" } else { "q" });
        let error = Seed::from(&typo).root(b"", Cost::FAST).unwrap_err();
        assert_eq!(error, SeedError::Key(KeyParseError::Checksum));
    }

    #[test]
    fn realms_separate_equal_seeds_and_nothing_is_refused() {
        let cost = Cost::new(16, 1).unwrap();
        let one = Seed::from("phrase").root(b"one", cost).unwrap();
        assert!(one != Seed::from("phrase").root(b"two", cost).unwrap());
        assert_eq!(Seed::from("").root(b"", cost).unwrap_err(), SeedError::Empty);
        assert_eq!(format!("{:?}", Seed::from("phrase")), "Seed(..)");
    }
}
