//! Nodes: the entry to everything.
//!
//! | look for | in |
//! |---|---|
//! | what the application holds | [`Node`] (`handle`) |
//! | settings and defaults | [`NodeBuilder`] (`builder`) |
//! | who may have sessions | [`Admission`] (`admission`) |
//! | its encrypted storage | `chamber` |
//! | finding and dialling an address | `connect` |
//! | what sessions report to their node | `hub` |
//! | messages that nobody claimed | `packets` |
//! | figures | `stats` |

mod admission;
mod builder;
mod chamber;
mod connect;
mod error;
mod handle;
mod hub;
mod packets;
mod stats;

pub use admission::Admission;
pub use builder::{Mode, NodeBuilder};
pub use connect::ConnectOptions;
pub use error::{ConnectError, StartError};
pub use handle::{Node, SendReport};
pub(crate) use hub::{Hub, Pulse};
pub(crate) use packets::Taker;
pub use stats::{LimitStats, NodeStats, SessionCounts, TransportStats};

use crate::SessionId;

/// A message that arrived on a stream which nobody claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packet {
    /// The session that brought it.
    pub session_id: SessionId,
    /// The stream's number.
    pub stream_id: u32,
    /// The message.
    pub data: bytes::Bytes,
}
