//! A private swarm on sealed sessions.
//!
//! | look for | in |
//! |---|---|
//! | taking part in a swarm | [`Swarm`] (`swarm`, `engine`) |
//! | values, providers and nodes by their ids | [`KademliaDht`] (`dht`) |
//! | messages to all who subscribe | [`PubSub`] (`pubsub`), of any length [`LongMessages`] |
//! | offering files and folders to members | [`ContentLibrary`] |
//! | fetching them from many providers, verified | [`fetch`] |
//! | content by its id alone | [`ContentDistribution`] |
//! | the text that says what to fetch and where | [`ContentTicket`] |
//!
//! All of it travels in streams with labels of the sessions that a [`stt::Node`] has; nothing here
//! opens a socket.
//!
//! # Values and messages
//!
//! ```
//! use std::time::Duration;
//!
//! use stt::{Key, Mode, Node, SharedSeed};
//! use stt_swarm::{Swarm, SwarmOptions, TopicEvent};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seed = SharedSeed::from_key(Key::generate()?);
//! let first = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
//! let second = Node::builder(seed).host("127.0.0.1").start(Mode::Server).await?;
//! let there = Swarm::start(&first, &SwarmOptions::default())?;
//! let here = Swarm::start(&second, &SwarmOptions::default())?;
//! here.dht().bootstrap([first.local_addr()]).await?;
//!
//! here.dht().store(b"greeting", b"hello").await?;
//! let found = there.dht().find_value(b"greeting").await?.ok_or("not there")?;
//! assert_eq!((&found.data[..], found.publisher), (&b"hello"[..], second.node_id()));
//!
//! let mut weather = there.pubsub().subscribe("weather").await?;
//! here.pubsub().publish("weather", "sunny").await?;
//! let event = tokio::time::timeout(Duration::from_secs(10), weather.next()).await?;
//! assert!(matches!(event, Some(TopicEvent::Message(message)) if &message.data[..] == b"sunny"));
//! # Ok(())
//! # }
//! ```
//!
//! # Content
//!
//! Whoever has the ticket and the seed fetches, from all who offer it; every 16 KiB are verified.
//!
//! ```
//! use stt::{Key, Mode, Node, SharedSeed};
//! use stt_swarm::{ContentLibrary, FetchOptions, fetch};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let seed = SharedSeed::from_key(Key::generate()?);
//! # let sharer = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
//! # let fetcher = Node::builder(seed).host("127.0.0.1").start(Mode::Client).await?;
//! # let (dir, inbox) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! # let file = dir.path().join("notes.txt");
//! # std::fs::write(&file, "what I noticed")?;
//! let library = ContentLibrary::new(&sharer)?;
//! let shared = library.share(&file).await?;
//! let ticket = library.ticket(&shared, &[sharer.local_addr()])?;
//!
//! fetch(&fetcher, &ticket, inbox.path(), &FetchOptions::new()).await?;
//! assert_eq!(std::fs::read(inbox.path().join("notes.txt"))?, b"what I noticed");
//! # Ok(())
//! # }
//! ```

mod content;
mod dht;
mod engine;
mod error;
mod failure;
mod pubsub;
mod swarm;
mod swarm_error;
mod ticket;

pub use content::{
    ContentDistribution, ContentLibrary, DistributionStats, FetchOptions, FetchProgress, Fetched,
    Folder, LibraryStats, LongMessages, LongSubscription, ProviderReport, RetrieveOptions, Shared,
    fetch,
};
pub use dht::{
    Bootstrapped, KademliaDht, ProviderFound, Providers, SignedValue, Stored, SwarmMember,
};
pub use error::{ContentError, TicketError};
pub use failure::{DialFailure, ProviderFailure};
pub use pubsub::{
    MessageRate, PubSub, Published, Receipts, Sequence, TopicEvent, TopicMessage, TopicSubscription,
};
pub use stt::{self, Bytes, ContentId, Payload};
pub use swarm::{Swarm, SwarmOptions};
pub use swarm_error::SwarmError;
pub use ticket::{ContentTicket, Provider};
