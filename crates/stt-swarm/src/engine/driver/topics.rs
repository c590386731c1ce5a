//! Topics: who subscribes, what is published, and what waits for a first subscriber.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use libp2p_gossipsub::{self as gossipsub, IdentTopic, MessageAcceptance, PublishError, TopicHash};
use libp2p_kad::RecordKey;
use stt::Session;

use super::{Driver, refused};
use crate::{
    dht::{record, store},
    engine::{
        behaviour,
        command::Reply,
        peer,
        queries::{MAX_QUERIES, Query, answer},
    },
    pubsub::{
        Published, Sequence,
        awaited::{Awaited, Question},
        envelope,
        queue::Queue,
        receipt,
        topics::{Judged, Topics},
    },
    swarm_error::SwarmError,
};

/// Messages that wait for a first subscriber, and their bytes.
const MAX_UNHEARD: usize = 256;
const MAX_UNHEARD_BYTES: usize = 4 << 20;
/// Topics whose last count is known, to go on with it.
const MAX_COUNTS: usize = 1_024;

/// What this node says and hears on topics.
pub(super) struct Talk {
    topics: Topics,
    /// Names of the topics that are subscribed to, for the DHT.
    names: HashMap<String, String>,
    started: u64,
    counts: HashMap<String, u64>,
    unheard: Vec<Unheard>,
    /// Messages that their publishers ask for, and that did not come yet.
    awaited: Awaited<Reply<bool>>,
}

/// A message that nobody subscribes to yet.
struct Unheard {
    topic: String,
    name: String,
    sealed: Vec<u8>,
    sequence: Sequence,
    until: Instant,
    reply: Reply<Published>,
}

impl Talk {
    /// `started` is the time since 1970 in milliseconds.
    pub(super) fn new(started: u64) -> Self {
        Self {
            topics: Topics::default(),
            names: HashMap::new(),
            started,
            counts: HashMap::new(),
            unheard: Vec::new(),
            awaited: Awaited::default(),
        }
    }
}

impl Talk {
    /// Answers publishers whose messages on `topic` have come.
    fn receipts(&mut self, topic: &str) {
        let topics = &self.topics;
        let came = self.awaited.take(|asked, _| {
            asked.topic == topic && topics.had(topic, asked.publisher, asked.sequence)
        });
        for reply in came {
            answer(reply, Ok(true));
        }
    }
}

/// Why the engine took a message to nobody.
fn unpublished(error: PublishError) -> SwarmError {
    match error {
        PublishError::AllQueuesFull(_) => {
            SwarmError::Busy { what: "messages for each subscriber", max: behaviour::QUEUE }
        }
        other => refused(other),
    }
}

impl Driver {
    /// What gossipsub calls a topic: swarms of other names do not meet.
    pub(super) fn topic(&self, name: &str) -> String {
        let hash = record::keyed("stt-swarm/1 topic", &self.name, name.as_bytes());
        let hash = blake3::Hash::from_bytes(hash).to_hex();
        hash.as_str().chars().take(32).collect()
    }

    /// Where the DHT keeps who subscribes to a topic.
    fn meeting_place(&self, name: &str) -> RecordKey {
        let place = record::keyed("stt-swarm/1 subscribers", &self.name, name.as_bytes());
        RecordKey::new(&place)
    }

    pub(super) fn subscribe(&mut self, name: String, reply: Reply<Arc<Queue>>) {
        let topic = self.topic(&name);
        let queue = Arc::new(Queue::default());
        match self.talk.topics.subscribe(&topic, &name, Arc::clone(&queue)) {
            Err((what, max)) => return answer(reply, Err(SwarmError::TooMany { what, max })),
            Ok(false) => {}
            Ok(true) => {
                let subscribed =
                    self.engine.behaviour_mut().gossip.subscribe(&IdentTopic::new(&topic));
                if let Err(error) = subscribed {
                    queue.leave();
                    return answer(reply, Err(refused(error)));
                }
                let place = self.meeting_place(&name);
                if let Ok(id) = self.kad().start_providing(place) {
                    self.queries.insert(id, Query::Quiet);
                }
                self.meet(&name);
                self.talk.names.insert(topic, name);
            }
        }
        answer(reply, Ok(queue));
    }

    /// Looks for subscribers of a topic, and links with them.
    fn meet(&mut self, name: &str) {
        if self.queries.len() < MAX_QUERIES {
            let place = self.meeting_place(name);
            let id = self.kad().get_providers(place);
            self.queries.insert(id, Query::Meet(std::iter::empty().collect()));
        }
    }

    pub(super) fn publish(
        &mut self,
        name: String,
        data: &Bytes,
        ready: Duration,
        reply: Reply<Published>,
    ) {
        let topic = self.topic(&name);
        if self.talk.counts.len() >= MAX_COUNTS && !self.talk.counts.contains_key(&topic) {
            let error = SwarmError::TooMany { what: "topics to publish on", max: MAX_COUNTS };
            return answer(reply, Err(error));
        }
        let count = self.talk.counts.get(&topic).map_or(1, |count| count + 1);
        let sequence = Sequence { started: self.talk.started, count };
        let sealed = match envelope::seal(self.links.node(), &topic, sequence, data) {
            Ok(sealed) => sealed,
            Err(error) => return answer(reply, Err(refused(error))),
        };
        let result = self.gossip(&topic, &sealed);
        let heard = match result {
            Ok(neighbours) => Some(neighbours),
            Err(PublishError::NoPeersSubscribedToTopic) => None,
            Err(error) => {
                // It may be in the engine's caches by now, so its number is used.
                self.talk.counts.insert(topic, count);
                return answer(reply, Err(unpublished(error)));
            }
        };
        let waiting = self.talk.unheard.iter().map(|unheard| unheard.sealed.len()).sum::<usize>();
        let own = self.talk.topics.has_subscribers(&topic);
        if heard.is_none()
            && !own
            && (self.talk.unheard.len() >= MAX_UNHEARD
                || waiting + sealed.len() > MAX_UNHEARD_BYTES)
        {
            return answer(
                reply,
                Err(SwarmError::Busy { what: "messages without a subscriber", max: MAX_UNHEARD }),
            );
        }
        self.talk.counts.insert(topic.clone(), count);
        self.talk.topics.own(&topic, self.me, sequence, data);
        if heard.is_some() || own {
            let neighbours = heard.unwrap_or(0);
            return answer(reply, Ok(Published { sequence, neighbours }));
        }
        self.meet(&name);
        let until = Instant::now() + ready.min(Duration::from_secs(600));
        self.talk.unheard.push(Unheard { topic, name, sealed, sequence, until, reply });
    }

    /// Gives a message to the engine: to how many neighbours it is queued.
    fn gossip(&mut self, topic: &str, sealed: &[u8]) -> Result<usize, PublishError> {
        let hash = TopicHash::from_raw(topic);
        self.engine.behaviour_mut().gossip.publish(hash, sealed)?;
        // Own messages go to all subscribers that are linked.
        Ok(self.neighbours(topic))
    }

    /// Linked subscribers of a topic.
    pub(super) fn neighbours(&self, topic: &str) -> usize {
        let topic = TopicHash::from_raw(topic);
        let peers = self.engine.behaviour().gossip.all_peers();
        peers.filter(|(_, topics)| topics.contains(&&topic)).count()
    }

    /// Sessions with linked subscribers of a topic.
    pub(super) fn subscribers(&self, topic: &str) -> Vec<Session> {
        let topic = TopicHash::from_raw(topic);
        let peers = self.engine.behaviour().gossip.all_peers();
        let peers = peers.filter(|(_, topics)| topics.contains(&&topic));
        peers.filter_map(|(peer, _)| self.links.session(peer::node_id(peer)?)).collect()
    }

    /// Answers a publisher who asks for a receipt, at once or when the message comes.
    pub(super) fn had(&mut self, question: Question, reply: Reply<bool>) {
        let Question { topic, publisher, sequence, .. } = &question;
        if self.talk.topics.had(topic, *publisher, *sequence) {
            return answer(reply, Ok(true));
        }
        let awaited = &mut self.talk.awaited;
        // Who asked may be gone.
        drop(awaited.take(|_, reply| reply.is_closed()));
        let until = Instant::now() + receipt::WITHIN;
        if let Some(gone) = awaited.add(question, until, reply) {
            answer(gone, Ok(false));
        }
    }

    /// Says again what nobody heard, if `topic` has a subscriber now.
    fn heard(&mut self, topic: &TopicHash) {
        for unheard in std::mem::take(&mut self.talk.unheard) {
            if unheard.topic != topic.as_str() {
                self.talk.unheard.push(unheard);
                continue;
            }
            match self.gossip(&unheard.topic, &unheard.sealed) {
                Ok(neighbours) => {
                    let published = Published { sequence: unheard.sequence, neighbours };
                    answer(unheard.reply, Ok(published));
                }
                Err(PublishError::NoPeersSubscribedToTopic) => self.talk.unheard.push(unheard),
                Err(error) => answer(unheard.reply, Err(unpublished(error))),
            }
        }
    }

    pub(super) fn gossiped(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let topic = message.topic.as_str();
                let judged = self.talk.topics.judge(self.me, topic, &message.data, store::now());
                let forged = judged == Judged::Forged;
                let judged = match judged {
                    Judged::Accepted => MessageAcceptance::Accept,
                    Judged::Known | Judged::Ahead => MessageAcceptance::Ignore,
                    Judged::Forged => MessageAcceptance::Reject,
                };
                let gossip = &mut self.engine.behaviour_mut().gossip;
                gossip.report_message_validation_result(&message_id, &propagation_source, judged);
                if matches!(judged, MessageAcceptance::Accept) {
                    self.talk.receipts(topic);
                }
                if forged {
                    // Who is honest judges before it passes anything on. Forging costs a link.
                    let _ = self.engine.disconnect_peer_id(propagation_source);
                }
            }
            gossipsub::Event::Subscribed { topic, .. } => self.heard(&topic),
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::warn!(peer = %peer_id, "a peer takes messages too slowly, some are dropped");
            }
            _ => {}
        }
    }

    /// Gives up on subscribers that did not come in time, and on topics that nobody here reads.
    pub(super) fn tick_topics(&mut self, now: Instant) {
        let peers = self.engine.connected_peers().count();
        for unheard in std::mem::take(&mut self.talk.unheard) {
            if now < unheard.until {
                self.talk.unheard.push(unheard);
            } else {
                let error = SwarmError::NoSubscribers { topic: unheard.name, peers };
                answer(unheard.reply, Err(error));
            }
        }
        for late in self.talk.awaited.take_late(now) {
            answer(late, Ok(false));
        }
        for topic in self.talk.topics.sweep() {
            self.engine.behaviour_mut().gossip.unsubscribe(&IdentTopic::new(&topic));
            if let Some(name) = self.talk.names.remove(&topic) {
                let place = self.meeting_place(&name);
                self.kad().stop_providing(&place);
            }
        }
    }

    /// Looks for more subscribers of all topics that are read here.
    pub(super) fn meet_all(&mut self) {
        for name in self.talk.names.values().cloned().collect::<Vec<_>>() {
            self.meet(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queues_pass_and_other_refusals_do_not() {
        use stc::Coded;
        let full = unpublished(PublishError::AllQueuesFull(3));
        assert_eq!((full.code(), full.retry_helps()), ("swarm.busy", true));
        assert!(full.to_string().contains("subscriber"), "{full}");
        let refused = unpublished(PublishError::MessageTooLarge);
        assert_eq!((refused.code(), refused.retry_helps()), ("swarm.engine", false));
    }
}
