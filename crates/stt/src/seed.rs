//! What members share: a secret from which every key of the wire follows.

use std::fmt;

use stc::{
    Coded, Key, KeyParseError,
    stretch::{Cost, StretchError, stretch},
};

/// A secret shared by all who may talk to each other.
///
/// It proves membership, not identity: every holder can read the first message of a handshake and
/// can answer at an address. Wiped from memory when dropped, and never shown by `Debug`.
#[derive(Clone)]
pub struct SharedSeed {
    root: Key,
    /// Decimal logarithm of the guesses an attacker needs; `None` for a random key.
    guesses_log10: Option<f64>,
}

/// Why no seed was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedSeedError {
    /// Nothing was given.
    #[error("the seed is empty")]
    Empty,
    /// It starts like a printed key and has a typing error in it.
    #[error(transparent)]
    Key(#[from] KeyParseError),
    /// The phrase could not be stretched.
    #[error(transparent)]
    Stretch(#[from] StretchError),
    /// The phrase is easy to guess, and only strong seeds are wanted here.
    #[error("the seed can be guessed: about 10^{guesses_log10} tries are enough")]
    Guessable {
        /// Decimal logarithm of the number of guesses, rounded down.
        guesses_log10: u8,
    },
}

impl Coded for SharedSeedError {
    fn code(&self) -> &'static str {
        match self {
            Self::Empty => "seed.empty",
            Self::Key(error) => error.code(),
            Self::Stretch(error) => error.code(),
            Self::Guessable { .. } => "seed.guessable",
        }
    }

    fn retry_helps(&self) -> bool {
        matches!(self, Self::Stretch(error) if error.retry_helps())
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Empty => Some("`stt seed new` makes a strong one"),
            Self::Guessable { .. } => Some("make one with `stt seed new`"),
            Self::Key(error) => error.hint(),
            Self::Stretch(_) => None,
        }
    }
}

/// A phrase was accepted as a seed, and it is weak.
///
/// An eavesdropper who has recorded one connection attempt can try phrases against it on own
/// machines, as fast as Argon2id lets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedWarning {
    /// Decimal logarithm of the number of guesses that find it, rounded down.
    pub guesses_log10: u8,
}

impl fmt::Display for SeedWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the seed is easy to guess (about 10^{} tries): who records one connection can search \
             for it offline; `stt seed new` makes one that nobody can guess",
            self.guesses_log10
        )
    }
}

impl SharedSeed {
    /// A phrase that takes fewer guesses than 10 to this power is warned about. At 100 ms a guess
    /// on each of 1,000 cores, 10^14 guesses take 300 years.
    pub const STRONG_GUESSES_LOG10: u8 = 14;

    /// A random key, as `stt seed new` makes it. Nothing is stretched.
    #[must_use]
    pub const fn from_key(key: Key) -> Self {
        Self { root: key, guesses_log10: None }
    }

    /// A printed key, or else a phrase. White space around it doesn't count.
    ///
    /// A phrase is stretched with Argon2id at [`Cost::DEFAULT`], which takes a few tenths of a
    /// second and 96 MiB. In async code, where it may be a phrase, call it within
    /// `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    /// [`SharedSeedError`] when nothing is given, a printed key has a typing error, or there is not
    /// enough memory.
    pub fn from_text(text: &str) -> Result<Self, SharedSeedError> {
        let text = text.trim();
        if Key::looks_printed(text) {
            return Ok(Self::from_key(Key::parse(text)?));
        }
        Self::with_cost(text.as_bytes(), None, Cost::DEFAULT)
    }

    /// Bytes of any length: a printed key, or else a phrase, also when there are 32 of them.
    ///
    /// # Errors
    /// As [`Self::from_text`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SharedSeedError> {
        match std::str::from_utf8(bytes) {
            Ok(text) if Key::looks_printed(text) => Ok(Self::from_key(Key::parse(text)?)),
            _ => Self::with_cost(bytes, None, Cost::DEFAULT),
        }
    }

    /// A phrase at a cost of one's own, which all members must choose alike.
    ///
    /// `realm` keeps two groups apart that happen to choose one phrase.
    ///
    /// # Errors
    /// [`SharedSeedError::Empty`] and [`SharedSeedError::Stretch`].
    pub fn with_cost(
        phrase: &[u8],
        realm: Option<&str>,
        cost: Cost,
    ) -> Result<Self, SharedSeedError> {
        if phrase.is_empty() {
            return Err(SharedSeedError::Empty);
        }
        let salt = blake3::derive_key("stt/1 seed realm", realm.unwrap_or_default().as_bytes());
        let root = stretch(phrase, &salt, cost)?;
        Ok(Self { root, guesses_log10: Some(guesses_log10(phrase)) })
    }

    /// The warning that a person should see, when the seed is a phrase that can be guessed.
    #[must_use]
    pub fn is_guessable(&self) -> Option<SeedWarning> {
        let guesses = self.guesses_log10?;
        let strong =
            (0..Self::STRONG_GUESSES_LOG10).find(|&power| guesses < f64::from(power) + 1.0);
        strong.map(|guesses_log10| SeedWarning { guesses_log10 })
    }

    /// Refuses a seed that can be guessed, for callers that want strong ones only.
    ///
    /// # Errors
    /// [`SharedSeedError::Guessable`].
    pub fn strict(self) -> Result<Self, SharedSeedError> {
        match self.is_guessable() {
            Some(SeedWarning { guesses_log10 }) => {
                Err(SharedSeedError::Guessable { guesses_log10 })
            }
            None => Ok(self),
        }
    }

    pub(crate) const fn root(&self) -> &Key {
        &self.root
    }
}

impl fmt::Debug for SharedSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSeed(..)")
    }
}

/// How many guesses find `phrase`, as a decimal logarithm.
///
/// Bytes that are no text count as random.
fn guesses_log10(phrase: &[u8]) -> f64 {
    match std::str::from_utf8(phrase) {
        Ok(text) => zxcvbn::zxcvbn(text, &[]).guesses_log10(),
        Err(_) => f64::from(u32::try_from(phrase.len()).unwrap_or(u32::MAX)) * 256_f64.log10(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Cost {
        Cost::new(16, 1).unwrap()
    }

    #[test]
    fn a_printed_key_is_not_stretched_and_a_phrase_is() {
        let key = Key::generate().unwrap();
        let printed =
            SharedSeed::from_text(&format!(" {}\n", key.to_printable().as_str())).unwrap();
        assert!(printed.root() == &key);
        assert_eq!(printed.is_guessable(), None);
        let bytes = SharedSeed::from_bytes(key.to_printable().as_bytes()).unwrap();
        assert!(bytes.root() == &key);
        let phrase = SharedSeed::with_cost(&[7; 32], None, cheap()).unwrap();
        assert!(phrase.root() != &Key::from_bytes([7; 32]));
    }

    #[test]
    fn realms_keep_equal_phrases_apart() {
        let seed = |realm| SharedSeed::with_cost(b"phrase", realm, cheap()).unwrap();
        assert!(seed(None).root() == seed(None).root());
        assert!(seed(None).root() != seed(Some("home")).root());
        assert!(seed(Some("work")).root() != seed(Some("home")).root());
    }

    #[test]
    fn a_typing_error_in_a_printed_key_is_not_taken_for_a_phrase() {
        let mut text = Key::from_bytes([9; 32]).to_printable().to_string();
        let last = text.pop().unwrap();
        text.push(if last == 'q' { 'p' } else { 'q' });
        assert_eq!(
            SharedSeed::from_text(&text).unwrap_err(),
            SharedSeedError::Key(KeyParseError::Checksum)
        );
    }

    #[test]
    fn weak_phrases_are_warned_about_and_refused_when_strict() {
        let weak = SharedSeed::with_cost(b"password123", None, cheap()).unwrap();
        assert!(weak.is_guessable().unwrap().guesses_log10 < 6);
        assert!(matches!(weak.strict(), Err(SharedSeedError::Guessable { .. })));
        let strong = b"orbit-velvet-cactus-trumpet-lantern-9-quarry";
        assert_eq!(SharedSeed::with_cost(strong, None, cheap()).unwrap().is_guessable(), None);
        assert_eq!(SharedSeed::with_cost(b"", None, cheap()).unwrap_err(), SharedSeedError::Empty);
        assert_eq!(SharedSeed::from_text(" \n").unwrap_err(), SharedSeedError::Empty);
    }

    #[test]
    fn debug_shows_nothing() {
        let seed = SharedSeed::from_key(Key::from_bytes([1; 32]));
        assert_eq!(format!("{seed:?}"), "SharedSeed(..)");
    }
}
