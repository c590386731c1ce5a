//! Sessions: one peer, its streams, and why it ended.
//!
//! | look for | in |
//! |---|---|
//! | what the application holds | [`Session`] (`handle`) |
//! | the numbers of streams | `table` |
//! | what all tasks of a session share | `shared` |
//! | the tasks: whole session, one direction each | `driver`, `inbound`, `outbound` |
//! | records between the two sessions (credit) | `control` |

mod control;
mod driver;
mod handle;
mod inbound;
mod outbound;
mod shared;
mod stats;
mod table;

pub use handle::Session;
pub(crate) use shared::{SessionShared, SessionStart};
pub use stats::SessionStats;
