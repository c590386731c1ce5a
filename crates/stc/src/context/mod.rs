//! A context: one secret, and everything that is done with it.
//!
//! | look for | in |
//! |---|---|
//! | making a context | [`Context`], [`ContextBuilder`] |
//! | what a call may be told | [`SealOptions`], [`OpenOptions`], [`FileOptions`] |
//! | messages in memory | `messages` |
//! | files, streams and ranges | `files` |
//! | hashes and derived keys | `hashing` |
//! | going back to an earlier state | [`State`] |
//! | how good seed, password and randomness are | [`EntropyHealth`] |
//! | one call, no context | [`quick`] |
//! | stretched passwords and their cache | `passwords` |

mod content;
mod envelope_slots;
mod files;
mod hashing;
mod health;
mod messages;
mod options;
mod passwords;
pub mod quick;
mod state;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use content::{Content, Plaintext};
pub use files::{FileReport, FoundSlot};
pub use hashing::Hash;
pub use health::{EntropyHealth, EntropyStatus};
pub use options::{FileOptions, OpenOptions, SealOptions};
use passwords::Passwords;
pub use state::{State, StateError};

use crate::{
    Key, Seed, SeedError,
    aead::Suite,
    random,
    stretch::{Cost, StretchError},
};

/// A secret shared by everybody who makes a context from the same seed, cost and realm.
///
/// Making one costs one stretch (unless the seed is a [`Key`]); every new password costs one more.
/// Both are kept, so a hundred messages under one password cost one stretch and not a hundred.
/// All methods take `&self`, and a context can be shared between threads.
pub struct Context {
    root: Key,
    /// False when the root is public and only passwords are secret.
    seeded: bool,
    cost: Cost,
    max_kib: u64,
    suite: Suite,
    passwords: Passwords,
    /// log10 of the guesses that the seed takes; `None` for a key.
    seed_guesses: Option<f64>,
    moving: Mutex<Usage>,
}

/// What changes while a context is used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Usage {
    /// Counts [`Context::update`].
    pub(crate) epoch: u32,
    /// Salt of this context's passwords.
    pub(crate) password_salt: [u8; 16],
    /// Hashes made so far.
    pub(crate) position: u64,
    /// Envelopes made in this epoch.
    pub(crate) envelopes: u64,
    /// Plaintext bytes sealed in this epoch, padding and empty slots included.
    pub(crate) bytes: u64,
    /// log10 of the guesses that the weakest password used for sealing takes.
    pub(crate) weakest_password: Option<f64>,
}

/// How a context is to be made.
#[derive(Clone, Debug)]
pub struct ContextBuilder {
    seed: Option<Seed>,
    cost: Result<Cost, StretchError>,
    max_kib: u64,
    realm: Vec<u8>,
}

impl ContextBuilder {
    /// Memory of a stretch: a matrix of `lattice_size² × depth` KiB. Default: 128 and 6, 96 MiB.
    ///
    /// Two contexts agree only when they have the same cost. Values out of range are refused by
    /// [`Self::build`].
    #[must_use]
    pub fn lattice(mut self, lattice_size: u16, depth: u8) -> Self {
        self.cost = Cost::new(lattice_size, depth);
        self
    }

    /// As [`Self::lattice`], from one of the presets.
    #[must_use]
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = Ok(cost);
        self
    }

    /// A name that separates equal seeds, such as that of an application. Default: empty. Two
    /// contexts agree only when they have the same realm. Keys ignore it.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<Vec<u8>>) -> Self {
        self.realm = realm.into();
        self
    }

    /// Most memory, in KiB, that an envelope may ask for when it is opened. Default:
    /// [`Cost::MAX_KIB`]. A server that opens strangers' envelopes should set it.
    #[must_use]
    pub fn max_stretch_kib(mut self, kib: u64) -> Self {
        self.max_kib = kib;
        self
    }

    /// Makes the context, which takes one stretch unless the seed is a key.
    ///
    /// # Errors
    /// [`ContextError`] for an empty seed, a misspelt key, a cost out of range, or no randomness.
    pub fn build(self) -> Result<Context, ContextError> {
        let cost = self.cost.map_err(SeedError::Stretch)?;
        let seed = self.seed.map(Seed::settle).transpose()?;
        let root = match &seed {
            Some(seed) => seed.root(&self.realm, cost)?,
            None => Key::from_bytes([0; 32]),
        };
        Ok(Context {
            root,
            seeded: seed.is_some(),
            cost,
            max_kib: self.max_kib,
            suite: Suite::preferred(),
            passwords: Passwords::new(Key::generate()?),
            seed_guesses: seed.as_ref().and_then(Seed::phrase).map(health::guesses_log10),
            moving: Mutex::new(Usage {
                epoch: 0,
                password_salt: random::bytes()?,
                position: 0,
                envelopes: 0,
                bytes: 0,
                weakest_password: None,
            }),
        })
    }
}

/// Why a context was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The seed gives no root key.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] random::RandomError),
}

impl crate::Coded for ContextError {
    fn code(&self) -> &'static str {
        match self {
            Self::Seed(error) => error.code(),
            Self::Random(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Seed(error) => error.retry_helps(),
            Self::Random(error) => error.retry_helps(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Seed(error) => error.hint(),
            Self::Random(error) => error.hint(),
        }
    }
}

impl Context {
    /// A context from a phrase, bytes, an integer or a [`Key`], at the default cost.
    ///
    /// # Errors
    /// As [`ContextBuilder::build`].
    pub fn new(seed: impl Into<Seed>) -> Result<Self, ContextError> {
        Self::builder(seed).build()
    }

    /// A context from 32 random bytes: no stretch. Passwords are stretched at the default cost.
    ///
    /// # Errors
    /// As [`ContextBuilder::build`].
    pub fn from_key(key: Key) -> Result<Self, ContextError> {
        Self::new(key)
    }

    /// Sets cost and realm.
    #[must_use]
    pub fn builder(seed: impl Into<Seed>) -> ContextBuilder {
        ContextBuilder {
            seed: Some(seed.into()),
            cost: Ok(Cost::DEFAULT),
            max_kib: Cost::MAX_KIB,
            realm: Vec::new(),
        }
    }

    /// A context whose only secrets are passwords: its root key is 32 zero bytes. It refuses to
    /// make an envelope that would open without a password.
    #[must_use]
    pub fn seedless() -> ContextBuilder {
        ContextBuilder {
            seed: None,
            cost: Ok(Cost::DEFAULT),
            max_kib: Cost::MAX_KIB,
            realm: Vec::new(),
        }
    }

    /// What a stretch costs in this context.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// The cipher of new envelopes.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// How often [`Self::update`] was called.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.moving().epoch
    }

    /// Starts a new epoch: later hashes are unrelated to earlier ones, and the use counted by the
    /// health report starts from zero. Envelopes of every epoch still open. A weak seed stays as
    /// weak as it was.
    pub fn update(&self) {
        let mut moving = self.moving();
        moving.epoch = moving.epoch.saturating_add(1);
        moving.envelopes = 0;
        moving.bytes = 0;
    }

    /// Wipes every stretched password from memory. The next use of a password costs a stretch.
    pub fn forget_passwords(&self) {
        self.passwords.clear();
    }

    fn moving(&self) -> MutexGuard<'_, Usage> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            root: _,
            seeded,
            cost,
            max_kib,
            suite,
            passwords: _,
            seed_guesses: _,
            moving: _,
        } = self;
        f.debug_struct("Context")
            .field("seeded", seeded)
            .field("cost", cost)
            .field("max_kib", max_kib)
            .field("suite", suite)
            .finish_non_exhaustive()
    }
}
