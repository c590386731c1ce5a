//! Why the swarm could not do what was asked.

use std::{sync::Arc, time::Duration};

use stc::{Cause, Coded};
use stt::NodeId;
use stt_store::StoreError;

use crate::{DialFailure, failure::listed};

/// Why the swarm could not be started, or not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwarmError {
    /// The node takes part in a swarm already.
    #[error(transparent)]
    Protocol(#[from] stt::ProtocolError),
    /// The engine refused its settings, or the node's key.
    #[error("the engine refused: {cause}")]
    Engine {
        /// What it said.
        #[source]
        cause: Cause,
    },
    /// The swarm or its node has stopped.
    #[error("the swarm has stopped")]
    Stopped,
    /// As many questions, or messages, as there may be are under way.
    #[error("{max} {what} are under way, which is the most")]
    Busy {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A key, value, topic, or message is longer than it may be.
    #[error("{what} of {len} bytes is too long: {max} at most")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A setting is outside its range.
    #[error("{what} is {got}; {min} to {max} are allowed")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// What was given.
        got: u64,
    },
    /// More of something than this node may have.
    #[error("there are {max} {what} already, which is the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The key has a value of another member, which counts until it expires.
    #[error("the key has a value of another member")]
    Taken,
    /// The swarm gave no answer in time.
    #[error("there was no answer within {} s", within.as_secs())]
    Timeout {
        /// How long it was waited.
        within: Duration,
    },
    /// What outlives a restart could not be read from the chamber.
    #[error("the chamber could not be read: {0}")]
    Chamber(#[from] StoreError),
    /// It was done, but the chamber could not be written, so it does not outlive a restart.
    #[error("it was done, but not saved: {cause}")]
    NotSaved {
        /// Why.
        #[source]
        cause: Arc<StoreError>,
    },
    /// None of the nodes to begin with could be reached.
    #[error("no node to begin with could be reached: {}", listed(causes, "; "))]
    NoBootstrap {
        /// Why, for each; an error with its `source()`.
        causes: Vec<DialFailure>,
    },
    /// The node was not found, or did not answer where others said it is.
    #[error("node {node} was not found or did not answer")]
    Unreachable {
        /// Which one.
        node: NodeId,
    },
    /// Nobody subscribed to the topic in time, so nobody got the message.
    #[error("nobody subscribes to '{topic}', as far as the {peers} linked nodes know")]
    NoSubscribers {
        /// The topic.
        topic: String,
        /// Nodes that this one was linked with.
        peers: usize,
    },
}

impl Coded for SwarmError {
    fn code(&self) -> &'static str {
        match self {
            Self::Protocol(error) => error.code(),
            Self::Engine { .. } => "swarm.engine",
            Self::Stopped => "swarm.stopped",
            Self::Busy { .. } => "swarm.busy",
            Self::TooLarge { .. } => "swarm.too_large",
            Self::OutOfRange { .. } => "swarm.out_of_range",
            Self::TooMany { .. } => "swarm.too_many",
            Self::Taken => "swarm.taken",
            Self::Timeout { .. } => "swarm.timeout",
            Self::Chamber(error) => error.code(),
            Self::NotSaved { .. } => "swarm.not_saved",
            Self::NoBootstrap { .. } => "swarm.no_bootstrap",
            Self::Unreachable { .. } => "swarm.unreachable",
            Self::NoSubscribers { .. } => "swarm.no_subscribers",
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Protocol(error) => error.retry_helps(),
            Self::Chamber(error) => error.retry_helps(),
            Self::Busy { .. }
            | Self::NotSaved { .. }
            | Self::Timeout { .. }
            | Self::NoBootstrap { .. }
            | Self::Unreachable { .. }
            | Self::NoSubscribers { .. } => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Protocol(error) => error.hint(),
            Self::Chamber(error) => error.hint(),
            Self::NotSaved { .. } => Some("make room on the disk, then do it again"),
            Self::OutOfRange { .. } => Some("see the range in the message"),
            Self::Busy { .. } => Some("wait for answers before asking more"),
            Self::TooLarge { .. } => Some("offer it as content, and send its id"),
            Self::Taken => Some("choose another key, or ask for the value of one publisher"),
            Self::NoBootstrap { .. } => Some("check the addresses, the seed, and the clocks"),
            Self::NoSubscribers { .. } => Some("subscribe first, or join by an address of a node"),
            _ => None,
        }
    }
}
