//! Saving what moves, and going back to it.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use super::{Context, Usage};
use crate::{Coded, OutputFile, random, record, record::RecordError};

const CEL: [u8; 4] = *b"STC1";
const PHE: [u8; 4] = *b"STC2";
const PCF: [u8; 4] = *b"STC3";
/// First bytes of a state as one blob.
const MAGIC: [u8; 4] = *b"STCS";
/// Binds the three parts of one snapshot together.
const SNAPSHOT_LEN: usize = 16;

/// A snapshot of a context, in three parts that are sealed under its seed. It holds no key.
///
/// Loading a snapshot twice, in one context or in many, is safe: every envelope has a key of its
/// own, whatever state made it. Only hashes repeat, which is what a snapshot is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Epoch, and the salt of the context's passwords.
    pub cel_state: Vec<u8>,
    /// Position of the next hash.
    pub phe_state: Vec<u8>,
    /// How much was sealed in this epoch.
    pub pcf_state: Vec<u8>,
}

/// Why a state was not saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A part cannot be used.
    #[error("the state cannot be used")]
    Record(#[from] RecordError),
    /// Reading or writing failed.
    #[error("the state's file could not be {what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Coded for StateError {
    fn code(&self) -> &'static str {
        match self {
            Self::Record(error) => error.code(),
            Self::Io { .. } => "state.io",
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Record(error) => error.retry_helps(),
            Self::Io { .. } => true,
        }
    }
}

impl State {
    /// Most bytes of a state as one blob.
    pub const MAX_LEN: usize = 1024;

    /// One blob: magic, then each part after its length in two bytes, big-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for part in [&self.cel_state, &self.phe_state, &self.pcf_state] {
            out.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend(part);
        }
        out
    }

    /// Reads what [`Self::to_bytes`] wrote, without opening it.
    ///
    /// # Errors
    /// [`RecordError::NotOne`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
            let (len, after) = rest.split_first_chunk::<2>()?;
            let (part, after) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
            *rest = after;
            Some(part)
        }
        let mut rest = bytes
            .strip_prefix(&MAGIC)
            .filter(|_| bytes.len() <= Self::MAX_LEN)
            .ok_or(RecordError::NotOne)?;
        let mut next = || part(&mut rest).map(<[u8]>::to_vec).ok_or(RecordError::NotOne);
        let state = Self { cel_state: next()?, phe_state: next()?, pcf_state: next()? };
        if rest.is_empty() { Ok(state) } else { Err(RecordError::NotOne) }
    }
}

/// The fields of an opened part, after its snapshot's name.
struct Part(zeroize::Zeroizing<Vec<u8>>);

impl Part {
    fn snapshot(&self) -> Option<&[u8; SNAPSHOT_LEN]> {
        self.0.first_chunk()
    }

    /// `N` bytes at `at`, in a part that has `len` bytes of fields.
    fn field<const N: usize>(&self, at: usize, len: usize) -> Result<[u8; N], RecordError> {
        let fields = self.0.get(SNAPSHOT_LEN..).filter(|fields| fields.len() == len);
        fields
            .and_then(|fields| fields.get(at..)?.first_chunk().copied())
            .ok_or(RecordError::Content)
    }
}

impl Context {
    /// A snapshot.
    ///
    /// # Errors
    /// [`StateError::Record`] when there is no randomness.
    pub fn save_state(&self) -> Result<State, StateError> {
        let Usage { epoch, password_salt, position, envelopes, bytes, weakest_password: _ } =
            self.moving().clone();
        let snapshot: [u8; SNAPSHOT_LEN] = random::bytes().map_err(RecordError::Random)?;
        let seal = |magic, first: &[u8], second: &[u8]| {
            record::seal(&self.root, magic, &[&snapshot, first, second].concat())
        };
        Ok(State {
            cel_state: seal(CEL, &epoch.to_be_bytes(), &password_salt)?,
            phe_state: seal(PHE, &position.to_be_bytes(), &[])?,
            pcf_state: seal(PCF, &envelopes.to_be_bytes(), &bytes.to_be_bytes())?,
        })
    }

    /// Goes to a snapshot, of this or of another context with the same seed.
    ///
    /// # Errors
    /// [`StateError::Record`]; the context is then as it was.
    pub fn load_state(&self, state: &State) -> Result<(), StateError> {
        let open = |magic, part: &[u8]| record::open(&self.root, magic, part).map(Part);
        let cel = open(CEL, &state.cel_state)?;
        let phe = open(PHE, &state.phe_state)?;
        let pcf = open(PCF, &state.pcf_state)?;
        if cel.snapshot() != phe.snapshot() || cel.snapshot() != pcf.snapshot() {
            return Err(RecordError::Mixed.into());
        }
        let mut moving = self.moving();
        *moving = Usage {
            epoch: u32::from_be_bytes(cel.field(0, 20)?),
            password_salt: cel.field(4, 20)?,
            position: u64::from_be_bytes(phe.field(0, 8)?),
            envelopes: u64::from_be_bytes(pcf.field(0, 16)?),
            bytes: u64::from_be_bytes(pcf.field(8, 16)?),
            weakest_password: moving.weakest_password,
        };
        Ok(())
    }

    /// Saves a snapshot into a file, replacing what was there in one step.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn save_state_file(&self, path: impl AsRef<Path>) -> Result<(), StateError> {
        let bytes = self.save_state()?.to_bytes();
        let write = || {
            let output = OutputFile::create(path.as_ref(), true)?;
            output.file().write_all(&bytes)?;
            output.finish(true)
        };
        write().map_err(|source| StateError::Io { what: "written", source })
    }

    /// Loads a snapshot from a file.
    ///
    /// # Errors
    /// [`StateError`]; the context is then as it was.
    pub fn load_state_file(&self, path: impl AsRef<Path>) -> Result<(), StateError> {
        let bytes = fs::read(path).map_err(|source| StateError::Io { what: "read", source })?;
        self.load_state(&State::from_bytes(&bytes)?)
    }
}
