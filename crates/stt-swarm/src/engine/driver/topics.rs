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
    SwarmOptions,
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
        rate::{MessageRate, Meter, OWN_BURST},
        receipt,
        topics::{Judged, Limits, Topics},
        window::Tail,
    },
    swarm_error::SwarmError,
};

/// Messages that wait for a first subscriber or a place in a queue, and their bytes.
const MAX_UNSENT: usize = 256;
const MAX_UNSENT_BYTES: usize = 4 << 20;
/// How long a message waits for a place in a queue, at least.
const PLACE_WITHIN: Duration = Duration::from_secs(5);
/// How long it waits for anything, at most.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// How long after the last message subscribers are told that it was the last: more than once, since
/// who lost the message may lose that, too.
const TAIL_AFTER: [Duration; 3] =
    [Duration::from_secs(3), Duration::from_secs(12), Duration::from_secs(40)];
/// Topics whose last count is known, to go on with it.
const MAX_COUNTS: usize = 1_024;

/// What this node says and hears on topics.
pub(super) struct Talk {
    topics: Topics,
    /// Names of the topics that are subscribed to, for the DHT.
    names: HashMap<String, String>,
    started: u64,
    rate: MessageRate,
    said: HashMap<String, Said>,
    /// In the order in which they were published.
    unsent: Vec<Unsent>,
    /// Messages that their publishers ask for, and that did not come yet.
    awaited: Awaited<Reply<bool>>,
}

/// What this node said on a topic.
#[derive(Clone, Copy)]
struct Said {
    count: u64,
    taken: Meter,
    last: Instant,
    /// The first message since subscribers were told how many there are, and when it was published.
    first: (u64, Instant),
    /// How often they were told since the last.
    rounds: u8,
}

/// What a message lacks to go out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lacks {
    Subscriber,
    Place,
}

/// Why a message did not go out.
enum Refused {
    Lacks(Lacks),
    Error(SwarmError),
}

/// A message that did not go out yet.
struct Unsent {
    topic: String,
    name: String,
    sealed: Vec<u8>,
    sequence: Sequence,
    lacks: Lacks,
    until: Instant,
    reply: Reply<Published>,
}

impl Unsent {
    /// It has a moment for it, also if it waited for a subscriber before.
    fn lacks_place(&mut self, now: Instant) -> Refused {
        if self.lacks != Lacks::Place {
            self.lacks = Lacks::Place;
            self.until = self.until.max(now + PLACE_WITHIN);
        }
        Refused::Lacks(Lacks::Place)
    }
}

impl Talk {
    /// `started` is the time since 1970 in milliseconds.
    pub(super) fn new(started: u64, options: &SwarmOptions) -> Self {
        let limits = Limits { publisher: options.publisher_rate, topic: options.topic_rate };
        Self {
            topics: Topics::new(limits),
            names: HashMap::new(),
            started,
            rate: options.publisher_rate,
            said: HashMap::new(),
            unsent: Vec::new(),
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

/// There was no place in a queue for too long.
const fn full() -> SwarmError {
    SwarmError::Busy { what: "messages for each subscriber", max: behaviour::QUEUE }
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
        match self.talk.topics.subscribe(&topic, &name, Arc::clone(&queue), Instant::now()) {
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
        let known = self.talk.said.get(&topic).copied();
        if self.talk.said.len() >= MAX_COUNTS && known.is_none() {
            let error = SwarmError::TooMany { what: "topics to publish on", max: MAX_COUNTS };
            return answer(reply, Err(error));
        }
        let now = Instant::now();
        let first = (1, now);
        let new = Said { count: 0, taken: Meter::new(now), last: now, first, rounds: 0 };
        let mut said = known.unwrap_or(new);
        said.count += 1;
        said.last = now;
        if said.rounds > 0 {
            said.first = (said.count, now);
        }
        said.rounds = 0;
        let sequence = Sequence { started: self.talk.started, count: said.count };
        let sealed = match envelope::seal(self.links.node(), &topic, sequence, data) {
            Ok(sealed) => sealed,
            Err(error) => return answer(reply, Err(refused(error))),
        };
        // The number is used whatever becomes of the message: the engine may have it by then.
        self.talk.said.insert(topic.clone(), said);
        let until = now + ready.min(MAX_WAIT);
        let lacks = Lacks::Subscriber;
        let mut unsent = Unsent { topic, name, sealed, sequence, lacks, until, reply };
        let own = self.talk.topics.has_subscribers(&unsent.topic);
        let ahead = self.talk.unsent.iter().find(|it| it.topic == unsent.topic);
        let (ahead, behind) = (ahead.map(|it| it.lacks), ahead.is_some());
        let sent = match ahead {
            None => self.send(&mut unsent),
            Some(Lacks::Place) => Err(unsent.lacks_place(now)),
            Some(lacks) => Err(Refused::Lacks(lacks)),
        };
        match sent {
            Ok(neighbours) => {
                self.talk.topics.own(&unsent.topic, self.me, sequence, data);
                answer(unsent.reply, Ok(Published { sequence, neighbours }));
            }
            Err(Refused::Lacks(Lacks::Subscriber)) if own && !behind => {
                self.talk.topics.own(&unsent.topic, self.me, sequence, data);
                answer(unsent.reply, Ok(Published { sequence, neighbours: 0 }));
            }
            Err(Refused::Lacks(lacks)) => {
                let waiting = self.talk.unsent.iter().map(|it| it.sealed.len()).sum::<usize>();
                if self.talk.unsent.len() >= MAX_UNSENT
                    || waiting + unsent.sealed.len() > MAX_UNSENT_BYTES
                {
                    let error = SwarmError::Busy { what: "messages that wait", max: MAX_UNSENT };
                    return answer(unsent.reply, Err(error));
                }
                self.talk.topics.own(&unsent.topic, self.me, sequence, data);
                if lacks == Lacks::Subscriber && !behind {
                    self.meet(&unsent.name);
                }
                self.talk.unsent.push(unsent);
            }
            Err(Refused::Error(error)) => answer(unsent.reply, Err(error)),
        }
    }

    /// Gives a message to the engine: to how many neighbours it is queued.
    fn send(&mut self, unsent: &mut Unsent) -> Result<usize, Refused> {
        let (now, rate) = (Instant::now(), self.talk.rate);
        let said = self.talk.said.get_mut(&unsent.topic);
        if said.as_ref().is_some_and(|said| !said.taken.has_room(now, OWN_BURST)) {
            return Err(unsent.lacks_place(now));
        }
        let hash = TopicHash::from_raw(&unsent.topic);
        match self.engine.behaviour_mut().gossip.publish(hash, unsent.sealed.as_slice()) {
            Ok(_) => {
                if let Some(said) = said {
                    said.taken.take(rate, unsent.sealed.len(), now);
                }
                // Own messages go to all subscribers that are linked.
                Ok(self.neighbours(&unsent.topic))
            }
            Err(PublishError::NoPeersSubscribedToTopic) => {
                unsent.lacks = Lacks::Subscriber;
                Err(Refused::Lacks(Lacks::Subscriber))
            }
            Err(PublishError::AllQueuesFull(_)) if envelope::try_again(&mut unsent.sealed) => {
                self.links.places().want();
                Err(unsent.lacks_place(now))
            }
            Err(PublishError::AllQueuesFull(_)) => Err(Refused::Error(full())),
            Err(error) => Err(Refused::Error(refused(error))),
        }
    }

    /// Sends again what waits and `is` holds for, each topic in its order.
    fn send_again(&mut self, is: impl Fn(&Unsent) -> bool) {
        for mut unsent in std::mem::take(&mut self.talk.unsent) {
            let behind = self.talk.unsent.iter().any(|it| it.topic == unsent.topic);
            if behind || !is(&unsent) {
                self.talk.unsent.push(unsent);
                continue;
            }
            match self.send(&mut unsent) {
                Ok(neighbours) => {
                    let published = Published { sequence: unsent.sequence, neighbours };
                    answer(unsent.reply, Ok(published));
                }
                Err(Refused::Lacks(_)) => self.talk.unsent.push(unsent),
                Err(Refused::Error(error)) => answer(unsent.reply, Err(error)),
            }
        }
    }

    /// Some messages went out, so others may have a place.
    pub(super) fn places_given(&mut self) {
        self.send_again(|unsent| unsent.lacks == Lacks::Place);
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

    pub(super) fn gossiped(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let topic = message.topic.as_str();
                let (now, at) = (store::now(), Instant::now());
                let judged = self.talk.topics.judge(self.me, topic, &message.data, now, at);
                let forged = judged == Judged::Forged;
                let judged = match judged {
                    Judged::Accepted => MessageAcceptance::Accept,
                    Judged::Known | Judged::Ahead | Judged::Over => MessageAcceptance::Ignore,
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
            gossipsub::Event::Subscribed { topic, .. } => {
                self.send_again(|unsent| unsent.topic == topic.as_str());
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::warn!(peer = %peer_id, "a peer takes messages too slowly, some are dropped");
            }
            _ => {}
        }
    }

    /// Gives up on subscribers that did not come in time, and on topics that nobody here reads.
    pub(super) fn tick_topics(&mut self, now: Instant) {
        self.places_given();
        let peers = self.engine.connected_peers().count();
        for unsent in std::mem::take(&mut self.talk.unsent) {
            if now < unsent.until {
                self.talk.unsent.push(unsent);
                continue;
            }
            let error = match unsent.lacks {
                Lacks::Subscriber => SwarmError::NoSubscribers { topic: unsent.name, peers },
                Lacks::Place => full(),
            };
            answer(unsent.reply, Err(error));
        }
        for late in self.talk.awaited.take_late(now) {
            answer(late, Ok(false));
        }
        self.tell_tails(now);
        for topic in self.talk.topics.sweep(now) {
            self.engine.behaviour_mut().gossip.unsubscribe(&IdentTopic::new(&topic));
            if let Some(name) = self.talk.names.remove(&topic) {
                let place = self.meeting_place(&name);
                self.kad().stop_providing(&place);
            }
        }
    }

    /// Tells subscribers how many messages there are once no more follow: who lacks some learns it.
    fn tell_tails(&mut self, now: Instant) {
        let unsent = &self.talk.unsent;
        let due = self.talk.said.iter().filter(|(topic, said)| {
            let after = TAIL_AFTER.get(usize::from(said.rounds));
            after.is_some_and(|after| now.saturating_duration_since(said.last) >= *after)
                && unsent.iter().all(|it| it.topic != **topic)
        });
        for topic in due.map(|(topic, _)| topic.clone()).collect::<Vec<_>>() {
            let Some(said) = self.talk.said.get_mut(&topic) else { continue };
            let newest = Sequence { started: self.talk.started, count: said.count };
            let ((first, begun), round) = (said.first, said.rounds);
            let age = now.saturating_duration_since(begun);
            let tail = Tail { newest, first, age, round };
            let sealed = envelope::seal_tail(self.links.node(), &topic, tail);
            let hash = TopicHash::from_raw(&topic);
            let told = sealed.map_or(true, |sealed| {
                let gossip = &mut self.engine.behaviour_mut().gossip;
                // Tried again while all queues are full; without subscribers nobody lacks anything.
                !matches!(gossip.publish(hash, sealed), Err(PublishError::AllQueuesFull(_)))
            });
            if told {
                said.rounds += 1;
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
