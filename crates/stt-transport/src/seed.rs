//! What members share: a secret from which every key of the wire follows.

use std::{
    fmt,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use stc::{
    Cause, Coded, Key, KeyParseError,
    stretch::{Cost, StretchError, stretch},
};
use zeroize::Zeroizing;

/// Bytes of the longest file with a seed.
const MAX_FILE: usize = 64 << 10;

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
    /// The file with the seed cannot be read.
    #[error("the seed in {} cannot be read: {cause}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: Cause,
    },
    /// The runtime was being shut down.
    #[error("the runtime ended before the seed was stretched")]
    Ended,
}

impl Coded for SharedSeedError {
    fn code(&self) -> &'static str {
        match self {
            Self::Empty => "seed.empty",
            Self::Key(error) => error.code(),
            Self::Stretch(error) => error.code(),
            Self::Guessable { .. } => "seed.guessable",
            Self::File { .. } => "seed.file",
            Self::Ended => "seed.ended",
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
            Self::File { .. } => Some("give the path of the file that `stt seed new --out` wrote"),
            Self::Stretch(_) | Self::Ended => None,
        }
    }
}

/// A phrase was accepted as a seed, and it is weak.
///
/// An eavesdropper who has recorded one connection attempt can try phrases against it on own
/// machines, as fast as Argon2id lets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

    /// A printed key, alone or among lines that are empty or begin with `#`, or else a phrase.
    /// White space around it doesn't count.
    ///
    /// A phrase is stretched with Argon2id at [`Cost::DEFAULT`], which takes a few tenths of a
    /// second and 96 MiB, and blocks; [`Self::from_text_async`] does not.
    ///
    /// # Errors
    /// [`SharedSeedError`] when nothing is given, a printed key has a typing error or something
    /// beside it, or there is not enough memory.
    pub fn from_text(text: &str) -> Result<Self, SharedSeedError> {
        match printed(text)? {
            Some(key) => Ok(Self::from_key(key)),
            None => Self::with_cost(text.trim().as_bytes(), None, Cost::DEFAULT),
        }
    }

    /// As [`Self::from_text`], for async code: a phrase is stretched on a thread that may block.
    ///
    /// # Errors
    /// As [`Self::from_text`], and [`SharedSeedError::Ended`].
    pub async fn from_text_async(text: impl Into<String>) -> Result<Self, SharedSeedError> {
        let text = Zeroizing::new(text.into());
        off_the_executor(move || Self::from_text(&text)).await
    }

    /// Bytes of any length: a printed key as in [`Self::from_text`], or else a phrase, also when
    /// there are 32 of them. Blocks as that does.
    ///
    /// # Errors
    /// As [`Self::from_text`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SharedSeedError> {
        let key = std::str::from_utf8(bytes).map_or(Ok(None), printed)?;
        match key {
            Some(key) => Ok(Self::from_key(key)),
            None => Self::with_cost(bytes, None, Cost::DEFAULT),
        }
    }

    /// Reads the file that `stt seed new --out` wrote, or one of at most 64 KiB with a phrase,
    /// whose line end doesn't count. For async code: nothing of it blocks the executor.
    ///
    /// ```
    /// use stt_transport::SharedSeed;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("seed");
    /// # let key = stc::Key::generate()?;
    /// # std::fs::write(&path, format!("# of the lab\n{}\n", key.to_printable().as_str()))?;
    /// let seed = SharedSeed::from_file(&path).await?;
    /// assert!(seed.is_guessable().is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::from_text_async`], and [`SharedSeedError::File`].
    pub async fn from_file(path: impl AsRef<Path>) -> Result<Self, SharedSeedError> {
        let path = path.as_ref().to_owned();
        off_the_executor(move || {
            let bytes = read(&path).map_err(|error| SharedSeedError::File {
                path: path.clone(),
                cause: error.into(),
            })?;
            Self::from_bytes(without_line_end(&bytes))
        })
        .await
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

/// The printed key among lines that are empty or comments; `None` where no line begins as one.
fn printed(text: &str) -> Result<Option<Key>, KeyParseError> {
    let begins = |line: &str| {
        let (prefix, rest) = line.trim_start().split_at_checked(Key::PREFIX.len())?;
        (prefix.eq_ignore_ascii_case(Key::PREFIX) && rest.starts_with('1')).then_some(())
    };
    let is_noise = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let mut lines = text.lines().filter(|line| !is_noise(line));
    match lines.next().filter(|_| lines.next().is_none()) {
        Some(line) if Key::looks_printed(line) => Key::parse(line).map(Some),
        // Cut, or with something beside it: no phrase, which nobody else would have.
        _ if text.lines().any(|line| begins(line).is_some()) => Err(KeyParseError::NotAKey),
        _ => Ok(None),
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it, so that no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE + 1));
    let mut file = std::fs::File::open(path)?.take(MAX_FILE as u64 + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "no seed has more than 64 KiB"));
    }
    Ok(bytes)
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [rest @ .., b'\n' | b'\r'] = bytes {
        bytes = rest;
    }
    bytes
}

async fn off_the_executor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SharedSeedError> + Send + 'static,
) -> Result<T, SharedSeedError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SharedSeedError::Ended)?
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
    fn a_printed_seed_is_found_among_comments_and_a_cut_one_is_no_phrase() {
        let key = Key::from_bytes([7; 32]);
        let seed = key.to_printable();
        for text in [
            seed.to_string(),
            format!("# the seed of the group\n\n{}\n# end\n", seed.as_str()),
            format!("  {}\r\n", seed.as_str()),
        ] {
            assert!(printed(&text).unwrap().unwrap() == key, "{text}");
        }
        for text in [
            seed.get(..30).unwrap().to_owned(),
            format!("{} # mine", seed.as_str()),
            format!("{}\nsecond line", seed.as_str()),
            format!("{}\n{}", seed.as_str(), seed.as_str()),
            format!("{} {}", seed.get(..20).unwrap(), seed.get(20..).unwrap()),
        ] {
            assert!(printed(&text).is_err(), "{text}");
        }
        for phrase in ["correct horse battery staple", "two\nlines", "# only", "stt is fine"] {
            assert!(printed(phrase).unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_file_has_a_key_among_comments_or_a_phrase() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed");
        let key = Key::from_bytes([9; 32]);
        let printed = key.to_printable();
        std::fs::write(&path, format!("# of the lab\n\n  {}\n# 2026\n", printed.as_str())).unwrap();
        assert!(SharedSeed::from_file(&path).await.unwrap().root() == &key);
        // What is no key any more is no phrase either.
        for broken in [format!("x {}", printed.as_str()), printed.get(..50).unwrap().to_owned()] {
            let is_cut = !broken.starts_with('x');
            std::fs::write(&path, format!("{broken}\n{broken}\n")).unwrap();
            let read = SharedSeed::from_file(&path).await;
            assert_eq!(matches!(read, Err(SharedSeedError::Key(_))), is_cut, "{broken}");
        }
        std::fs::write(&path, "a phrase\r\n").unwrap();
        let phrase = SharedSeed::from_text_async(" a phrase").await.unwrap();
        assert!(SharedSeed::from_file(&path).await.unwrap().root() == phrase.root());
        std::fs::write(&path, vec![b'x'; MAX_FILE + 1]).unwrap();
        for path in [path, dir.path().join("none")] {
            let error = SharedSeed::from_file(&path).await.unwrap_err();
            assert_eq!(error.code(), "seed.file");
            let source = std::error::Error::source(&error).unwrap();
            assert!(source.downcast_ref::<io::Error>().is_some());
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let seed = SharedSeed::from_key(Key::from_bytes([1; 32]));
        assert_eq!(format!("{seed:?}"), "SharedSeed(..)");
    }
}
