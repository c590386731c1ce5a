//! What is asked of the engine's task.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use stt::{NodeId, Session};
use tokio::sync::{mpsc, oneshot};

use crate::{
    dht::{ProviderFound, SignedValue, Stored, SwarmMember},
    pubsub::{Published, awaited::Question, queue::Queue},
    swarm_error::SwarmError,
};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, SwarmError>>;

/// One wish.
pub(crate) enum Command {
    /// Fills the routing table, once it has anybody: how many nodes it has then.
    Bootstrap(Reply<usize>),
    Store {
        key: Vec<u8>,
        value: Vec<u8>,
        reply: Reply<Stored>,
    },
    /// Stores an own value no more: whether there was one.
    Forget {
        key: Vec<u8>,
        reply: Reply<bool>,
    },
    /// Answered when all own values are on the disk, if they are kept there.
    Written(Reply<()>),
    Find {
        key: Vec<u8>,
        publisher: Option<NodeId>,
        reply: Reply<Option<SignedValue>>,
    },
    Provide {
        key: Vec<u8>,
        reply: Reply<()>,
    },
    StopProviding {
        key: Vec<u8>,
    },
    Providers {
        key: Vec<u8>,
        found: mpsc::Sender<ProviderFound>,
        reply: Reply<()>,
    },
    Closest {
        node: NodeId,
        reply: Reply<Vec<SwarmMember>>,
    },
    Connect {
        node: NodeId,
        reply: Reply<Session>,
    },
    Peers(Reply<Vec<SwarmMember>>),
    Subscribe {
        topic: String,
        reply: Reply<Arc<Queue>>,
    },
    Neighbours {
        topic: String,
        reply: Reply<usize>,
    },
    /// The hash of a topic, and the sessions with linked subscribers.
    Subscribers {
        topic: String,
        reply: Reply<(String, Vec<Session>)>,
    },
    /// Whether a message was here, or comes soon. `topic` is the hash.
    Had {
        question: Question,
        reply: Reply<bool>,
    },
    Publish {
        topic: String,
        data: Bytes,
        ready: Duration,
        reply: Reply<Published>,
    },
}
