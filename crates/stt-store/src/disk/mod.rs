//! The disk backend: an index with the small blobs, and a file for each large one
//! (`docs/storage.md`, "On disk").

mod committer;
mod core;
mod fs;
mod index;
mod index_file;
mod location;
mod lock;
mod place;
mod provider;
mod rebuild;
mod shards;

pub(crate) use fs::{Fs, RawFile, RealFs};
pub(crate) use lock::Lock;
pub(crate) use provider::blocking;
pub use provider::{DiskOptions, DiskProvider};
pub(crate) use rebuild::{Candidate, Rebuild};

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod sim;
