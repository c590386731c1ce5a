//! For tests, here and in the crates above. Not built otherwise.
//!
//! | look for | in |
//! |---|---|
//! | a member that writes its packets by hand | [`Member`] |
//! | what a network does to datagrams | `weather` |
//! | vectors of an independent program | `vectors` |
//! | what opens a WebSocket by hand | [`websocket_cookie`] |
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may fail by panicking"
)]

pub mod vectors;
mod weather;

pub use weather::Weather;

pub use crate::wire::{Member, put};
use crate::{keyring::Keyring, route, seed::SharedSeed, wire::KnockKey};

/// The cookie of a request for a WebSocket that has a good knock of `seed`, made at `time`, in
/// seconds since 1970.
#[must_use]
pub fn websocket_cookie(seed: SharedSeed, nonce: [u8; 8], time: u32) -> String {
    let keyring = Keyring::from(seed);
    let knock = KnockKey::new(&keyring.entries()[0].knock, None).knock(nonce, time);
    let digits: String = knock.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}={digits}", route::COOKIE)
}
