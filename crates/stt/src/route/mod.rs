//! Routes: ways for sealed datagrams to reach a peer. UDP is one, a WebSocket another.
//!
//! There is one endpoint and one socket object. To the engine above, a peer behind a WebSocket has a
//! *stand-in* address of 240.0.0.0/4, which no network uses (RFC 1112, section 4); [`RouteSocket`]
//! sends what goes there as binary messages, one datagram each. Datagrams are sealed, masked and
//! knock exactly as they do over UDP: a WebSocket carries them and decides nothing.
//!
//! | look for | in |
//! |---|---|
//! | what a person may write as an address | `target` |
//! | which stand-in is whom | `table` |
//! | what the engine sees | `socket` |
//! | what a web browser sees | `http` |
//! | listening, dialling, moving messages | `websocket` |
//! | TLS in front of it | `tls` |

mod http;
mod socket;
mod table;
mod target;
mod tls;
mod websocket;

#[cfg(fuzzing)]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub use http::fuzz;
pub(crate) use socket::RouteSocket;
pub(crate) use table::{Table, WEBSOCKET_MTU, is_stand_in};
pub(crate) use target::{Place, Target};
pub(crate) use tls::{Roots, Tls, TlsError};
pub(crate) use websocket::{DialError, Listener, dial};
