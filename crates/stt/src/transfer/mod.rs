//! Files over a session: resumable, verified, never overwriting unasked.
//!
//! | look for | in |
//! |---|---|
//! | sending a file | [`send_file`] (`send`) |
//! | receiving one | [`receive_file`] (`receive`) |
//! | what the two sides say | `record` |
//! | the unfinished file on disk | `partial` |
//! | what interrupted transfers left | [`unfinished`] |
//! | who receives which name | `active` |
//! | names from a peer | [`safe_name`], [`printable`] (`name`) |
//!
//! One raw stream carries a transfer. The sender offers a name and a size; the receiver answers with
//! how much of it is there already and the hash of that; the sender goes on from there, or from the
//! start when its file differs, and ends with the hash of the whole file. The receiver writes under
//! a temporary name, compares, and only then gives the file its name (docs/streams.md, FILE-1 to
//! FILE-3).

mod active;
mod error;
mod leave;
mod name;
mod partial;
mod receive;
mod record;
mod send;
mod unfinished;

pub use error::TransferError;
pub use name::{printable, safe_name};
pub use receive::{ReceiveOptions, Received, receive_file};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use record::fuzz;
pub use send::{SendOptions, Sent, send_file};
pub use unfinished::{Unfinished, unfinished};

use std::sync::Arc;

/// How far a transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// The file, by the name it has on this side.
    pub name: String,
    /// Bytes of the file that are done, those from an earlier attempt included.
    pub done: u64,
    /// Bytes of the file.
    pub total: u64,
}

/// What a transfer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Hashing what an earlier attempt left.
    Checking,
    /// Moving bytes.
    Moving,
    /// The file is complete and verified.
    Done,
}

/// Called with every step of a transfer. It must not block.
pub type ProgressHandler = Arc<dyn Fn(Progress) + Send + Sync>;

/// Bytes read, hashed and written at once.
const BLOCK: usize = 1 << 20;
/// Blocks between the disk and the stream: with [`BLOCK`] this bounds the memory of a transfer.
const BLOCKS_AHEAD: usize = 4;
