//! A private swarm on sealed sessions.
//!
//! | look for | in |
//! |---|---|
//! | taking part in a swarm | [`Swarm`] (`swarm`, `engine`) |
//! | values, providers and nodes by their ids | [`KademliaDht`] (`dht`) |
//! | messages to all who subscribe | [`PubSub`] (`pubsub`) |
//! | offering files and folders to members | [`ContentLibrary`] |
//! | fetching them from many providers, verified | [`fetch`] |
//! | content by its id alone | [`ContentDistribution`] |
//! | the text that says what to fetch and where | [`ContentTicket`] |
//!
//! All of it travels in streams with labels of the sessions that a [`stt::Node`] has; nothing here
//! opens a socket.

mod content;
mod dht;
mod engine;
mod error;
mod pubsub;
mod swarm;
mod swarm_error;
mod ticket;

pub use content::{
    ContentDistribution, ContentLibrary, DistributionStats, FetchOptions, FetchProgress, Fetched,
    Folder, LibraryStats, ProviderReport, RetrieveOptions, Shared, fetch,
};
pub use dht::{Bootstrapped, KademliaDht, Member, ProviderFound, Providers, Stored, Value};
pub use error::{ContentError, TicketError};
pub use pubsub::{Message, PubSub, Published, Receipts, Sequence, Subscription, TopicEvent};
pub use swarm::{Swarm, SwarmOptions};
pub use swarm_error::SwarmError;
pub use ticket::{ContentTicket, Provider};
