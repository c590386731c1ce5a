//! Files and directories over a session: resumable, verified, never overwriting unasked.
//!
//! | look for | in |
//! |---|---|
//! | sending | [`send()`] (`send`, `source`) |
//! | receiving | [`receive()`] (`receive`) |
//! | what the two sides say | `record`; what is offered: `list` |
//! | a directory as it is read, and as it is received | `tree`, `folder` |
//! | the unfinished file on disk | `partial` |
//! | what interrupted transfers left | [`unfinished()`] |
//! | who receives which name | `active` |
//! | names from a peer | [`safe_name`], [`printable`] (`name`) |
//!
//! One stream of the protocol [`LABEL`] carries a transfer. The sender offers a file, or a directory
//! with all that is in it; the receiver answers for each file with how much of it is there already
//! and the hash of that; the sender goes on from there, or from the start when its file differs, and
//! ends with the hash of the whole file. The receiver writes under temporary names, compares, and
//! only then gives the file or directory its name (docs/streams.md, FILE-1 to FILE-5).
//!
//! ```
//! use stt::{Key, Mode, Node, SharedSeed, transfer};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let seed = SharedSeed::from_key(Key::generate()?);
//! # let server = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
//! # let client = Node::builder(seed).host("127.0.0.1").start(Mode::Client).await?;
//! # let (from, inbox) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! # let (photos, dir) = (from.path().join("photos"), inbox.path().to_owned());
//! # std::fs::create_dir(&photos)?;
//! # std::fs::write(photos.join("cat.jpg"), "meow")?;
//! let _receiving = server.handle_protocol(transfer::LABEL, move |_session, stream| {
//!     let dir = dir.clone();
//!     async move {
//!         match transfer::receive(stream, &dir, &Default::default()).await {
//!             Ok(received) => println!("{} arrived", received.name),
//!             Err(error) => println!("something did not arrive: {error}"),
//!         }
//!     }
//! })?;
//!
//! let session = client.connect(&server.local_addr().to_string()).await?;
//! let sent = transfer::send(&session, &photos, &Default::default()).await?;
//! assert_eq!((sent.name.as_str(), sent.files), ("photos", 1));
//! # assert_eq!(std::fs::read(inbox.path().join("photos/cat.jpg"))?, b"meow");
//! # Ok(())
//! # }
//! ```

mod acknowledged;
mod active;
mod error;
mod folder;
mod leave;
mod list;
mod name;
mod partial;
mod receive;
mod record;
mod send;
mod source;
mod tree;
mod unfinished;

pub use error::TransferError;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use list::fuzz as fuzz_list;
pub use name::{printable, safe_name};
pub use receive::{ReceiveOptions, Received, decline_first_version, receive};
pub use record::Decline;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use record::fuzz;
pub use send::{SendOptions, Sent, send};
pub use unfinished::{Unfinished, unfinished};

use std::sync::Arc;

/// The protocol of transfers, version 2: what a receiver's
/// [`Node::handle_protocol`](crate::Node::handle_protocol) is called with.
pub const LABEL: &str = "stt/file/2";

/// How far a transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// The file or directory, by the name it has on this side.
    pub name: String,
    /// Bytes that are done, those from an earlier attempt included: at a receiver those that are
    /// in its files, at a sender those that the receiver's machine has acknowledged.
    pub done: u64,
    /// Bytes of all files.
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
    /// All is complete and verified.
    Done,
}

/// Called with every step of a transfer. It must not block.
pub type ProgressHandler = Arc<dyn Fn(Progress) + Send + Sync>;

/// Bytes read, hashed and written at once.
const BLOCK: usize = 1 << 20;
/// Blocks between the disk and the stream: with [`BLOCK`] this bounds the memory of a transfer.
const BLOCKS_AHEAD: usize = 4;
/// Answers that a receiver gives before the file that they are for is due.
const AHEAD: usize = 16;
