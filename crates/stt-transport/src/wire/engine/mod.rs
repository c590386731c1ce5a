//! Drives the engine, `quinn-proto`: it has the rules of QUIC, this has its socket, clock and tasks.
//!
//! One task receives for all connections of a node, and each connection has one for its timers and
//! for whatever is much. What is little is done at once by whoever is there: the receiving task
//! hands a few datagrams to their connection, and who writes a few bytes sends them. To wake a task
//! costs more than a short message does.
//!
//! The engine's answers to those without a connection are never sent: strangers get nothing.
//!
//! | look for | in |
//! |---|---|
//! | receiving, connecting, accepting | `endpoint` |
//! | a connection's state, and what moves it | `drive` |
//! | who moves it at which moment | `handover` |
//! | why it is over | `error` |
//! | what the layers above do with a connection | `connection`, `send`, `recv` |

mod connection;
mod drive;
mod endpoint;
mod error;
mod handover;
mod recv;
mod send;
mod sync;

pub(crate) use connection::Connecting;
pub use connection::{Connection, ConnectionStats};
pub(crate) use endpoint::Endpoint;
#[cfg(test)]
pub(crate) use endpoint::Trap;
pub use error::{ConnectionError, DatagramError, ReadError, WriteError};
pub use recv::{Chunk, RecvStream, Sink};
pub use send::{SendStream, Written};
