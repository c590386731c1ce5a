//! Encrypted storage addressed by hash, on backends that can be exchanged.
//!
//! | look for | in |
//! |---|---|
//! | storing values by hash or by name, pins, garbage collection | [`Chamber`] |
//! | the same with two calls, `store` and `retrieve` | [`BinaryStorage`] |
//! | what a backend must do | [`StorageProvider`] |
//! | the backends | [`MemoryProvider`], [`DiskProvider`], `ObjectProvider` (feature `object`) |
//! | an ordered log whose acknowledgement means synced | [`log::Log`] |
//! | the same on a NATS server | `log::jetstream` (feature `jetstream`) |
//! | why something failed | [`StoreError`], [`Damage`], [`SettingError`] |
//!
//! # Put and get
//!
//! The same bytes have one address, and are stored once.
//!
//! ```
//! use stt_store::{Chamber, ChamberKey, ChamberOptions};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let key = ChamberKey::from_key(&stc::Key::generate()?);
//! let chamber = Chamber::open(&key, dir.path(), ChamberOptions::default()).await?;
//! let id = chamber.put("21.5 degrees").await?;
//! assert_eq!(chamber.get(&id).await?, "21.5 degrees");
//! assert_eq!(chamber.get_range(&id, 0..4).await?, "21.5");
//! # Ok(())
//! # }
//! ```
//!
//! # Names, and what nobody keeps any more
//!
//! ```
//! use stt_store::{Chamber, ChamberKey};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = ChamberKey::from_key(&stc::Key::generate()?);
//! let chamber = Chamber::in_memory(&key).await?;
//! let first = chamber.put_named("settings", "volume: 3").await?;
//! chamber.put_named("settings", "volume: 5").await?;
//! assert_eq!(chamber.get_named("settings").await?, "volume: 5");
//!
//! // No name points to the first value now, so that it is collected.
//! chamber.collect(false).await?;
//! assert!(!chamber.contains(&first).await?);
//! # Ok(())
//! # }
//! ```
//!
//! # Bytes in and out
//!
//! Calls that keep bytes take a [`Payload`]: bytes or text, owned, shared or borrowed. What they give
//! is [`Bytes`], which clones and slices without copying. What is only read is a `&[u8]`. Several
//! records at once are `Bytes` already. Backends read into a `Vec<u8>`, because the store decrypts in
//! place what they give.
//!
//! The bytes on disk, and what they reveal, are specified in `docs/storage.md`.
//!
//! Every asynchronous call wants a Tokio runtime, because files are read and written on its
//! blocking threads.

mod binary_storage;
mod blob;
mod chamber;
mod damage;
mod disk;
mod error;
pub mod log;
mod memory;
#[cfg(feature = "object")]
mod object;
mod payload;
mod provider;
mod seal;
mod setting_error;
#[cfg(test)]
mod workload;

pub use binary_storage::BinaryStorage;
pub use blob::{BlobName, BlobNameError, BlobStat};
pub use bytes::{self, Bytes};
pub use chamber::{
    Chamber, ChamberKey, ChamberOptions, ChamberStats, Collected, ContentInfo, ContentReader,
    FileSource, Keep, NamedEntry, Problem, Protection, RebuildReport, Removed, VerifyReport,
};
pub use damage::{Damage, DamagedPart};
pub use disk::{DiskOptions, DiskProvider};
pub use error::{Holder, StoreError};
pub use memory::MemoryProvider;
#[cfg(feature = "object")]
pub use object::ObjectProvider;
#[cfg(feature = "object")]
pub use object_store;
pub use payload::Payload;
pub use provider::{
    BlobReader, BlobWriter, BoxFuture, KindUsage, Op, Source, StorageProvider, Swept, Usage,
};
pub use setting_error::{SettingError, SettingValue};
pub use stc::{self, Cause, Coded, ContentId, ContentIdError};
