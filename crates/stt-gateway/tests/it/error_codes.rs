//! Every error has a row in docs/errors.md that says the same.

use std::{io, net::SocketAddr};

use stc::{Cause, Coded};
use stt_gateway::{GatewayError, RequestError};

use crate::error_page;

#[test]
fn every_error_has_its_row() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let text = || "x".to_owned();
    let cause = || Cause::text("x");
    let all: Vec<Box<dyn Coded>> = vec![
        Box::new(GatewayError::Unprotected { address, token: false, tls: false }),
        Box::new(GatewayError::PortInUse { address }),
        Box::new(GatewayError::Bind { address, cause: io::Error::other("x") }),
        Box::new(GatewayError::Token { path: "x".into(), cause: cause() }),
        Box::new(GatewayError::TokenExposed { path: "x".into() }),
        Box::new(GatewayError::Tls { what: text(), cause: cause() }),
        Box::new(GatewayError::OutOfRange { name: "x", value: 3, min: 1, max: 2 }),
        Box::new(GatewayError::Internal { cause: cause() }),
        Box::new(RequestError::Invalid { field: "x", what: text() }),
        Box::new(RequestError::Unauthenticated),
        Box::new(RequestError::Deadline { millis: 1 }),
        Box::new(RequestError::TooLarge { size: 2, limit: 1 }),
        Box::new(RequestError::Full { what: "x", limit: 1 }),
        Box::new(RequestError::Stopping),
        Box::new(RequestError::Checksum { what: text() }),
        Box::new(RequestError::Conflict { key: text() }),
        Box::new(RequestError::UnknownPeer { id: text() }),
        Box::new(RequestError::NotConnected { id: text() }),
        Box::new(RequestError::NoSwarm),
        Box::new(RequestError::NoLog),
        Box::new(RequestError::NotShared { hash: text() }),
        Box::new(RequestError::UnknownComponent { name: text() }),
        Box::new(RequestError::UnknownService { name: text() }),
        Box::new(RequestError::SubscriberTaken { id: text() }),
        Box::new(RequestError::EventGap { after: 1, first: 3 }),
        Box::new(RequestError::EventEpoch { given: 1, current: 2 }),
    ];
    error_page::compare(all);
}
