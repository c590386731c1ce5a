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

mod delivery_settings;
mod error;
pub(crate) mod flow_control;
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub mod fuzz;
mod handle;
pub(crate) mod header;
pub(crate) mod inline_task;
pub(crate) mod label;
mod raw;
pub(crate) mod reassembly;
pub(crate) mod recv_queue;
pub(crate) mod send_queue;
pub(crate) mod unordered_queue;
pub(crate) mod varint;
mod waker_registry;

pub use delivery_settings::DeliveryStats;
pub use error::StreamError;
pub(crate) use handle::into_result;
pub(crate) use handle::{PANICKED, StreamShared};
pub use handle::{Stream, StreamOptions, StreamStats};
pub use raw::RawStream;
pub(crate) use reassembly::{unpinned, unpinned_part};
