//! Streams: numbered, two-way, with message boundaries or as raw bytes.
//!
//! | look for | in |
//! |---|---|
//! | what the application holds | [`Stream`] (`handle`), [`RawStream`] (`raw`) |
//! | the queue towards QUIC | `outbound` |
//! | what arrived, in order | `inbound`, `reassembly` |
//! | messages in no order | `loose` |
//! | delivery mode of a direction | `sending` |
//! | who does a task's work | `stepped` |
//! | how far a sender may go | `credit` |
//! | bytes on the wire | `header`, `label`, `varint` |
//!
//! Everything here is a rule without a socket; the tasks that move bytes are in `session`.

pub(crate) mod credit;
mod error;
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub mod fuzz;
mod handle;
pub(crate) mod header;
pub(crate) mod inbound;
pub(crate) mod label;
pub(crate) mod loose;
pub(crate) mod outbound;
mod raw;
pub(crate) mod reassembly;
mod sending;
pub(crate) mod stepped;
pub(crate) mod varint;
mod waiters;

pub use error::StreamError;
pub(crate) use handle::into_result;
pub(crate) use handle::{PANICKED, StreamShared};
pub use handle::{Stream, StreamOptions, StreamStats};
pub use raw::RawStream;
pub(crate) use reassembly::{unpinned, unpinned_part};
pub use sending::DeliveryStats;
