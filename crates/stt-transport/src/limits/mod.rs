//! What peers, also those that hold the seed, may take from an endpoint before they have a session.
//!
//! | look for | in |
//! |---|---|
//! | handshakes: how often, how many unfinished | `door` (the rule), `doorkeeper` |
//! | events a second | `bucket` |
//! | bytes that sessions share | `pool` |
//!
//! What sessions may take is bounded where they are: in the crate `stt`.

mod bucket;
mod door;
mod doorkeeper;
mod pool;

use std::time::Instant;

pub use bucket::TokenBucket;
pub use door::DoorLimits;
pub(crate) use door::{Door, Shut};
pub(crate) use doorkeeper::{Begun, Doorkeeper};
pub use pool::{Claim, Pool};

/// The time of the runtime, which a test may hold.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
