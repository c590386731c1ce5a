//! Publish and subscribe.
//!
//! | look for | in |
//! |---|---|
//! | what applications hold | [`PubSub`], [`TopicSubscription`] |
//! | messages on the wire | `envelope` |
//! | which message goes to whom | `topics` |
//! | what waits for a subscriber | `queue` |
//! | what was here, may come yet, or is lost | `window` |
//! | how much is taken in a second, and of whom | `rate`, `share` |
//! | whether subscribers have had a message | `receipt`, `question`, `awaited` |
//! | which of a publisher's messages it is | `sequence` |

pub(crate) mod awaited;
pub(crate) mod envelope;
pub(crate) mod question;
pub(crate) mod queue;
pub(crate) mod rate;
pub(crate) mod receipt;
mod sequence;
pub(crate) mod share;
pub(crate) mod topics;
pub(crate) mod window;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use stt::{NodeId, Payload};
use tokio::task::JoinSet;

use crate::{
    engine::{Handle, command::Command},
    swarm_error::SwarmError,
};
use queue::Queue;
pub use rate::MessageRate;
pub use sequence::Sequence;

/// Longest name of a topic, in bytes.
const MAX_TOPIC: usize = 256;

/// A message on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicMessage {
    /// The topic.
    pub topic: Arc<str>,
    /// What was published.
    pub data: Bytes,
    /// Who published it, proved by a signature.
    pub publisher: NodeId,
    /// Which of the publisher's messages it is.
    pub sequence: Sequence,
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicEvent {
    /// A message.
    Message(TopicMessage),
    /// So many messages are lost to the subscriber: it was slow, and its queue of 4 MiB full; or
    /// they did not come within 10 seconds after later ones, or after their publisher said that it
    /// had published them: lost on the way, or over a
    /// [limit](crate::SwarmOptions::publisher_rate), a flood for example.
    Gap {
        /// How many.
        missed: u64,
    },
}

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Which of this node's messages on the topic it is.
    pub sequence: Sequence,
    /// Linked nodes that subscribe to the topic. It was queued to one of them at least, and to all
    /// whose queue had room. 0 if only this node has subscribers.
    pub neighbours: usize,
}

/// Which linked subscribers have had a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipts {
    /// Linked subscribers that were asked.
    pub asked: usize,
    /// Those of them that said they have had it.
    pub confirmed: usize,
}

/// Publish and subscribe in a swarm ([`Swarm::pubsub`](crate::Swarm::pubsub)).
///
/// Messages reach those who subscribe at the time. There is no history and no order beyond each
/// message's [`Sequence`].
#[derive(Clone, Debug)]
pub struct PubSub {
    pub(crate) handle: Handle,
}

/// A subscription to a topic. Dropped, it ends.
#[derive(Debug)]
pub struct TopicSubscription {
    queue: Arc<Queue>,
}

impl PubSub {
    /// Longest message, in bytes. Longer ones travel as content, whose id is published.
    pub const MAX_MESSAGE: usize = envelope::MAX_DATA;
    /// How long [`publish`](Self::publish) waits for the first subscriber.
    pub const READY_WITHIN: Duration = Duration::from_secs(5);

    /// Publishes `data` on `topic`. This node's own subscribers get it as well. With no subscriber
    /// anywhere, it waits up to [`READY_WITHIN`](Self::READY_WITHIN) for one and looks for them in
    /// the DHT. While the queues to all linked subscribers are full, or this node's own
    /// [rate](crate::SwarmOptions::publisher_rate) is used up, it waits as long for a place.
    ///
    /// # Errors
    /// [`SwarmError::NoSubscribers`], [`SwarmError::TooLarge`], [`SwarmError::Busy`],
    /// [`SwarmError::Stopped`].
    pub async fn publish(&self, topic: &str, data: impl Payload) -> Result<Published, SwarmError> {
        self.publish_within(topic, data, Self::READY_WITHIN).await
    }

    /// As [`publish`](Self::publish), waiting up to `ready`, 10 minutes at most, for the first
    /// subscriber, and as long, but 5 seconds at least, for a place.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_within(
        &self,
        topic: &str,
        data: impl Payload,
        ready: Duration,
    ) -> Result<Published, SwarmError> {
        let data = data.into_bytes();
        check("a topic", topic.len(), MAX_TOPIC)?;
        check("a message", data.len(), Self::MAX_MESSAGE)?;
        let topic = topic.to_owned();
        self.handle.ask(|reply| Command::Publish { topic, data, ready, reply }).await
    }

    /// Asks all linked subscribers of `topic` whether they have had the message of this node with
    /// this `sequence`, and waits for their answers, up to `within`. They wait up to 5 seconds for
    /// it themselves. Who ends right after publishing needs this: a message is only queued before.
    ///
    /// # Errors
    /// [`SwarmError::TooLarge`], [`SwarmError::Stopped`].
    pub async fn receipts(
        &self,
        topic: &str,
        sequence: Sequence,
        within: Duration,
    ) -> Result<Receipts, SwarmError> {
        check("a topic", topic.len(), MAX_TOPIC)?;
        let topic = topic.to_owned();
        let command = |reply| Command::Subscribers { topic, reply };
        let (topic, sessions) = self.handle.ask(command).await?;
        let until = tokio::time::Instant::now() + within;
        let mut asking = JoinSet::new();
        for session in sessions {
            asking.spawn(receipt::ask(session, topic.clone(), sequence));
        }
        let (asked, mut confirmed) = (asking.len(), 0);
        while let Ok(Some(had)) = tokio::time::timeout_at(until, asking.join_next()).await {
            confirmed += usize::from(had.unwrap_or(false));
        }
        Ok(Receipts { asked, confirmed })
    }

    /// How many linked nodes subscribe to `topic`, as far as they have said so.
    ///
    /// # Errors
    /// [`SwarmError::Stopped`].
    pub async fn neighbours(&self, topic: &str) -> Result<usize, SwarmError> {
        check("a topic", topic.len(), MAX_TOPIC)?;
        let topic = topic.to_owned();
        self.handle.ask(|reply| Command::Neighbours { topic, reply }).await
    }

    /// Subscribes to `topic`, a name of 256 bytes at most.
    ///
    /// # Errors
    /// [`SwarmError::TooMany`] beyond 100 topics or 256 subscribers of one,
    /// [`SwarmError::TooLarge`], [`SwarmError::Stopped`].
    pub async fn subscribe(&self, topic: &str) -> Result<TopicSubscription, SwarmError> {
        check("a topic", topic.len(), MAX_TOPIC)?;
        let topic = topic.to_owned();
        let queue = self.handle.ask(|reply| Command::Subscribe { topic, reply }).await?;
        Ok(TopicSubscription { queue })
    }
}

pub(crate) fn check(what: &'static str, len: usize, max: usize) -> Result<(), SwarmError> {
    if len > max { Err(SwarmError::TooLarge { what, len, max }) } else { Ok(()) }
}

impl TopicSubscription {
    /// The next message, or how many were lost. `None` once the swarm stopped.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next(&mut self) -> Option<TopicEvent> {
        self.queue.next().await
    }

    /// The events as a stream; as [`Self::next`].
    pub fn into_stream(self) -> impl Stream<Item = TopicEvent> + Send {
        stream::unfold(self, async |mut events| {
            let event = events.next().await?;
            Some((event, events))
        })
    }
}

impl Drop for TopicSubscription {
    fn drop(&mut self) {
        self.queue.leave();
    }
}
