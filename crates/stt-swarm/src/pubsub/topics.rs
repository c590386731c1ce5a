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
    Sequence, TopicMessage,
    envelope::{self, Claim, Said},
    queue::Queue,
    rate::MessageRate,
    share::{Shared, Taken},
    window::{Lost, Window},
};
use crate::dht::record;

/// Topics that a node subscribes to: peers take no more of one node.
pub(crate) const MAX_TOPICS: usize = 100;
/// Subscribers of one topic in this process.
pub(crate) const MAX_SUBSCRIBERS: usize = 256;
/// Publishers of one topic whose last sequences are known.
const MAX_PUBLISHERS: usize = 1_024;
/// Holes in what came of one publisher: so many for each, more while all of a topic have few.
const HOLES_OF_EACH: usize = 16;
const MAX_HOLES_OF_ONE: usize = 1_024;
const MANY_HOLES: usize = 4_096;

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
    subscribers: Vec<Subscriber>,
    publishers: HashMap<NodeId, Publisher>,
    /// In all of the publishers' windows.
    holes: usize,
    shared: Shared,
}

#[derive(Debug)]
struct Subscriber {
    since: Instant,
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Publisher {
    window: Window,
    /// The last that it said to be its last, and in which round.
    tail: (Sequence, u8),
    taken: Taken,
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
        at: Instant,
    ) -> Result<bool, (&'static str, usize)> {
        let subscriber = Subscriber { since: at, queue };
        if let Some(topic) = self.topics.get_mut(hash) {
            topic.subscribers.retain(|it| !it.queue.is_left());
            if topic.subscribers.len() >= MAX_SUBSCRIBERS {
                return Err(("subscribers of the topic", MAX_SUBSCRIBERS));
            }
            topic.subscribers.push(subscriber);
            return Ok(false);
        }
        if self.topics.len() >= MAX_TOPICS {
            return Err(("topics", MAX_TOPICS));
        }
        let topic = Topic {
            name: name.into(),
            subscribers: vec![subscriber],
            publishers: HashMap::new(),
            holes: 0,
            shared: Shared::new(at),
        };
        self.topics.insert(hash.to_owned(), topic);
        Ok(true)
    }

    /// Tells what did not come in time, and forgets who left; the topics that nobody subscribes to
    /// any more.
    pub(crate) fn sweep(&mut self, at: Instant) -> Vec<String> {
        for topic in self.topics.values_mut() {
            topic.subscribers.retain(|it| !it.queue.is_left());
            topic.give_up_late(at);
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
        subscribers.is_some_and(|all| all.iter().any(|it| !it.queue.is_left()))
    }

    /// Gives this node's own message to its own subscribers.
    pub(crate) fn own(&self, hash: &str, publisher: NodeId, sequence: Sequence, data: &Bytes) {
        if let Some(topic) = self.topics.get(hash) {
            topic.deliver(publisher, sequence, data);
        }
    }

    /// Judges a message from a peer, and gives it to subscribers if it is sound. `now` is the time
    /// since 1970, `at` the same by the clock that does not jump.
    pub(crate) fn judge(
        &mut self,
        me: NodeId,
        hash: &str,
        bytes: &[u8],
        now: Duration,
        at: Instant,
    ) -> Judged {
        let Some(claim) = envelope::claim(bytes) else { return Judged::Forged };
        // A signature is only checked if something could come of it: a check costs more than the
        // rest. Nothing is counted before: whoever has not signed it may say anything.
        if let Some(topic) = self.topics.get(hash)
            && claim.publisher != me
        {
            if topic.has(&claim) {
                return Judged::Known;
            }
            if !topic.takes(claim.publisher, at) {
                return Judged::Over;
            }
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
        topic.count(opened.publisher, limits, bytes.len(), at);
        topic.note(opened.publisher, opened.sequence, opened.said, at);
        if let Said::Message(data) = opened.said {
            topic.deliver(opened.publisher, opened.sequence, &Bytes::copy_from_slice(data));
        }
        Judged::Accepted
    }
}

impl Topic {
    /// Whether what is claimed was here before, or is older than what is known.
    fn has(&self, claim: &Claim) -> bool {
        let known = self.publishers.get(&claim.publisher);
        known.is_some_and(|known| match claim.round {
            None => !known.window.lacks(claim.sequence),
            Some(round) => (claim.sequence, round) <= known.tail,
        })
    }

    /// Whether something of `publisher` is taken at the moment.
    fn takes(&self, publisher: NodeId, at: Instant) -> bool {
        self.shared.takes(self.publishers.get(&publisher).map(|known| &known.taken), at)
    }

    /// Counts a message of `publisher`, of whom something is known from now on.
    fn count(&mut self, publisher: NodeId, limits: Limits, len: usize, at: Instant) {
        if self.publishers.len() >= MAX_PUBLISHERS && !self.publishers.contains_key(&publisher) {
            // The one that began first, which is the least likely to be there still.
            let oldest = self.publishers.iter().min_by_key(|(_, known)| known.window.newest());
            if let Some(oldest) = oldest.map(|(publisher, _)| *publisher)
                && let Some(known) = self.publishers.remove(&oldest)
            {
                self.holes -= known.window.holes();
                let mut lost = Vec::new();
                known.window.give_up(&mut lost);
                self.tell(&lost);
            }
        }
        let known = self.publishers.values();
        self.shared.count(at, || known.filter(|known| known.taken.is_active(at)).count());
        let unknown = || Publisher {
            window: Window::new(),
            tail: (Sequence::default(), 0),
            taken: Taken::new(at),
        };
        let known = self.publishers.entry(publisher).or_insert_with(unknown);
        self.shared.take(&mut known.taken, limits, len, at);
    }

    /// Notes what a publisher said, and tells what is lost thereby.
    fn note(&mut self, publisher: NodeId, sequence: Sequence, said: Said<'_>, at: Instant) {
        let max = if self.holes < MANY_HOLES { MAX_HOLES_OF_ONE } else { HOLES_OF_EACH };
        let Some(known) = self.publishers.get_mut(&publisher) else { return };
        let (before, mut lost) = (known.window.holes(), Vec::new());
        match said {
            Said::Message(_) => {
                known.window.note(sequence, at, max, &mut lost);
            }
            Said::Tail(tail) => {
                known.tail = (sequence, tail.round);
                known.window.note_tail(tail, at, max, &mut lost);
            }
        }
        self.holes = self.holes + known.window.holes() - before;
        self.tell(&lost);
    }

    fn give_up_late(&mut self, at: Instant) {
        let mut lost = Vec::new();
        for known in self.publishers.values_mut() {
            known.window.give_up_late(at, &mut lost);
        }
        self.tell(&lost);
    }

    /// Tells subscribers what is lost to them.
    fn tell(&self, lost: &[Lost]) {
        for lost in lost {
            for subscriber in self.subscribers.iter().filter(|it| it.since <= lost.since) {
                subscriber.queue.miss(lost.messages);
            }
        }
    }

    fn deliver(&self, publisher: NodeId, sequence: Sequence, data: &Bytes) {
        for subscriber in &self.subscribers {
            let (topic, data) = (Arc::clone(&self.name), data.clone());
            subscriber.queue.push(TopicMessage { topic, data, publisher, sequence });
        }
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        for subscriber in self.topics.values().flat_map(|topic| &topic.subscribers) {
            subscriber.queue.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::window::Tail, *};

    const LIMITS: Limits = Limits {
        publisher: MessageRate { messages: 10, bytes: 1_000_000 },
        topic: MessageRate { messages: 15, bytes: 1_000_000 },
    };

    #[tokio::test]
    async fn who_says_it_began_in_the_future_is_not_heard() {
        let node = node().await;
        let mut topics = Topics::new(LIMITS);
        let queue = Arc::new(Queue::default());
        topics.subscribe("topic", "topic", Arc::clone(&queue), Instant::now()).unwrap();
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

    async fn node() -> stt::Node {
        let seed = stt::SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
        let node = stt::Node::builder(seed).host("127.0.0.1").port(0);
        node.start(stt::Mode::Server).await.unwrap()
    }

    /// How many messages wait for a subscriber, and what is told as gaps.
    async fn read(queue: &Queue) -> (usize, Vec<u64>) {
        queue.end();
        let (mut messages, mut missed) = (0, Vec::new());
        while let Some(event) = queue.next().await {
            match event {
                super::super::TopicEvent::Message(_) => messages += 1,
                super::super::TopicEvent::Gap { missed: some } => missed.push(some),
            }
        }
        (messages, missed)
    }

    #[tokio::test]
    async fn who_floods_is_dropped_and_told_as_a_gap_and_others_are_heard() {
        let (flooding, honest) = (node().await, node().await);
        let mut topics = Topics::new(LIMITS);
        let (queue, at) = (Arc::new(Queue::default()), Instant::now());
        topics.subscribe("topic", "topic", Arc::clone(&queue), at).unwrap();
        let (me, now) = (NodeId::from_bytes([1; 32]), Duration::from_secs(9));
        let mut say = |node: &stt::Node, count, at| {
            let sequence = Sequence { started: 1, count };
            let sealed = envelope::seal(node, "topic", sequence, b"data").unwrap();
            topics.judge(me, "topic", &sealed, now, at)
        };
        let judged: Vec<_> = (1..=30).map(|count| say(&flooding, count, at)).collect();
        assert_eq!(judged.iter().filter(|judged| **judged == Judged::Accepted).count(), 10);
        assert!(judged[10..].iter().all(|judged| *judged == Judged::Over));
        assert_eq!(say(&honest, 1, at), Judged::Accepted);
        // All of them together have a limit, too, and each has its share of it.
        let judged: Vec<_> = (2..=9).map(|count| say(&honest, count, at)).collect();
        assert_eq!(judged.iter().filter(|judged| **judged == Judged::Accepted).count(), 6);
        // What was dropped is told once a later message shows that it was there, and the rate goes
        // on.
        let later = at + Duration::from_secs(2);
        assert_eq!(say(&flooding, 31, later), Judged::Accepted);
        assert!(topics.sweep(later + Duration::from_secs(9)).is_empty());
        assert!(topics.sweep(later + Duration::from_secs(10)).is_empty());
        assert_eq!(read(&queue).await, (18, vec![20]));
    }

    #[tokio::test]
    async fn what_is_lost_is_told_also_if_nothing_comes_after_it_and_to_whom_it_is_lost() {
        let publisher = node().await;
        let mut topics = Topics::new(LIMITS);
        let (early, late, start) = (Arc::new(Queue::default()), Arc::default(), Instant::now());
        topics.subscribe("topic", "topic", Arc::clone(&early), start).unwrap();
        let (me, now) = (NodeId::from_bytes([1; 32]), Duration::from_secs(9));
        let at = |seconds| start + Duration::from_secs(seconds);
        for (count, seconds) in [(3, 20), (5, 21), (5, 21)] {
            let sequence = Sequence { started: 1, count };
            let sealed = envelope::seal(&publisher, "topic", sequence, b"data").unwrap();
            topics.judge(me, "topic", &sealed, now, at(seconds));
        }
        topics.subscribe("topic", "topic", Arc::clone(&late), at(22)).unwrap();
        let newest = Sequence { started: 1, count: 9 };
        let tail = Tail { newest, first: 1, age: Duration::from_secs(7), round: 0 };
        let sealed = envelope::seal_tail(&publisher, "topic", tail).unwrap();
        assert_eq!(topics.judge(me, "topic", &sealed, now, at(24)), Judged::Accepted);
        assert_eq!(topics.judge(me, "topic", &sealed, now, at(24)), Judged::Known);
        assert!(topics.sweep(at(60)).is_empty());
        // 1 and 2, which the first could have had; 4, and 6 to 9.
        assert_eq!(read(&early).await, (2, vec![7]));
        assert_eq!(read(&late).await, (0, vec![4]));
    }

    #[test]
    fn topics_and_subscribers_are_bounded_and_forgotten() {
        let mut topics = Topics::new(LIMITS);
        let (queue, now) = (Arc::new(Queue::default()), Instant::now());
        for topic in 0..MAX_TOPICS {
            let hash = topic.to_string();
            assert_eq!(topics.subscribe(&hash, &hash, Arc::clone(&queue), now), Ok(true));
        }
        assert!(topics.subscribe("one more", "one more", Arc::clone(&queue), now).is_err());
        for _ in 1..MAX_SUBSCRIBERS {
            assert_eq!(topics.subscribe("0", "0", Arc::default(), now), Ok(false));
        }
        assert!(topics.subscribe("0", "0", Arc::default(), now).is_err());
        queue.leave();
        assert_eq!(topics.sweep(now).len(), MAX_TOPICS - 1);
        assert_eq!(topics.hashes().collect::<Vec<_>>(), ["0"]);
    }
}
