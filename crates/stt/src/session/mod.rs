//! Sessions: one peer, its streams, and why it ended.
//!
//! | look for | in |
//! |---|---|
//! | what the application holds | [`Session`] (`handle`) |
//! | the numbers of streams | `table` |
//! | what all tasks of a session share | `shared` |
//! | what a session needs of its node | `host` |
//! | messages that nobody claimed | `packets` |
//! | the tasks: whole session, one direction each | `driver`, `inbound`, `outbound` |
//! | what comes before a stream's header is complete | `early` |
//! | delivery in datagrams and by a deadline | `datagrams`, `deadline` |
//! | frames of the application | `frames` |
//! | handing bytes to the engine, the urgent first | `feed`, `precedence` |
//! | streams of protocols | `labelled` |
//! | directions that were reset before their header came | `resets` |
//! | adaptive priorities | `adaptive` |
//! | records between the two sessions (credit) | `control` |

mod adaptive;
mod control;
mod datagrams;
mod deadline;
mod driver;
mod early;
mod frames;
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub mod fuzz;
mod handle;
mod host;
mod labelled;
mod liveness;
mod paced_writer;
mod packets;
mod resets;
mod session_state;
mod shard_assembly;
mod stats;
mod stream_reader;
mod stream_table;
mod stream_writer;
#[cfg(test)]
mod vectors;
mod write_order;

pub(crate) use driver::code;
pub use frames::{FrameDispatch, FrameError};
pub use handle::Session;
pub(crate) use host::{Common, Pulse, SessionHost};
pub use packets::Packet;
pub(crate) use packets::Packets;
pub(crate) use session_state::{SessionShared, SessionStart};
pub use stats::SessionStats;
