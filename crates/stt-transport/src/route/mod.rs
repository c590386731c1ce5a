//! Routes: ways for sealed datagrams to reach a peer. UDP is one, a WebSocket another.
//!
//! There is one endpoint and one socket object. To the engine above, a peer behind a WebSocket has a
//! *stand-in* address of 240.0.0.0/4, which no network uses (RFC 1112, section 4); [`RouteSocket`]
//! sends what goes there as binary messages, one datagram each. Datagrams are sealed, masked and
//! knock exactly as they do over UDP: a WebSocket carries them and decides nothing.
//!
//! A session is not bound to an address: a [`Link`] tells where its datagrams go at the moment, and
//! a [`PathManager`](migration::Mover) at each end agrees with the other one when that changes.
//!
//! | look for | in |
//! |---|---|
//! | what a person may write as an address | `target`, [`Address`] (`address`) |
//! | which stand-in is whom | `table` |
//! | one way to a peer | `path` |
//! | whose datagram it is, and where it goes | `link` |
//! | all sockets as one | `socket` |
//! | when to move, and how it is agreed | `mover`, `watch`, `datagram`, `sequence` |
//! | the task that does it | `driver` |
//! | the route of one session | `session`, `error` |
//! | what a web browser sees, and what a web server answers | `http`, `answer` |
//! | listening, dialling | `websocket` |
//! | its frames | `frame` |
//! | moving datagrams in and out of it | `carry` |
//! | TCP, or what is in its place | `network` |
//! | TLS in front of it | `tls` |

mod address;
mod driver;
mod error;
mod frame;
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub mod fuzz;
mod http;
mod link;
mod liveness;
mod mapped_addrs;
mod migration;
mod multi_socket;
mod path;
mod path_message;
mod replay_window;
mod session;
#[cfg(test)]
mod simulation;
mod target;
mod tcp;
mod tls;
mod udp;
mod websocket;
mod websocket_io;
mod websocket_upgrade;

pub use address::{Address, AddressError, IntoAddress};
pub(crate) use driver::{DriverDeps, Input, Inputs, SessionStarted, run};
pub use error::RouteError;
#[cfg(any(test, feature = "testing"))]
pub(crate) use http::COOKIE;
pub(crate) use link::{Directory, Id, Link, NextHop};
pub(crate) use liveness::Traffic;
pub(crate) use mapped_addrs::{Table, WEBSOCKET_MTU, is_stand_in};
pub(crate) use migration::{PathManager, Start};
pub(crate) use multi_socket::{MAX_LOCALS, RouteRoom, RouteSocket, is_passing};
pub use path::RouteKind;
pub(crate) use path::{Path, Via};
pub(crate) use path_message::{RouteKeys, id_of};
pub use session::Route;
pub(crate) use session::Routes;
pub use session::SessionRoute;
pub(crate) use target::Web;
pub use target::{HostPort, Target};
pub(crate) use tcp::Tcp;
pub use tcp::{Accept, ByteStream, Network, Soon, Stream};
pub(crate) use tls::{Roots, Tls, TlsError};
pub(crate) use udp::SystemSocket;
pub use udp::{DatagramSocket, Room};
pub use websocket::DialError;
pub(crate) use websocket::{Dialler, Listener, WebSocketLimits};
