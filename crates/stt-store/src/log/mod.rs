//! A durable, encrypted log: records in order, acknowledged when they are synced.
//!
//! | look for | in |
//! |---|---|
//! | appending and reading | [`Log`], [`DurableLog`], [`Position`] |
//! | handling each record once, again after a crash, or never | [`Consumer`], [`DeadLetter`] |
//! | how much is kept, how large it may grow | [`LogOptions`], [`ConsumerOptions`] |
//! | the same on a NATS server | `jetstream` |
//! | why something failed | [`LogError`] |
//!
//! ```
//! use stt_store::{
//!     ChamberKey,
//!     log::{ConsumerOptions, Log, LogOptions},
//! };
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let key = ChamberKey::from_key(&stc::Key::generate()?);
//! let log = Log::open(&key, dir.path(), LogOptions::default()).await?;
//! log.append("order 1").await?; // On the disk when this returns.
//!
//! let bills = log.consumer("bills", ConsumerOptions::default()).await?;
//! let order = bills.next().await?;
//! assert_eq!(order.record().data, "order 1");
//! order.ack().await?; // Without this it comes again, also after a crash.
//! # Ok(())
//! # }
//! ```
//!
//! The bytes on disk, the promises and the limits are in `docs/log.md`.

mod committer;
mod consumer;
mod error;
mod handle;
#[cfg(feature = "jetstream")]
pub mod jetstream;
mod keys;
mod options;
mod position;
mod reader;
mod retention;
mod segment;
mod segment_file;
mod shared;
mod sync_report;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

pub use consumer::{
    Consumer, ConsumerInfo, ConsumerOptions, ConsumerRecord, ConsumerStart, ConsumerStats,
    DeadLetter, Lease,
};
pub use error::LogError;
pub use handle::{DurableLog, Log, LogStats, Record};
pub use options::LogOptions;
pub use position::Position;
pub use sync_report::{ServerSync, SyncReport};

/// Milliseconds since 1970 by the clock of the machine.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
