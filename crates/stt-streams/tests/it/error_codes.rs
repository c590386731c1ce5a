//! Every error has a row in docs/errors.md that says the same.

use std::time::Duration;

use stt_streams::{Coded, ErrorClass, StreamsError, TransportError, Trigger};

use crate::error_page;

#[test]
fn every_error_has_its_row() {
    let id = || "a".to_owned();
    let cause = || TransportError::new(ErrorClass::Transient, "x");
    let all: Vec<Box<dyn Coded>> = vec![
        Box::new(StreamsError::AlreadyExists { id: id() }),
        Box::new(StreamsError::NotFound { id: id() }),
        Box::new(StreamsError::Id { got: 0, max: 1 }),
        Box::new(StreamsError::Closed),
        Box::new(StreamsError::Peer { text: id() }),
        Box::new(StreamsError::Backpressure { trigger: Trigger::Buffer }),
        Box::new(StreamsError::TooMany { max: 1 }),
        Box::new(StreamsError::TooLarge { len: 2, max: 1 }),
        Box::new(StreamsError::RetriesExhausted { retries: 1, cause: cause() }),
        Box::new(StreamsError::Transport(cause())),
        Box::new(StreamsError::CircuitOpen { destination: id() }),
        Box::new(StreamsError::BudgetSpent { cause: cause() }),
        Box::new(StreamsError::Idle { after: Duration::ZERO }),
        Box::new(StreamsError::Protocol { rule: "x" }),
        Box::new(StreamsError::PeerRestarted),
        Box::new(StreamsError::OutOfRange { what: "x", min: 1, max: 2, got: 3 }),
        Box::new(StreamsError::NoRuntime),
        Box::new(StreamsError::from(stc::random::RandomError::Unavailable)),
    ];
    error_page::compare(all);
}
