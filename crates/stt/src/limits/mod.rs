//! Bounds of what peers, also those that hold the seed, may take from this node.
//!
//! | look for | in |
//! |---|---|
//! | all of them with their defaults | [`Limits`] (`settings`) |
//! | what they add up to | `bound` |
//! | a processor's time | `effort` |
//! | bytes a second | `throttle` |
//! | unread bytes of all sessions together | `held` |
//! | unacknowledged bytes of all sessions together | `send_window` |
//! | what was held up or refused | `stats` |
//!
//! Handshakes are bounded by the transport. Sessions and streams are counted where they are kept:
//! `node::Hub` and `session::stream_table`.

mod bound;
mod effort;
mod receive_budget;
mod send_window;
mod settings;
mod stats;
mod throttle;

use std::time::Instant;

pub(crate) use effort::Effort;
pub(crate) use receive_budget::{Charge, NodeBudget, SessionBudget};
pub(crate) use send_window::{Grown, SendWindow};
pub(crate) use settings::Limits;
pub use stats::LimitStats;
pub(crate) use stats::{LimitCounters, count};
pub(crate) use throttle::Throttle;

/// The time of the runtime, which a test may hold.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
