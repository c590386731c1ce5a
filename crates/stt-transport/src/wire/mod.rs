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

mod advertised_ports;
mod clock;
mod config;
mod connect_attempts;
mod crypto_adapter;
mod endpoint;
mod engine;
mod error;
mod established;
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public for the fuzzer alone")]
pub mod fuzz;
mod gate;
mod handshake;
mod key_schedule;
mod key_update;
mod knock;
mod knock_log;
#[cfg(any(test, feature = "testing"))]
mod member;
mod messages;
mod meter;
mod noise;
mod noise_resolver;
mod obfuscation;
mod packet_protection;
mod path_aware;
mod rekey_exchange;
mod replay_table;
mod socket;
mod stats;
#[cfg(test)]
mod tests;
mod transport_config;
mod window_growth;

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
pub use path_aware::CloseLatch;
pub use rekey_exchange::Renewal;
pub use stats::TransportStats;
pub(crate) use transport_config::MIN_MTU;
pub use transport_config::{ETHERNET_MTU, FIRST_RTT, STREAMS};
