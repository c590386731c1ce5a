//! STC: cryptography on vetted primitives, without async and without sockets.
//!
//! | look for | in |
//! |---|---|
//! | messages, files, hashes under one seed | [`Context`] |
//! | live streams of chunks | [`StreamingContext`] |
//! | what a context is made from | [`Seed`] |
//! | what a ciphertext is bound to | [`ContextData`] |
//! | the format of messages and files | [`envelope`] |
//! | a 32-byte secret, its printable form | [`Key`] |
//! | deriving one key from another | [`kdf`] |
//! | authenticated encryption in place | [`aead`] |
//! | turning a phrase into a key | [`stretch`] |
//! | outputs that are complete or absent | [`OutputFile`] |
//! | inputs that must not change meanwhile | [`SteadyFile`] |
//! | the address of content | [`ContentId`] |
//! | stable codes of errors, and what caused them | [`Coded`], [`Cause`] |
//!
//! # A message with a decoy
//!
//! Under the second password another message opens, and nothing shows that there is more than one.
//!
//! ```
//! use stc::{Context, OpenOptions, SealOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let context = Context::from_key(stc::Key::generate()?)?;
//! let options = SealOptions::new().password("the real one").decoy("under pressure", "a recipe");
//! let blob = context.seal("meet at nine", &options)?;
//!
//! let open = |password| context.open(&blob, &OpenOptions::new().password(password));
//! assert_eq!(open("the real one")?.as_text(), Some("meet at nine"));
//! assert_eq!(open("under pressure")?.as_text(), Some("a recipe"));
//! assert!(open("a guess").is_err());
//! # Ok(())
//! # }
//! ```
//!
//! Bytes come out as `Vec<u8>`: the program that opened a secret can wipe it, which shared bytes do
//! not allow, and sealed bytes are often worked on in place.
//!
//! # A file
//!
//! The output appears under its name when it is complete, and not at all when something fails.
//!
//! ```
//! use stc::{Context, FileOptions, OpenOptions, SealOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let (letter, sealed, back) =
//! #     (dir.path().join("letter"), dir.path().join("letter.stc"), dir.path().join("back"));
//! # std::fs::write(&letter, "Dear reader")?;
//! let context = Context::from_key(stc::Key::generate()?)?;
//! let files = FileOptions::new();
//! context.encrypt_file(&letter, &sealed, &SealOptions::new(), &files)?;
//! context.decrypt_file(&sealed, &back, &OpenOptions::new(), &files)?;
//! assert_eq!(std::fs::read(&back)?, b"Dear reader");
//! # Ok(())
//! # }
//! ```

pub mod aead;
mod cause;
mod content_id;
mod context;
mod context_data;
pub mod envelope;
mod error_code;
pub mod kdf;
mod key;
mod output_file;
pub mod random;
mod record;
mod seed;
mod steady;
pub mod streaming;
pub mod stretch;

pub use cause::Cause;
pub use content_id::{ContentId, ContentIdError};
pub use context::{
    Content, Context, ContextBuilder, ContextError, EntropyHealth, EntropyStatus, FileOptions,
    FileReport, FoundSlot, Hash, OpenOptions, Plaintext, SealOptions, State, StateError, quick,
};
pub use context_data::{ContextData, ContextValue, Integer, MAX_DEPTH};
pub use envelope::{EnvelopeError, Header, OpenError, SealError};
pub use error_code::Coded;
pub use key::{Key, KeyParseError};
pub use output_file::OutputFile;
pub use record::RecordError;
pub use seed::{Seed, SeedError};
pub use steady::{FileChanged, FileStamp, SteadyFile};
pub use streaming::{ChunkError, ChunkHeader, StreamingConfig, StreamingContext};
