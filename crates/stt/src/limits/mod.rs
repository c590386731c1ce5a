//! Bounds of what peers, also those that hold the seed, may take from this node.
//!
//! | look for | in |
//! |---|---|
//! | all of them with their defaults | [`Limits`] (`settings`) |
//! | what they add up to | `bound` |
//! | handshakes: how often, how many unfinished | `door` (the rule), `doorkeeper` |
//! | a processor's time | `effort` |
//! | bytes a second | `bucket` (the rule), `throttle` (waiting for it) |
//! | unread bytes of all sessions together | `held` |
//! | unacknowledged and promised bytes of all sessions together | `pool`, `send_window` |
//! | what was held up or refused | `stats` |
//!
//! Sessions and streams are counted where they are kept: `node::Hub` and `session::table`.

mod bound;
mod bucket;
mod door;
mod doorkeeper;
mod effort;
mod held;
mod pool;
mod send_window;
mod settings;
mod stats;
mod throttle;

use std::time::Instant;

pub(crate) use bucket::TokenBucket;
pub(crate) use door::{Door, DoorLimits, Shut};
pub(crate) use doorkeeper::{Begun, Doorkeeper};
pub(crate) use effort::Effort;
pub(crate) use held::{Charge, Held, Unread};
pub(crate) use pool::{Claim, Pool};
pub(crate) use send_window::{Grown, SendWindow};
pub(crate) use settings::{Limits, per_second};
pub use stats::LimitStats;
pub(crate) use stats::{LimitCounters, count};
pub(crate) use throttle::Throttle;

/// The time of the runtime, which a test may hold.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
