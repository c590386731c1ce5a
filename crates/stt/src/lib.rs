//! STT: private byte streams between machines that share a seed.
//!
//! | look for | in |
//! |---|---|
//! | starting, connecting, messages from anybody | [`Node`], [`NodeBuilder`] |
//! | one peer | [`Session`] |
//! | numbered two-way streams | [`Stream`], [`RawStream`] |
//! | what members share | [`SharedSeed`], [`Keyring`] |
//! | streams of a protocol of one's own | [`Session::open_protocol`], [`Node::handle_protocol`] |
//! | files | [`transfer`] |
//! | what happened | [`events`] |
//! | how sure and how urgent a message is | [`delivery`], [`priority`] |
//! | sealed segments over any carrier | [`codec`] |
//! | frame types of one's own | [`dispatch`] |
//! | whom one talks to, by id and name | [`endpoints`] |
//! | who most likely holds a content | [`affinity`], [`SessionPool`] |
//! | why something ended or failed | [`CloseReason`], [`ConnectError`], [`StartError`], [`StreamError`] |
//!
//! The bytes on the wire are specified in `docs/protocol.md`; `docs/ARCHITECTURE.md` shows how a
//! message travels through these modules.

pub mod affinity;
pub mod codec;
pub mod congestion;
pub mod delivery;
pub mod dispatch;
pub mod endpoints;
pub mod events;
mod id;
mod identity;
mod keyring;
mod limits;
mod node;
mod pool;
pub mod priority;
mod protocol;
mod race;
mod reason;
mod recent;
pub mod resume;
mod route;
mod seed;
mod session;
#[cfg(test)]
mod simulated;
mod stream;
pub mod transfer;
mod unwind;
mod value;
mod wakes;
mod wire;

pub use affinity::AffinityPool;
pub use codec::{BinaryStreamDecoder, BinaryStreamEncoder, StreamDecoder, StreamEncoder};
pub use delivery::Delivery;
pub use dispatch::FrameDispatcher;
pub use endpoints::EndpointManager;
pub use events::{Event, EventEmitter, EventKind};
pub use id::{IdParseError, NodeId, SessionId};
pub use identity::{Identity, IdentityError};
pub use keyring::{Keyring, KeyringError, SeedId};
pub use node::{
    Admission, ConnectError, LimitStats, Mode, Node, NodeBuilder, NodeStats, Packet, SendReport,
    SessionCounts, StartError, TransportStats,
};
pub use pool::SessionPool;
pub use priority::Priority;
pub use protocol::{
    ProtocolError, ProtocolHandler, ProtocolReceiver, ProtocolSender, ProtocolStream,
};
pub use reason::{CloseReason, Refusal};
pub use route::{Route, RouteError, RouteKind};
pub use seed::{SeedError, SeedWarning, SharedSeed};
pub use session::{FrameError, Session, SessionStats};
pub use stc::Coded;
pub use stream::{DeliveryStats, RawStream, Stream, StreamError, StreamOptions, StreamStats};
pub use value::{Fields, Value};
pub use wire::{HandshakeError, WireError};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// What the fuzzer calls.
#[cfg(fuzzing)]
pub mod fuzz {
    pub use crate::{
        route::fuzz::{address, frames, request, route_datagram, routes},
        session::fuzz::{close_reason, control},
        stream::fuzz::{header, inbound, reassembly},
        transfer::fuzz as record,
        wire::fuzz::{datagram, handshake, knock, messages, places, renewal},
    };
}
