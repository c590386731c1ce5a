//! A durable, encrypted log: records in order, acknowledged when they are synced.
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
