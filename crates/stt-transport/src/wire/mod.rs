//! Sealed QUIC: a session that strangers can neither read nor find (docs/protocol.md).
//!
//! | look for | in |
//! |---|---|
//! | binding, connecting, accepting | `config`, `endpoint`, `established` |
//! | the handshake and its messages | `handshake`, `messages`, `noise`, `resolver` |
//! | keys of packets, and newer ones | `schedule`, `protection`, `renewal`, `rekey` |
//! | who is let in | `knock`, `clock`, `replay`, `knock_log`, `gate` |
//! | what the engine sees of it, and what moves it | `adapter`, `engine` |
//! | what the network sees of it | `socket`, `opaque` |
//! | what a responder tells of its other ports | `places` |
//! | settings and their growth | `transport`, `window`, `meter`, `urgency` |

mod adapter;
mod attempts;
mod clock;
mod config;
mod endpoint;
mod engine;
mod error;
mod established;
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub mod fuzz;
mod gate;
mod handshake;
mod knock;
mod knock_log;
#[cfg(any(test, feature = "testing"))]
mod member;
mod messages;
mod meter;
mod noise;
mod opaque;
mod places;
mod protection;
mod rekey;
mod renewal;
mod replay;
mod resolver;
mod schedule;
mod socket;
mod stats;
#[cfg(test)]
mod tests;
mod transport;
mod urgency;
mod window;

pub use config::{EndpointConfig, number_in_range, time_in_range};
pub use endpoint::{Endpoint, Unreached};
pub use engine::{
    Chunk, Connection, ConnectionError, ConnectionStats, DatagramError, ReadError, RecvStream,
    SendStream, Sink, WriteError, Written,
};
pub use error::{PORT_IN_USE, WireError};
pub use established::{Established, Exporter, Incoming, Unclaimed};
pub use handshake::HandshakeError;
#[cfg(any(test, feature = "testing"))]
pub(crate) use knock::KnockKey;
#[cfg(any(test, feature = "testing"))]
pub use member::{Member, put};
pub(crate) use meter::Meter;
pub use renewal::Renewal;
pub use stats::TransportStats;
pub(crate) use transport::MIN_MTU;
pub use transport::{ETHERNET_MTU, FIRST_RTT, STREAMS};
pub use urgency::CloseLatch;
