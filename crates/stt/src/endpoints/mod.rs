//! Endpoints: whatever an application talks to, by an id of its own.
//!
//! | look for | in |
//! |---|---|
//! | adding, sending, receiving | [`EndpointManager`] |
//! | what carries the bytes | [`EndpointSender`], [`Outgoing`], [`Incoming`] |
//! | the peers of a node as endpoints | [`NodeEndpoints`] |
//! | bounds and drop rules | [`EndpointManager`], [`InboxLimits`] |
//!
//! ```
//! use stt::{
//!     Fields, Value,
//!     endpoints::{EndpointId, EndpointManager, Outgoing},
//! };
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (sent, mut sending) = tokio::sync::mpsc::unbounded_channel();
//! let endpoints = EndpointManager::new(move |outgoing: Outgoing| {
//!     let _ = sent.send(outgoing.data); // Whatever carries bytes.
//!     async { Ok(()) }
//! });
//! let metadata = Fields::from([("name".into(), Value::from("kitchen"))]);
//! let id = EndpointId::try_from("sensor 7")?;
//! endpoints.add_endpoint(id.clone(), ("192.0.2.7", 9337), metadata)?;
//! endpoints.route_to_endpoint("kitchen", "how warm is it?").await?;
//! assert_eq!(sending.recv().await.as_deref(), Some(&b"how warm is it?"[..]));
//!
//! endpoints.deliver(&id, "21.5 degrees").await?; // What came back.
//! let answer = endpoints.receive_any().await;
//! assert_eq!((answer.id, &answer.data[..]), (id, &b"21.5 degrees"[..]));
//! # Ok(())
//! # }
//! ```

mod endpoint;
mod error;
mod inbox;
mod manager;
mod over_node;
mod sender;

pub use endpoint::{EndpointAddress, EndpointId, EndpointInfo};
pub use error::EndpointError;
pub use inbox::{InboxLimits, InboxStats, Incoming};
pub use manager::{BroadcastReport, EndpointManager, ManagerConfig};
pub use over_node::NodeEndpoints;
pub use sender::{EndpointSender, Outgoing, SendFailure, SendFuture};
