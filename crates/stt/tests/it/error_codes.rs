//! Every error has a code of its own, one line of text, and a row in docs/errors.md that says the
//! same about retries, and what its hint says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use stt::{
    Address, CloseReason, Coded, ConnectError, HandshakeError, IdentityError, KeyringError, NodeId,
    Priority, ProtocolError, Refusal, RouteError, RouteKind, SessionId, SharedSeedError,
    StartError, StreamError, WireError,
    codec::CodecError,
    delivery::DeliveryError,
    dispatch::DispatchError,
    endpoints::{EndpointError, EndpointId},
    events::EventError,
    resume::ResumeError,
    transfer::{Decline, TransferError},
};

use crate::error_page;

/// What stops a node, a session or a transfer.
fn errors_of_nodes() -> Vec<Box<dyn Coded>> {
    let address = || "127.0.0.1:1".parse().unwrap();
    let text = || "x".to_owned();
    let cause = || stc::Cause::text("x");
    let path = || std::path::PathBuf::from("x");
    let number = |setting| StartError::NumberOutOfRange { setting, got: 3, least: 1, most: 2 };
    let handshakes = [
        HandshakeError::Tampered,
        HandshakeError::Malformed,
        HandshakeError::OutOfTurn,
        HandshakeError::Version,
        HandshakeError::Suite,
        HandshakeError::LowOrderKey,
        HandshakeError::UnsignedKey,
        HandshakeError::WrongPeer,
        HandshakeError::Internal,
    ];
    let mut all: Vec<Box<dyn Coded>> =
        handshakes.map(|error| -> Box<dyn Coded> { Box::new(WireError::Handshake(error)) }).into();
    for refusal in [Refusal::NotAccepting, Refusal::Denied, Refusal::Full] {
        all.push(Box::new(WireError::Refused(refusal)));
        all.push(Box::new(ConnectError::Refused(refusal)));
    }
    for decline in [
        Decline::Exists,
        Decline::Busy,
        Decline::DiskFull,
        Decline::Name,
        Decline::Corrupt,
        Decline::Other,
    ] {
        all.push(Box::new(TransferError::Declined { decline }));
    }
    let others: Vec<Box<dyn Coded>> = vec![
        Box::new(SharedSeedError::Empty),
        Box::new(SharedSeedError::File { path: path(), cause: cause() }),
        Box::new(SharedSeedError::Ended),
        Box::new(SharedSeedError::Guessable { guesses_log10: 1 }),
        Box::new(KeyringError::Full { max: 4 }),
        Box::new(KeyringError::Unknown),
        Box::new(KeyringError::Last),
        Box::new("x".parse::<NodeId>().unwrap_err()),
        Box::new(IdentityError::EmptySeed),
        Box::new(IdentityError::Keys),
        Box::new(WireError::Bind { address: address(), reason: cause() }),
        Box::new(WireError::KnockLog { path: path(), reason: cause() }),
        Box::new(WireError::NeedsKnockLog),
        Box::new(WireError::Address { address: address() }),
        Box::new(WireError::NoAnswer { address: address() }),
        Box::new(WireError::PeerClosed { code: 1 }),
        Box::new(WireError::PeerGaveUp),
        Box::new(WireError::Transport { reason: cause() }),
        Box::new(WireError::Closed),
        Box::new(WireError::from(stc::random::RandomError::Unavailable)),
        Box::new(StartError::NoNodeSeed),
        Box::new(number("x")),
        Box::new(StartError::Certificate { cause: cause() }),
        Box::new(StartError::HostNotFound { host: text(), cause: cause() }),
        Box::new(StartError::PortInUse { address: address() }),
        Box::new(StartError::Listen { address: "wss://h".parse().unwrap() }),
        Box::new(ConnectError::Certificate { host: text(), port: 1, cause: cause() }),
        Box::new(ConnectError::WebSocket { host: text(), port: 1, cause: cause() }),
        Box::new(ConnectError::HostNotFound { host: text(), cause: cause() }),
        Box::new(ConnectError::Family { host: text(), local: address() }),
        Box::new(ConnectError::NoRoute { host: text(), port: 1 }),
        Box::new(ConnectError::NoAnswer { address: text(), within: Duration::ZERO }),
        Box::new(ConnectError::Stopped),
        Box::new(ConnectError::Full { max: 1 }),
        Box::new(StreamError::FrameTooLarge { len: 2, max: 1 }),
        Box::new(StreamError::Closed { id: 1 }),
        Box::new(StreamError::Reset { id: 1, code: 1 }),
        Box::new(StreamError::Kind { id: 1, raw: true }),
        Box::new(StreamError::Protocol { id: 1, rule: "x" }),
        Box::new(StreamError::TooMany { max: 1 }),
        Box::new(StreamError::SessionEnded(CloseReason::Timeout)),
        Box::new(TransferError::File {
            doing: "read",
            path: path(),
            source: std::io::Error::other("x"),
        }),
        Box::new(TransferError::DiskFull { path: path() }),
        Box::new(TransferError::Exists { path: path() }),
        Box::new(TransferError::Busy { name: text() }),
        Box::new(TransferError::Replaced { name: text() }),
        Box::new(TransferError::Over),
        Box::new(TransferError::Name),
        Box::new(TransferError::NotAFile { path: path() }),
        Box::new(TransferError::Unfit { path: path(), why: "x" }),
        Box::new(TransferError::Clash { path: path() }),
        Box::new(TransferError::Changed { path: path() }),
        Box::new(TransferError::Corrupt { name: text() }),
        Box::new(TransferError::Protocol { rule: "x" }),
    ];
    all.extend(others);
    all
}

/// What goes wrong within the primitives.
fn errors_of_primitives() -> Vec<Box<dyn Coded>> {
    let id = || EndpointId::try_from("a").unwrap();
    let (what, min, max, got) = ("x", 1, 2, 3);
    let host = || "h".to_owned();
    let cause = || stc::Cause::text("h");
    vec![
        Box::new(EventError::NoRuntime),
        Box::new(EventError::Name { got, max }),
        Box::new(EventError::Misspelt { nearest: "error" }),
        Box::new(EventError::TooManyHandlers { limit: 1 }),
        Box::new(EventError::TooManyNames { limit: 1 }),
        Box::new(EventError::OutOfRange { what, min, max, got }),
        Box::new(DispatchError::Reserved { frame_type: 1 }),
        Box::new(DispatchError::Taken { frame_type: 0x80 }),
        Box::new(DispatchError::Empty),
        Box::new(DispatchError::Panicked { frame_type: 0x80 }),
        Box::new(DeliveryError::OutOfRange { what, min: 0.0, max: 1.0, got: 2.0 }),
        Box::new(DeliveryError::TooLong { got: 2, max: 1 }),
        Box::new(DeliveryError::Malformed),
        Box::new(DeliveryError::Coder),
        Box::new(StreamError::Late { id: 1, within: Duration::ZERO }),
        Box::new(Priority::new(1001).unwrap_err()),
        Box::new(CodecError::OutOfRange { what, min: 1, max: 2, got: 3 }),
        Box::new(CodecError::Full { waiting: 1, limit: 1 }),
        Box::new(CodecError::Blocked { needed: 2, credit: 1 }),
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
        Box::new("".parse::<Address>().unwrap_err()),
        Box::new(StreamError::Full { id: 1 }),
        Box::new(StreamError::PathTooNarrow { got: 1, need: 2 }),
        Box::new(StreamError::UnknownSession { id: SessionId::from_bytes([0; 8]) }),
        Box::new(RouteError::HostNotFound { host: host(), cause: cause() }),
        Box::new(RouteError::Family { host: host() }),
        Box::new(RouteError::NoAnswer { kind: RouteKind::Udp }),
        Box::new(RouteError::WebSocket { cause: cause() }),
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
        Box::new(ResumeError::Away),
        Box::new(ResumeError::Left),
        Box::new(ResumeError::NotServing),
        Box::new(ResumeError::NoIdentity),
        Box::new(ResumeError::InMemory),
        Box::new(ResumeError::NotDialled),
        Box::new(ResumeError::LogDamaged { what }),
    ]
}

/// What the codes of `seed.guessable` and of both sides of a handshake share is one row.
#[test]
fn errors_that_stand_for_the_same_say_the_same() {
    let weak = stt::SharedSeed::from_bytes(b"12345").unwrap().is_guessable().unwrap();
    let (start, seed) =
        (StartError::GuessableSeed(weak), SharedSeedError::Guessable { guesses_log10: 1 });
    assert_eq!((start.code(), start.hint()), (seed.code(), seed.hint()));
    assert_eq!(start.retry_helps(), seed.retry_helps());
    let peer = WireError::PeerHandshake(HandshakeError::Tampered);
    assert_eq!((peer.code(), peer.retry_helps()), ("wire.peer_handshake", true));
    // A transfer goes on where it stopped, whatever ended its stream.
    let ended = TransferError::from(StreamError::SessionEnded(CloseReason::Timeout));
    assert_eq!((ended.code(), ended.retry_helps()), ("stream.session_ended", true));
}

#[test]
fn every_error_has_its_row() {
    error_page::compare_given(errors_of_nodes().into_iter().chain(errors_of_primitives()));
}

#[test]
fn errors_keep_what_caused_them() {
    use std::{error::Error, io};
    let cause = || stc::Cause::from(io::Error::from(io::ErrorKind::TimedOut));
    let host = || "h".to_owned();
    let errors: [Box<dyn Error>; 6] = [
        Box::new(WireError::Bind { address: "127.0.0.1:1".parse().unwrap(), reason: cause() }),
        Box::new(StartError::HostNotFound { host: host(), cause: cause() }),
        Box::new(ConnectError::WebSocket { host: host(), port: 1, cause: cause() }),
        Box::new(RouteError::WebSocket { cause: cause() }),
        Box::new(EndpointError::Send {
            id: EndpointId::try_from("x").unwrap(),
            retry_helps: true,
            cause: cause(),
        }),
        Box::new(stt_store::StoreError::Io { item: host(), cause: cause() }),
    ];
    for error in errors {
        let source = error.source().unwrap_or_else(|| panic!("{error} has no source"));
        let source = source.downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().ends_with(&source.to_string()), "{error}");
    }
}
