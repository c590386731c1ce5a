//! Which topics this node subscribes to, for whom, and which messages it has had. No sockets, no
//! clocks.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use stt::NodeId;

use super::{
    Sequence, TopicMessage, envelope,
    queue::Queue,
    rate::{BURST, MessageRate, Meter},
};
use crate::dht::record;

/// Topics that a node subscribes to: peers take no more of one node.
pub(crate) const MAX_TOPICS: usize = 100;
/// Subscribers of one topic in this process.
pub(crate) const MAX_SUBSCRIBERS: usize = 256;
/// Publishers of one topic whose last sequences are known.
const MAX_PUBLISHERS: usize = 1_024;

/// What becomes of a message from a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is given to subscribers, and to other peers.
    Accepted,
    /// It was here before.
    Known,
    /// Its publisher began in the future, by the clock here. Another clock may say otherwise, so it
    /// is nobody's fault who passed it on.
    Ahead,
    /// It is over a limit. Others may have another one.
    Over,
    /// Nobody signed it.
    Forged,
}

/// What is taken on one topic, of one publisher and of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) publisher: MessageRate,
    pub(crate) topic: MessageRate,
}

/// The topics, by their hashes.
#[derive(Debug)]
pub(crate) struct Topics {
    limits: Limits,
    topics: HashMap<String, Topic>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    subscribers: Vec<Arc<Queue>>,
    publishers: HashMap<NodeId, Publisher>,
    /// Of all publishers. `None` before the first message.
    taken: Option<Meter>,
}

#[derive(Debug)]
struct Publisher {
    window: Window,
    taken: Meter,
}

/// Which of a publisher's last messages were here.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    newest: Sequence,
    /// Bit `n` is the message `n` before the newest.
    seen: u128,
}

impl Window {
    fn had(&self, sequence: Sequence) -> bool {
        let Some(back) = self.newest.count.checked_sub(sequence.count) else { return false };
        let bit = u32::try_from(back).ok().and_then(|back| 1_u128.checked_shl(back));
        sequence.started == self.newest.started && self.seen & bit.unwrap_or(0) != 0
    }

    /// Notes a message. False if it was here before, or is older than what is known.
    fn note(&mut self, sequence: Sequence) -> bool {
        if sequence.started != self.newest.started {
            let newer = sequence.started > self.newest.started;
            if newer {
                *self = Self { newest: sequence, seen: 1 };
            }
            return newer;
        }
        if sequence.count > self.newest.count {
            let by = u32::try_from(sequence.count - self.newest.count).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(by).unwrap_or(0) | 1;
            self.newest = sequence;
            return true;
        }
        let back = u32::try_from(self.newest.count - sequence.count).unwrap_or(u32::MAX);
        let bit = 1_u128.checked_shl(back).unwrap_or(0);
        let fresh = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

impl Topics {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, topics: HashMap::new() }
    }

    /// Whether a message of a peer was here, as far as that is known.
    pub(crate) fn had(&self, hash: &str, publisher: NodeId, sequence: Sequence) -> bool {
        let known = self.topics.get(hash).and_then(|topic| topic.publishers.get(&publisher));
        known.is_some_and(|known| known.window.had(sequence))
    }

    /// Adds a subscriber. True if it is the topic's first; `None` if there are too many, and of
    /// what.
    pub(crate) fn subscribe(
        &mut self,
        hash: &str,
        name: &str,
        queue: Arc<Queue>,
    ) -> Result<bool, (&'static str, usize)> {
        if let Some(topic) = self.topics.get_mut(hash) {
            topic.subscribers.retain(|queue| !queue.is_left());
            if topic.subscribers.len() >= MAX_SUBSCRIBERS {
                return Err(("subscribers of the topic", MAX_SUBSCRIBERS));
            }
            topic.subscribers.push(queue);
            return Ok(false);
        }
        if self.topics.len() >= MAX_TOPICS {
            return Err(("topics", MAX_TOPICS));
        }
        let topic = Topic {
            name: name.into(),
            subscribers: vec![queue],
            publishers: HashMap::new(),
            taken: None,
        };
        self.topics.insert(hash.to_owned(), topic);
        Ok(true)
    }

    /// Forgets who left; the topics that nobody subscribes to any more.
    pub(crate) fn sweep(&mut self) -> Vec<String> {
        for topic in self.topics.values_mut() {
            topic.subscribers.retain(|queue| !queue.is_left());
        }
        let empty = self.topics.extract_if(|_, topic| topic.subscribers.is_empty());
        empty.map(|(hash, _)| hash).collect()
    }

    #[cfg(test)]
    pub(crate) fn hashes(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// Whether this node has subscribers of the topic.
    pub(crate) fn has_subscribers(&self, hash: &str) -> bool {
        let subscribers = self.topics.get(hash).map(|topic| &topic.subscribers);
        subscribers.is_some_and(|all| all.iter().any(|queue| !queue.is_left()))
    }

    /// Gives this node's own message to its own subscribers.
    pub(crate) fn own(&self, hash: &str, publisher: NodeId, sequence: Sequence, data: &Bytes) {
        if let Some(topic) = self.topics.get(hash) {
            topic.deliver(publisher, sequence, data);
        }
    }

    /// Judges a message from a peer, and gives it to subscribers if it is sound. `now` is the time since 1970, `at` the same by the clock that does not jump.
    pub(crate) fn judge(
        &mut self,
        me: NodeId,
        hash: &str,
        bytes: &[u8],
        now: Duration,
        at: Instant,
    ) -> Judged {
        // Over a limit, no signature is checked: a check costs more than the rest.
        if let Some(topic) = self.topics.get(hash)
            && envelope::publisher(bytes).is_some_and(|it| it != me && topic.is_over(it, at))
        {
            topic.miss();
            return Judged::Over;
        }
        let Some(opened) = envelope::open(hash, bytes) else { return Judged::Forged };
        // Who said it began at the end of time would never give way to others.
        if opened.sequence.started > record::millis(now.saturating_add(record::SKEW)) {
            return Judged::Ahead;
        }
        let limits = self.limits;
        let Some(topic) = self.topics.get_mut(hash) else { return Judged::Known };
        if opened.publisher == me {
            return Judged::Known;
        }
        let publisher = topic.publisher(opened.publisher, at);
        if !publisher.window.note(opened.sequence) {
            return Judged::Known;
        }
        publisher.taken.take(limits.publisher, bytes.len(), at);
        let all = topic.taken.get_or_insert(Meter::new(at));
        all.take(limits.topic, bytes.len(), at);
        topic.deliver(opened.publisher, opened.sequence, &Bytes::copy_from_slice(opened.data));
        Judged::Accepted
    }
}

impl Topic {
    /// Whether nothing of `publisher` is taken at the moment.
    fn is_over(&self, publisher: NodeId, at: Instant) -> bool {
        let over = |taken: &Meter| !taken.has_room(at, BURST);
        self.taken.as_ref().is_some_and(over)
            || self.publishers.get(&publisher).is_some_and(|known| over(&known.taken))
    }

    /// What is known of a publisher, from now on something.
    fn publisher(&mut self, publisher: NodeId, at: Instant) -> &mut Publisher {
        if self.publishers.len() >= MAX_PUBLISHERS && !self.publishers.contains_key(&publisher) {
            // The one that began first, which is the least likely to be there still.
            let oldest = self.publishers.iter().min_by_key(|(_, known)| known.window.newest);
            if let Some(oldest) = oldest.map(|(publisher, _)| *publisher) {
                self.publishers.remove(&oldest);
            }
        }
        let unknown = Publisher { window: Window::default(), taken: Meter::new(at) };
        self.publishers.entry(publisher).or_insert(unknown)
    }

    /// Tells subscribers that a message is not theirs.
    fn miss(&self) {
        for queue in &self.subscribers {
            queue.miss();
        }
    }

    fn deliver(&self, publisher: NodeId, sequence: Sequence, data: &Bytes) {
        for queue in &self.subscribers {
            let (topic, data) = (Arc::clone(&self.name), data.clone());
            queue.push(TopicMessage { topic, data, publisher, sequence });
        }
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        for queue in self.topics.values().flat_map(|topic| &topic.subscribers) {
            queue.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        publisher: MessageRate { messages: 10, bytes: 1_000_000 },
        topic: MessageRate { messages: 15, bytes: 1_000_000 },
    };

    #[test]
    fn each_message_counts_once_whatever_the_order() {
        let at = |started, count| Sequence { started, count };
        let mut window = Window { newest: at(5, 10), seen: 1 };
        assert!(!window.note(at(5, 10)));
        assert!(window.note(at(5, 12)) && window.note(at(5, 11)));
        assert!(!window.note(at(5, 11)) && !window.note(at(5, 12)));
        assert!(window.had(at(5, 11)) && window.had(at(5, 12)) && !window.had(at(5, 9)));
        assert!(!window.had(at(5, 13)) && !window.had(at(4, 12)) && !window.had(at(6, 12)));
        assert!(window.note(at(5, u64::MAX)));
        assert!(window.had(at(5, u64::MAX)) && !window.had(at(5, 12)));
        // Too old to tell.
        assert!(!window.note(at(5, 13)));
        // Started again.
        assert!(window.note(at(6, 1)));
        assert!(!window.note(at(5, u64::MAX)) && !window.note(at(6, 1)));
    }

    #[tokio::test]
    async fn who_says_it_began_in_the_future_is_not_heard() {
        let seed = stt::SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
        let node = stt::Node::builder(seed).host("127.0.0.1").port(0);
        let node = node.start(stt::Mode::Server).await.unwrap();
        let mut topics = Topics::new(LIMITS);
        let queue = Arc::new(Queue::default());
        topics.subscribe("topic", "topic", Arc::clone(&queue)).unwrap();
        let now = Duration::from_secs(1_900_000_000);
        let latest = record::millis(now + record::SKEW);
        let me = NodeId::from_bytes([1; 32]);
        let mut judged = |started| {
            let sequence = Sequence { started, count: 1 };
            let sealed = envelope::seal(&node, "topic", sequence, b"data").unwrap();
            topics.judge(me, "topic", &sealed, now, Instant::now())
        };
        assert_eq!(judged(u64::MAX), Judged::Ahead);
        assert_eq!(judged(latest + 1), Judged::Ahead);
        assert_eq!(judged(latest), Judged::Accepted);
        assert_eq!(judged(latest), Judged::Known);
        assert_eq!(topics.judge(me, "topic", b"nonsense", now, Instant::now()), Judged::Forged);
    }

    #[tokio::test]
    async fn who_floods_is_dropped_and_told_as_a_gap_and_others_are_heard() {
        let node = async || {
            let seed = stt::SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
            let node = stt::Node::builder(seed).host("127.0.0.1").port(0);
            node.start(stt::Mode::Server).await.unwrap()
        };
        let (flooding, honest) = (node().await, node().await);
        let mut topics = Topics::new(LIMITS);
        let queue = Arc::new(Queue::default());
        topics.subscribe("topic", "topic", Arc::clone(&queue)).unwrap();
        let (me, now, at) = (NodeId::from_bytes([1; 32]), Duration::from_secs(9), Instant::now());
        let mut say = |node: &stt::Node, count, at| {
            let sequence = Sequence { started: 1, count };
            let sealed = envelope::seal(node, "topic", sequence, b"data").unwrap();
            topics.judge(me, "topic", &sealed, now, at)
        };
        let judged: Vec<_> = (1..=30).map(|count| say(&flooding, count, at)).collect();
        assert_eq!(judged.iter().filter(|judged| **judged == Judged::Accepted).count(), 10);
        assert!(judged[10..].iter().all(|judged| *judged == Judged::Over));
        assert_eq!(say(&honest, 1, at), Judged::Accepted);
        // All of them together have a limit, too.
        let judged: Vec<_> = (2..=9).map(|count| say(&honest, count, at)).collect();
        assert_eq!(judged.iter().filter(|judged| **judged == Judged::Accepted).count(), 4);
        // What was dropped is missing where it was, and the rate goes on.
        assert_eq!(say(&flooding, 31, at + Duration::from_secs(1)), Judged::Accepted);
        queue.end();
        let (mut messages, mut missed) = (0, Vec::new());
        while let Some(event) = queue.next().await {
            match event {
                super::super::TopicEvent::Message(_) => messages += 1,
                super::super::TopicEvent::Gap { missed: some } => missed.push(some),
            }
        }
        assert_eq!((messages, missed), (16, vec![20, 4]));
    }

    #[test]
    fn topics_and_subscribers_are_bounded_and_forgotten() {
        let mut topics = Topics::new(LIMITS);
        let queue = Arc::new(Queue::default());
        for topic in 0..MAX_TOPICS {
            let hash = topic.to_string();
            assert_eq!(topics.subscribe(&hash, &hash, Arc::clone(&queue)), Ok(true));
        }
        assert!(topics.subscribe("one more", "one more", Arc::clone(&queue)).is_err());
        for _ in 1..MAX_SUBSCRIBERS {
            assert_eq!(topics.subscribe("0", "0", Arc::default()), Ok(false));
        }
        assert!(topics.subscribe("0", "0", Arc::default()).is_err());
        queue.leave();
        assert_eq!(topics.sweep().len(), MAX_TOPICS - 1);
        assert_eq!(topics.hashes().collect::<Vec<_>>(), ["0"]);
    }
}
