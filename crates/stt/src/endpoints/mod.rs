//! Endpoints: whatever an application talks to, by an id of its own.
//!
//! | look for | in |
//! |---|---|
//! | adding, sending, receiving | [`EndpointManager`] |
//! | what carries the bytes | [`EndpointSender`], [`Outgoing`] |
//! | the peers of a node as endpoints | [`NodeEndpoints`] |
//! | bounds and drop rules | [`EndpointManager`], [`InboxLimits`] |

mod endpoint;
mod error;
mod inbox;
mod manager;
mod over_node;
mod sender;

pub use endpoint::{EndpointAddress, EndpointId, EndpointInfo};
pub use error::EndpointError;
pub use inbox::{InboxLimits, InboxStats};
pub use manager::{BroadcastReport, EndpointManager, ManagerConfig};
pub use over_node::NodeEndpoints;
pub use sender::{EndpointSender, Outgoing, SendFailure, SendFuture};
