//! What peers, also those that hold the seed, may take from an endpoint before they have a session.
//!
//! | look for | in |
//! |---|---|
//! | handshakes: how often, how many unfinished | `door` (the rule), `doorkeeper` |
//! | events a second | `bucket` |
//! | bytes that sessions share | `pool` |
//!
//! What sessions may take is bounded where they are: in the crate `stt`.

mod handshake_limit;
mod handshake_limiter;
mod pool;
mod token_bucket;

use std::time::Instant;

pub use handshake_limit::HandshakeLimits;
pub(crate) use handshake_limit::{HandshakeLimit, Rejected};
pub(crate) use handshake_limiter::{HalfOpenGuard, HandshakeLimiter};
pub use pool::{Claim, Pool};
pub use token_bucket::TokenBucket;

/// The time of the runtime, which a test may hold.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
