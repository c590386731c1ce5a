//! What members of a swarm write to each other and what a node keeps: questions and answers before
//! a link, questions for receipts, messages, values, saved parts. Only the files of the parsers, so
//! that the engine under the swarm is not built.
#![no_main]
#![allow(dead_code, reason = "the files have more than their parsers")]

#[path = "../../crates/stt-swarm/src/dht/entries.rs"]
mod entries;
#[path = "../../crates/stt-swarm/src/pubsub/envelope.rs"]
mod envelope;
#[path = "../../crates/stt-swarm/src/engine/hello.rs"]
mod hello;
#[path = "../../crates/stt-swarm/src/pubsub/question.rs"]
mod question;
#[path = "../../crates/stt-swarm/src/dht/record.rs"]
mod record;
#[path = "../../crates/stt-swarm/src/pubsub/sequence.rs"]
mod sequence;
#[path = "../../crates/stt-swarm/src/pubsub/window.rs"]
mod window;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sequence::Sequence;

fuzz_target!(|data: &[u8]| {
    if let Some((topic, sequence)) = question::parse(data) {
        assert_eq!(question::encode(&topic, sequence), data);
    }
    if let Some(entries) = entries::decode(data) {
        let again = entries.iter().map(|(place, value)| (place, value.as_slice()));
        assert_eq!(entries::encode(again), data);
    }
    if let Some(hello) = hello::Hello::parse(data) {
        assert_eq!(hello::Hello::parse(&hello.to_bytes()), Some(hello));
    }
    if let Some(answer) = hello::Answer::parse(data) {
        assert_eq!(hello::Answer::parse(&answer.to_bytes()), Some(answer));
    }
    // Nobody signs by accident.
    assert_eq!(envelope::open("a topic", data), None);
    assert_eq!(record::open(&[0; 32], data, Duration::ZERO), None);
});
