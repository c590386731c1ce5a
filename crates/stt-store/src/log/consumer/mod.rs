//! Consumers of a log: named cursors that remember on disk what was acknowledged.
//!
//! The rules are in `machine`, which knows neither clock nor disk; `cursor` is the file of one
//! consumer, `group` joins the two with the log, `handle` is what applications see.

mod cursor;
mod dead;
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
pub use options::{ConsumerOptions, ConsumerStart};
