//! Sealed QUIC: a session that strangers can neither read nor find (docs/protocol.md).
//!
//! | look for | in |
//! |---|---|
//! | binding, connecting, accepting | `endpoint`, `established` |
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

pub(crate) use clock::Clock;
pub(crate) use endpoint::{Unreached, Wire, WireConfig};
pub(crate) use engine::{
    Connection, DatagramError, ReadError, RecvStream, SendStream, Sink, WriteError,
};
pub(crate) use error::PORT_IN_USE;
pub use error::WireError;
pub(crate) use established::{Established, Exporter, Incoming};
pub use handshake::HandshakeError;
#[cfg(test)]
pub(crate) use knock::KnockKey;
pub(crate) use meter::Meter;
pub(crate) use renewal::Renewal;
pub use stats::WireStats;
pub(crate) use transport::{ETHERNET_MTU, FIRST_RTT, MIN_MTU, STREAMS};
pub(crate) use urgency::CloseLatch;
