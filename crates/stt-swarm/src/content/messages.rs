//! Messages of any length on topics: what is too long for gossip travels as content, and its id is
//! published.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use stt::{ContentId, Payload};
use tokio::{task::JoinHandle, time::timeout};

use super::distribution::{ContentDistribution, RetrieveOptions};
use crate::{
    ContentError, KademliaDht, PubSub, Published, Swarm, SwarmError, TopicEvent, TopicMessage,
    TopicSubscription,
};

/// What stands before the topic on which ids are published.
const TOPIC: &str = "stt.large/";
/// Messages of this node that can still be fetched, and their bytes.
const MAX_KEPT: usize = 64;
const MAX_KEPT_BYTES: usize = 64 << 20;
/// How long a subscriber takes to fetch one.
const FETCH_WITHIN: Duration = Duration::from_secs(60);

/// Publish and subscribe with messages of up to [`MAX_MESSAGE`](Self::MAX_MESSAGE): those that are
/// longer than [`PubSub::MAX_MESSAGE`] travel as content, which each subscriber fetches from the
/// publisher and from other providers, and verifies.
///
/// This node's last 64 long messages, of 64 MiB together, can be fetched; who subscribes learns of
/// an older one, or one whose publisher is gone, by a [`TopicEvent::Gap`]. Long messages have a
/// [`Sequence`](crate::Sequence) of their own, beside that of the short ones.
#[derive(Debug)]
pub struct LongMessages {
    pubsub: PubSub,
    fetching: Fetching,
    kept: Mutex<VecDeque<(ContentId, usize)>>,
}

/// What fetches.
#[derive(Clone, Debug)]
struct Fetching {
    dht: KademliaDht,
    content: Arc<ContentDistribution>,
}

/// A subscription to a topic, short and long messages. Dropped, it ends.
#[derive(Debug)]
pub struct LongSubscription {
    short: TopicSubscription,
    long: TopicSubscription,
    fetching: Fetching,
    /// A message that is on its way; those behind it wait in the queues.
    begun: Option<JoinHandle<TopicEvent>>,
}

impl LongMessages {
    /// Longest message, in bytes.
    pub const MAX_MESSAGE: usize = 16 << 20;

    /// Messages in `swarm`, of which the long ones travel by `content`, a distribution of the same
    /// node.
    #[must_use]
    pub fn new(swarm: &Swarm, content: Arc<ContentDistribution>) -> Self {
        let fetching = Fetching { dht: swarm.dht(), content };
        Self { pubsub: swarm.pubsub(), fetching, kept: Mutex::default() }
    }

    /// Publishes `data` on `topic`, as [`PubSub::publish`] does.
    ///
    /// # Errors
    /// As [`PubSub::publish`], and those of [`ContentDistribution::publish_content`].
    pub async fn publish(
        &self,
        topic: &str,
        data: impl Payload,
    ) -> Result<Published, ContentError> {
        let data = data.into_bytes();
        if data.len() <= PubSub::MAX_MESSAGE {
            return Ok(self.pubsub.publish(topic, data).await?);
        }
        crate::pubsub::check("a message", data.len(), Self::MAX_MESSAGE)?;
        let len = data.len();
        let id = self.fetching.content.library().share_bytes(data, "message").await?.root;
        self.keep(id, len);
        let id = Bytes::copy_from_slice(id.as_bytes());
        Ok(self.pubsub.publish(&format!("{TOPIC}{topic}"), id).await?)
    }

    /// Keeps one more, and gives up the oldest beyond the bounds.
    fn keep(&self, id: ContentId, len: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != id);
        kept.push_back((id, len));
        while kept.len() > MAX_KEPT
            || kept.iter().map(|(_, len)| len).sum::<usize>() > MAX_KEPT_BYTES
        {
            let Some((oldest, _)) = kept.pop_front() else { return };
            self.fetching.content.library().unshare(oldest);
        }
    }

    /// Subscribes to `topic`, which counts as two topics of the node. A name of 246 bytes at most.
    ///
    /// # Errors
    /// As [`PubSub::subscribe`].
    pub async fn subscribe(&self, topic: &str) -> Result<LongSubscription, SwarmError> {
        let short = self.pubsub.subscribe(topic).await?;
        let long = self.pubsub.subscribe(&format!("{TOPIC}{topic}")).await?;
        Ok(LongSubscription { short, long, fetching: self.fetching.clone(), begun: None })
    }
}

impl Fetching {
    /// The message whose id came, or that it is missing.
    async fn complete(self, topic: Arc<str>, came: TopicMessage) -> TopicEvent {
        let fetched = match came.data.as_ref().try_into() {
            Ok(id) => timeout(FETCH_WITHIN, self.fetch(ContentId::from_bytes(id), &came)).await,
            Err(_) => Ok(None),
        };
        match fetched {
            Ok(Some(data)) => TopicEvent::Message(TopicMessage { topic, data, ..came }),
            Ok(None) | Err(_) => TopicEvent::Gap { missed: 1 },
        }
    }

    async fn fetch(&self, id: ContentId, came: &TopicMessage) -> Option<Bytes> {
        // With a session the publisher is among those who are asked. Others may have it as well.
        if let Err(error) = self.dht.connect(came.publisher).await {
            tracing::debug!(%error, publisher = %came.publisher, "no session for its message");
        }
        let most = u64::try_from(LongMessages::MAX_MESSAGE).unwrap_or(u64::MAX);
        let options = RetrieveOptions::new().max_size(most).search(Duration::ZERO);
        match self.content.retrieve_content(id, &options).await {
            Ok(data) => Some(data),
            Err(error) => {
                tracing::warn!(%error, topic = %came.topic, "a long message did not arrive");
                None
            }
        }
    }
}

impl LongSubscription {
    /// The next message, or how many were lost. `None` once the swarm stopped.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next(&mut self) -> Option<TopicEvent> {
        loop {
            if let Some(begun) = &mut self.begun {
                let event = begun.await.unwrap_or(TopicEvent::Gap { missed: 1 });
                self.begun = None;
                return Some(event);
            }
            let came = tokio::select! {
                short = self.short.next() => return short,
                long = self.long.next() => long,
            };
            match came? {
                TopicEvent::Message(came) => {
                    let topic = came.topic.strip_prefix(TOPIC).unwrap_or_default().into();
                    let fetching = self.fetching.clone();
                    self.begun = Some(tokio::spawn(fetching.complete(topic, came)));
                }
                gap => return Some(gap),
            }
        }
    }
}

impl Drop for LongSubscription {
    fn drop(&mut self) {
        if let Some(begun) = &self.begun {
            begun.abort();
        }
    }
}
