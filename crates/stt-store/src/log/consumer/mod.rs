//! Consumers of a log: named cursors that remember on disk what was acknowledged.
//!
//! The rules are in `machine`, which knows neither clock nor disk. `engine` says what they stand on:
//! `directory` is a directory with a file for each `cursor`, a JetStream server the other. `group`
//! joins the two, `handle` is what applications see.

mod cursor;
mod dead;
mod directory;
mod engine;
mod group;
mod handle;
mod lease;
mod machine;
mod manage;
mod options;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod tests;

pub use dead::DeadLetter;
pub(super) use dead::OVERHEAD;
pub(super) use group::Group;
pub use handle::{Consumer, ConsumerRecord, ConsumerStats};
pub use lease::Lease;
pub use manage::ConsumerInfo;
pub(super) use manage::Consumers;
pub use options::{ConsumerOptions, ConsumerStart};
#[cfg(feature = "jetstream")]
pub(super) use {
    cursor::{PLACE, Saved, decode, encode},
    engine::{CONSUMERS_MAX, Engine, Keeper, Opened, Snapshot},
    machine::Want,
};
