//! STT: private byte streams between machines that share a seed.
//!
//! | look for | in |
//! |---|---|
//! | starting, connecting, messages from anybody | [`Node`], [`NodeBuilder`], [`Address`] |
//! | one peer | [`Session`] |
//! | numbered two-way streams | [`Stream`], [`RawStream`] |
//! | what members share | [`SharedSeed`], [`Keyring`] |
//! | who a node is | [`Identity`], [`NodeId`] |
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
//! # Connect, send, receive
//!
//! Whoever has the seed gets in; a node answers nothing to anybody else.
//!
//! ```
//! use stt::{Key, Mode, Node, SharedSeed};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seed = SharedSeed::from_key(Key::generate()?); // Or of others: `SharedSeed::from_file`.
//! let server = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
//! let client = Node::builder(seed).host("127.0.0.1").start(Mode::Client).await?;
//!
//! let session = client.connect(server.local_addr()).await?;
//! let stream = session.open_stream()?;
//! stream.send(b"how are you?").await?;
//!
//! let accepted = server.accept().await.ok_or("the server stopped")?;
//! let other_end = accepted.accept_stream().await?;
//! assert_eq!(other_end.receive().await?.as_deref(), Some(&b"how are you?"[..]));
//! other_end.send(b"well").await?;
//! assert_eq!(stream.receive().await?.as_deref(), Some(&b"well"[..]));
//! session.close("thank you").await;
//! # Ok(())
//! # }
//! ```
//!
//! # A protocol of one's own
//!
//! Streams with a label have numbers of their own, so that protocols over one session do not meet.
//!
//! ```
//! use stt::{Key, Mode, Node, SharedSeed};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let seed = SharedSeed::from_key(Key::generate()?);
//! # let server = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
//! # let client = Node::builder(seed).host("127.0.0.1").start(Mode::Client).await?;
//! let _handler = server.handle_protocol("example.echo/1", |_session, stream| async move {
//!     while let Ok(Some(message)) = stream.receive().await {
//!         if stream.send(message).await.is_err() {
//!             break;
//!         }
//!     }
//! })?;
//!
//! let session = client.connect(server.local_addr()).await?;
//! let stream = session.open_protocol("example.echo/1")?;
//! stream.send(b"hello").await?;
//! assert_eq!(stream.receive().await?.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # Bytes in and out
//!
//! Calls that send or keep bytes take a [`Payload`]: bytes or text, owned, shared or borrowed. What
//! they give is [`Bytes`]. What is only read, such as a key, is a `&[u8]`.
//!
//! The bytes on the wire are specified in `docs/protocol.md`; `docs/ARCHITECTURE.md` shows how a
//! message travels through these modules.

pub mod affinity;
mod catch_panic;
pub mod codec;
pub mod delivery;
pub mod dispatch;
pub mod endpoints;
pub mod events;
mod limits;
mod node;
pub mod priority;
mod protocol;
pub mod resume;
mod session;
mod session_pool;
#[cfg(test)]
mod simulated;
mod stream;
#[cfg(test)]
mod tests;
pub mod transfer;
mod value;

pub use affinity::AffinityPool;
pub use bytes::{self, Bytes};
pub use codec::{BinaryStreamDecoder, BinaryStreamEncoder, StreamDecoder, StreamEncoder};
pub use delivery::Delivery;
pub use dispatch::FrameDispatcher;
pub use endpoints::EndpointManager;
pub use events::{Event, EventEmitter, EventFilter, EventKind, EventStream, Subscription};
pub use node::{
    Admission, ConnectError, ConnectOptions, LimitStats, Mode, Node, NodeBuilder, NodeStats,
    SendReport, SessionCounts, StartError, TransportStats,
};
pub use priority::Priority;
pub use protocol::{
    ProtocolError, ProtocolHandler, ProtocolReceiver, ProtocolSender, ProtocolStream,
};
pub use session::{FrameDispatch, FrameError, Packet, Session, SessionStats};
pub use session_pool::SessionPool;
pub use stc::{self, Cause, Coded, Key, aead::Suite};
pub use stream::{DeliveryStats, RawStream, Stream, StreamError, StreamOptions, StreamStats};
pub use stt_store::{self, Chamber, ContentId, Payload};
pub use stt_transport::{
    Address, AddressError, CloseReason, HandshakeError, IdParseError, Identity, IdentityError,
    IntoAddress, Keyring, KeyringError, NodeId, Refusal, Route, RouteError, RouteKind, SeedId,
    SeedWarning, SessionId, SharedSeed, SharedSeedError, WireError,
};
pub use value::{Fields, Value};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// What the fuzzer calls.
#[cfg(fuzzing)]
pub mod fuzz {
    pub use crate::{
        session::fuzz::{close_reason, control, labels},
        stream::fuzz::{header, inbound, reassembly},
        transfer::{fuzz as record, fuzz_list as file_list},
    };
    pub use stt_transport::internal::fuzz::*;
}
