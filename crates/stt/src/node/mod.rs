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
//! | figures | `stats` |

mod admission;
mod builder;
mod chamber;
mod connect;
mod error;
mod handle;
mod hub;
mod stats;

pub use admission::Admission;
pub use builder::{Mode, NodeBuilder};
pub use connect::ConnectOptions;
pub use error::{ConnectError, StartError};
pub use handle::{Node, SendReport};
pub(crate) use hub::Hub;
pub use stats::{LimitStats, NodeStats, SessionCounts, TransportStats};
