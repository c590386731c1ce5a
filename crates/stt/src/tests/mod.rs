//! Nodes against peers that are written by hand, and what the fuzzer calls.

mod by_hand;
mod holes;

use std::time::Duration;

use stc::Key;
use stt_transport::{Endpoint, EndpointConfig, Established, Identity, SharedSeed};

fn seed(byte: u8) -> SharedSeed {
    SharedSeed::from_key(Key::from_bytes([byte; 32]))
}

/// A member without anything above its connections.
fn endpoint(seed: SharedSeed) -> Endpoint {
    let config = EndpointConfig::new(seed, Identity::ephemeral().unwrap());
    Endpoint::bind(config.bind(([127, 0, 0, 1], 0)).accepting(true)).unwrap()
}

/// The fuzzer's targets on seeded noise, so that they stay alive between two runs of it.
#[test]
fn the_targets_of_the_fuzzer_hold() {
    let mut random = fastrand::Rng::with_seed(7);
    for length in (0..600).chain(1190..1240) {
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        crate::stream::fuzz::header(&bytes);
        crate::stream::fuzz::reassembly(&bytes);
        crate::stream::fuzz::inbound(&bytes);
        crate::session::fuzz::control(&bytes);
        crate::session::fuzz::close_reason(&bytes);
    }
}
