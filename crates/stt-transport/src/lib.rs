//! Sealed QUIC between machines that share a seed.
//!
//! A stranger who does not hold the seed gets no answer, sees nothing but noise, and cannot tell
//! what it is. Members prove who they are, and have connections of QUIC: streams, datagrams, and
//! congestion control, over UDP or through a WebSocket, and from one to the other without a break.
//! Here a session begins over UDP, or through a WebSocket that a peer opens; dialling by name, and
//! through a WebSocket, is in the crate `stt`.
//!
//! | look for | in |
//! |---|---|
//! | a socket and its sessions | [`Endpoint`], [`EndpointConfig`] |
//! | a peer that knocked, a peer that proved itself | [`Incoming`], [`Established`] |
//! | streams and datagrams | [`Connection`], [`SendStream`], [`RecvStream`] |
//! | what members share | [`SharedSeed`], [`Keyring`] |
//! | who a node is | [`Identity`], [`NodeId`] |
//! | over what datagrams travel | [`Route`], [`SessionRoute`], [`Address`] |
//! | fresh keys for a session that lives long | [`Renewal`] |
//! | what was sent, received and dropped | [`TransportStats`], [`ConnectionStats`] |
//! | why something ended or failed | [`WireError`], [`ConnectionError`], [`CloseReason`] |
//!
//! Numbered two-way streams, messages, files, and sessions that survive cuts are the crate `stt`,
//! which stands on this one.
//!
//! # Two peers
//!
//! ```
//! use stt_transport::{Endpoint, EndpointConfig, Identity, Key, SharedSeed};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seed = SharedSeed::from_key(Key::generate()?); // Or of others: `SharedSeed::from_file`.
//! let settings = EndpointConfig::new(seed.clone(), Identity::ephemeral()?);
//! let server = Endpoint::bind(settings.bind(([127, 0, 0, 1], 0)).accepting(true))?;
//! let settings = EndpointConfig::new(seed, Identity::ephemeral()?);
//! let client = Endpoint::bind(settings.bind(([127, 0, 0, 1], 0)))?;
//!
//! let accepting = async {
//!     let incoming = server.accept().await.expect("the server runs");
//!     incoming.finish(|_peer| Ok(())).await // Here a peer could be refused.
//! };
//! let (there, here) = tokio::join!(client.connect(server.local_addr(), None), accepting);
//! let (there, (here, ())) = (there?, here?);
//! assert_eq!((there.session_id, there.peer), (here.session_id, server.node_id()));
//!
//! let mut sending = there.connection.open_uni().await?;
//! sending.write_chunk("how are you?".into()).await?;
//! sending.finish();
//! let mut receiving = here.connection.accept_uni().await?;
//! assert_eq!(receiving.read_to_end(100).await?, b"how are you?");
//! # Ok(())
//! # }
//! ```
//!
//! # Datagrams, and keys of your own
//!
//! ```
//! # use stt_transport::{Endpoint, EndpointConfig, Identity, Key, SharedSeed};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let seed = SharedSeed::from_key(Key::generate()?);
//! # let open = || -> Result<Endpoint, Box<dyn std::error::Error>> {
//! #     let settings = EndpointConfig::new(seed.clone(), Identity::ephemeral()?);
//! #     Ok(Endpoint::bind(settings.bind(([127, 0, 0, 1], 0)).accepting(true))?)
//! # };
//! # let (server, client) = (open()?, open()?);
//! # let accepting = async { server.accept().await.unwrap().finish(|_peer| Ok(())).await };
//! # let (there, here) = tokio::join!(client.connect(server.local_addr(), None), accepting);
//! # let (there, (here, ())) = (there?, here?);
//! // Both ends as above. A datagram arrives once, or not at all.
//! there.connection.send_datagram("position: 7".into())?;
//! assert_eq!(here.connection.read_datagram().await?, "position: 7");
//!
//! // Both sides have the same keys, and nobody else has them.
//! let key = |side: &stt_transport::Established| side.exporter.derive("an application", b"file 1");
//! assert!(key(&there) == key(&here));
//! # Ok(())
//! # }
//! ```
//!
//! The bytes on the wire are specified in `docs/protocol.md`.

// For benches and simulations: the types of its engine are in the signatures.
mod close_reason;
#[doc(hidden)]
pub mod congestion;
mod header_mask;
mod id;
mod identity;
#[doc(hidden)]
pub mod internal;
mod keyring;
mod limits;
mod lru;
mod packet_header;
mod race;
mod route;
mod seed;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
mod waker_list;
mod wire;

pub use bytes::Bytes;
pub use close_reason::{CloseReason, Refusal};
pub use id::{IdParseError, NodeId, SessionId};
pub use identity::{Identity, IdentityError};
pub use keyring::{Keyring, KeyringError, SeedId};
pub use route::{Address, AddressError, IntoAddress, Route, RouteError, RouteKind, SessionRoute};
pub use seed::{SeedWarning, SharedSeed, SharedSeedError};
pub use stc::{self, Cause, Coded, Key, aead::Suite};
pub use wire::{
    Chunk, Connection, ConnectionError, ConnectionStats, DatagramError, Endpoint, EndpointConfig,
    Established, Exporter, HandshakeError, Incoming, ReadError, RecvStream, Renewal, SendStream,
    TransportStats, WireError, WriteError, Written,
};
