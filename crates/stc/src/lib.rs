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
//! | stable codes of errors | [`Coded`] |

pub mod aead;
mod coded;
mod context;
mod context_data;
pub mod envelope;
pub mod kdf;
mod key;
mod output_file;
pub mod random;
mod record;
mod seed;
mod steady;
pub mod streaming;
pub mod stretch;

pub use coded::Coded;
pub use context::{
    Builder, Content, Context, ContextError, EntropyHealth, FileOptions, FileReport, FoundSlot,
    Hash, HealthStatus, OpenOptions, Plaintext, SealOptions, State, StateError, content_hash,
    quick,
};
pub use context_data::{ContextData, Integer, MAX_DEPTH, Value};
pub use envelope::{EnvelopeError, Header, OpenError, SealError};
pub use key::{Key, KeyParseError};
pub use output_file::OutputFile;
pub use record::RecordError;
pub use seed::{Seed, SeedError};
pub use steady::{FileChanged, FileStamp, SteadyFile};
pub use streaming::{ChunkHeader, StreamConfig, StreamError, StreamingContext};
