//! Every error of the primitives has a code of its own, one line of text, and a row in
//! docs/errors.md that says the same about retries.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::{collections::HashSet, time::Duration};

use stt::{
    Coded, Priority, ProtocolError, RouteError, RouteKind, StreamError,
    codec::CodecError,
    delivery::DeliveryError,
    dispatch::DispatchError,
    endpoints::{EndpointError, EndpointId},
    events::EventError,
    resume::ResumeError,
};

fn all() -> Vec<Box<dyn Coded>> {
    let id = || EndpointId::try_from("a").unwrap();
    let (what, min, max, got) = ("x", 1, 2, 3);
    let host = || "h".to_owned();
    vec![
        Box::new(EventError::NoRuntime),
        Box::new(EventError::Name { got, max }),
        Box::new(EventError::TooManyHandlers { limit: 1 }),
        Box::new(EventError::TooManyNames { limit: 1 }),
        Box::new(EventError::OutOfRange { what, min, max, got }),
        Box::new(DispatchError::Reserved { frame_type: 1 }),
        Box::new(DispatchError::Taken { frame_type: 0x80 }),
        Box::new(DispatchError::Empty),
        Box::new(DispatchError::Panicked { frame_type: 0x80 }),
        Box::new(DeliveryError::OutOfRange { what, min: 0.0, max: 1.0, got: 2.0 }),
        Box::new(DeliveryError::TooLong { got: 2, max: 1 }),
        Box::new(DeliveryError::PathTooNarrow { got: 1, need: 2 }),
        Box::new(DeliveryError::Malformed),
        Box::new(DeliveryError::Coder),
        Box::new(StreamError::Late { id: 1, within: Duration::ZERO }),
        Box::new(Priority::new(1001).unwrap_err()),
        Box::new(CodecError::OutOfRange { what, min: 1, max: 2, got: 3 }),
        Box::new(CodecError::Full { waiting: 1, limit: 1 }),
        Box::new(CodecError::Finished),
        Box::new(CodecError::Length { stated: 1, got: 2 }),
        Box::new(CodecError::Malformed),
        Box::new(CodecError::TooLarge { got: 2, limit: 1 }),
        Box::new(CodecError::Forged),
        Box::new(CodecError::BeyondCredit { sequence: 1, limit: 1 }),
        Box::new(CodecError::Stale),
        Box::new(CodecError::Exhausted),
        Box::new(EndpointError::Unknown { id: id() }),
        Box::new(EndpointError::Taken { id: id() }),
        Box::new(EndpointError::Full { limit: 1 }),
        Box::new(EndpointError::OutOfRange { what, min, max, got }),
        Box::new(EndpointError::NoSender),
        Box::new(EndpointError::SendTimeout { id: id(), within: Duration::ZERO }),
        Box::new(EndpointError::QueueFull { id: id() }),
        Box::new(RouteError::Malformed { target: host() }),
        Box::new(RouteError::HostNotFound { host: host(), cause: host() }),
        Box::new(RouteError::Family { host: host() }),
        Box::new(RouteError::NoAnswer { kind: RouteKind::Udp }),
        Box::new(RouteError::WebSocket { cause: host() }),
        Box::new(RouteError::Superseded),
        Box::new(RouteError::Ended),
        Box::new(RouteError::TooManySockets { max: 8 }),
        Box::new(ProtocolError::Label { len: 0 }),
        Box::new(ProtocolError::Unsupported { label: host() }),
        Box::new(ProtocolError::Unknown { label: host() }),
        Box::new(ProtocolError::TooMany { label: host() }),
        Box::new(ProtocolError::Taken { label: host() }),
        Box::new(ProtocolError::TooManyHandlers { max }),
        Box::new(ResumeError::OutOfRange { what, got: host(), range: host() }),
        Box::new(ResumeError::TooLarge { got: 2, limit: 1 }),
        Box::new(ResumeError::Full { waiting: 2, limit: 1 }),
        Box::new(ResumeError::Closed),
        Box::new(ResumeError::Finished),
        Box::new(ResumeError::NotReceived { position: 1 }),
        Box::new(ResumeError::Expired { lifetime: Duration::ZERO }),
        Box::new(ResumeError::Lost),
        Box::new(ResumeError::Ticket),
        Box::new(ResumeError::PeerFull),
        Box::new(ResumeError::GivenUp { by_peer: true }),
        Box::new(ResumeError::Broken { what }),
    ]
}

#[test]
fn every_error_has_its_row() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut seen = HashSet::new();
    for error in all() {
        let (code, text) = (error.code(), error.to_string());
        assert!(seen.insert(code), "{code} twice");
        assert!(!text.contains('\n') && !text.is_empty(), "{code}: {text}");
        let row = page.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let row = row.unwrap_or_else(|| panic!("{code} has no row"));
        let retry = if error.retry_helps() { "yes" } else { "no" };
        assert_eq!(row.split('|').nth(3).map(str::trim), Some(retry), "{code}");
    }
}
