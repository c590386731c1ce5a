//! A node's part in a swarm.

use std::sync::Arc;

use stt::Node;
use stt_store::Chamber;

use crate::{
    KademliaDht, PubSub,
    dht::saved,
    engine::{self, Handle},
    pubsub::{check, rate::MessageRate},
    swarm_error::SwarmError,
};

/// How a node takes part in a swarm; starting it tells what is out of its range.
#[derive(Clone, Debug)]
pub struct SwarmOptions {
    pub(crate) name: String,
    pub(crate) serve: bool,
    pub(crate) max_links: usize,
    pub(crate) publisher_rate: MessageRate,
    pub(crate) topic_rate: MessageRate,
}

impl Default for SwarmOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            serve: true,
            max_links: Self::MAX_LINKS,
            publisher_rate: Self::PUBLISHER_RATE,
            topic_rate: Self::TOPIC_RATE,
        }
    }
}

impl SwarmOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Peers that a node is linked with at once, by default.
    pub const MAX_LINKS: usize = 256;

    /// What is taken of one publisher on one topic, by default.
    pub const PUBLISHER_RATE: MessageRate = MessageRate { messages: 10_000, bytes: 64 << 20 };

    /// What is taken of all publishers on one topic, by default.
    pub const TOPIC_RATE: MessageRate = MessageRate { messages: 20_000, bytes: 128 << 20 };

    /// The swarm's name, up to 256 bytes; default: none. Values, providers and topics of swarms
    /// with other names do not meet. It is no secret: the seed says who is a member.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether this node keeps values for others and is named to them, which it should if it stays.
    /// Default: true. Others must be able to open sessions to it then.
    #[must_use]
    pub const fn serve(mut self, serve: bool) -> Self {
        self.serve = serve;
        self
    }

    /// Peers that this node is linked with at once, 1 to 65,536. Default: [`Self::MAX_LINKS`].
    #[must_use]
    pub const fn max_links(mut self, max: usize) -> Self {
        self.max_links = max;
        self
    }

    /// What this node takes of one publisher on one topic, and publishes on one itself. What is
    /// over it is dropped, told as a [gap](crate::TopicEvent::Gap) later, and not passed on; an own
    /// message waits. Default: [`Self::PUBLISHER_RATE`].
    #[must_use]
    pub const fn publisher_rate(mut self, rate: MessageRate) -> Self {
        self.publisher_rate = rate;
        self
    }

    /// What this node takes of all publishers together on one topic. Beyond it each publisher that
    /// was heard in the last 2 seconds has an equal share, as much again together at most. The rest
    /// is dropped, told as a [gap](crate::TopicEvent::Gap) later, and not passed on. Default:
    /// [`Self::TOPIC_RATE`].
    #[must_use]
    pub const fn topic_rate(mut self, rate: MessageRate) -> Self {
        self.topic_rate = rate;
        self
    }

    /// Whether all settings are inside their ranges.
    fn check(&self) -> Result<(), SwarmError> {
        check("a swarm's name", self.name.len(), 256)?;
        let rate = |what, got: u32| (what, u64::from(u32::MAX), u64::from(got));
        let links = u64::try_from(self.max_links).unwrap_or(u64::MAX);
        for (what, max, got) in [
            ("max_links", 65_536, links),
            rate("publisher_rate.messages", self.publisher_rate.messages),
            rate("publisher_rate.bytes", self.publisher_rate.bytes),
            rate("topic_rate.messages", self.topic_rate.messages),
            rate("topic_rate.bytes", self.topic_rate.bytes),
        ] {
            if !(1..=max).contains(&got) {
                return Err(SwarmError::OutOfRange { what, min: 1, max, got });
            }
        }
        Ok(())
    }
}

/// A node's part in a swarm. Clones are the same one; with the last of them, and of the handles
/// that it gave out, it ends. The node's sessions go on.
#[derive(Clone, Debug)]
pub struct Swarm {
    handle: Handle,
}

impl Swarm {
    /// Begins to take part over `node`, in tasks of the runtime that this is called in. A node
    /// takes part in one swarm at a time.
    ///
    /// # Errors
    /// [`SwarmError::Protocol`] if it takes part already, [`SwarmError::TooLarge`] for the name,
    /// [`SwarmError::OutOfRange`] for another option, [`SwarmError::Engine`].
    pub fn start(node: &Node, options: &SwarmOptions) -> Result<Self, SwarmError> {
        options.check()?;
        Ok(Self { handle: engine::start(node, options, None)? })
    }

    /// As [`start`](Self::start), and goes on where it was before a restart, by what it keeps in
    /// `chamber` under names that begin with `swarm/`: values that this node published, those that
    /// it keeps for others, and where 64 members are, so that it joins again by itself. An own
    /// value is on the disk when [`store`](KademliaDht::store) returns; the rest is written every
    /// 10 seconds. What it provides is said anew by whoever provides it.
    ///
    /// A value belongs to the node id that published it: give the node a
    /// [persistent identity](stt::NodeBuilder::persistent_identity).
    ///
    /// # Errors
    /// As [`start`](Self::start), and [`SwarmError::Chamber`] if the chamber cannot be read.
    pub async fn start_with(
        node: &Node,
        options: &SwarmOptions,
        chamber: &Chamber,
    ) -> Result<Self, SwarmError> {
        options.check()?;
        let saved = saved::load(chamber, &options.name).await?;
        Ok(Self { handle: engine::start(node, options, Some((chamber.clone(), saved)))? })
    }

    /// Begins over links of a network in memory.
    #[cfg(test)]
    pub(crate) fn simulated(
        node: &Node,
        options: &SwarmOptions,
        network: &Arc<engine::simulated::Network>,
    ) -> Self {
        Self { handle: engine::start_simulated(node, options, network).unwrap() }
    }

    /// Bootstraps by the links that there are.
    #[cfg(test)]
    pub(crate) async fn bootstrap_simulated(&self) -> Result<usize, SwarmError> {
        self.handle.ask(engine::command::Command::Bootstrap).await
    }

    /// Its distributed hash table.
    #[must_use]
    pub fn dht(&self) -> KademliaDht {
        KademliaDht { handle: self.handle.clone() }
    }

    /// Its publish/subscribe.
    #[must_use]
    pub fn pubsub(&self) -> PubSub {
        PubSub { handle: self.handle.clone() }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> Node {
        Arc::clone(&self.handle.links()).node().clone()
    }
}
