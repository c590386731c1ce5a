//! Sealed QUIC: a session that strangers can neither read nor find (docs/protocol.md).
//!
//! | look for | in |
//! |---|---|
//! | binding, connecting, accepting | `endpoint`, `established` |
//! | the handshake and its messages | `handshake`, `messages`, `resolver` |
//! | keys of packets | `schedule`, `protection` |
//! | who is let in | `knock`, `replay`, `gate` |
//! | what the engine sees of it | `adapter` |
//! | what the network sees of it | `socket`, `runtime` |
//! | settings and their growth | `transport`, `window`, `meter`, `urgency` |

mod adapter;
mod endpoint;
mod error;
mod established;
mod gate;
mod handshake;
mod knock;
mod messages;
mod meter;
mod protection;
mod replay;
mod resolver;
mod runtime;
mod schedule;
mod socket;
mod stats;
#[cfg(test)]
mod tests;
mod transport;
mod urgency;
mod window;

pub(crate) use endpoint::{Wire, WireConfig};
pub use error::WireError;
pub(crate) use established::{Established, Exporter, Incoming};
pub use handshake::HandshakeError;
pub use stats::WireStats;
pub(crate) use urgency::CloseLatch;
