//! What waits for one subscriber. Bounded in bytes: who is slow is told how much it missed.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use super::{TopicEvent, TopicMessage};

/// Bytes that wait for one subscriber.
const MAX_BYTES: usize = 4 << 20;
/// What a message costs beside its bytes.
const ENTRY: usize = 128;

/// What waits for one subscriber.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    left: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<TopicMessage>,
    bytes: usize,
    /// Messages that did not fit since the last that did.
    missed: u64,
    /// What is said between two of the waiting ones: before which one, counted from the front, and
    /// how many were missed.
    gaps: VecDeque<(usize, u64)>,
    over: bool,
}

impl Queue {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in, or counts it as missed.
    pub(crate) fn push(&self, message: TopicMessage) {
        {
            let mut inner = self.inner();
            let cost = message.data.len() + ENTRY;
            if inner.bytes + cost > MAX_BYTES {
                inner.missed = inner.missed.saturating_add(1);
            } else {
                if inner.missed > 0 {
                    let gap = (inner.waiting.len(), std::mem::take(&mut inner.missed));
                    inner.gaps.push_back(gap);
                }
                inner.bytes += cost;
                inner.waiting.push_back(message);
            }
        }
        self.changed.notify_one();
    }

    /// Counts messages that are lost as missed.
    pub(crate) fn miss(&self, messages: u64) {
        {
            let mut inner = self.inner();
            if inner.over {
                return;
            }
            inner.missed = inner.missed.saturating_add(messages);
        }
        self.changed.notify_one();
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        self.inner().over = true;
        self.changed.notify_one();
    }

    /// Nobody takes anything any more.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Release);
        *self.inner() = Inner { over: true, ..Inner::default() };
    }

    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// `Some(None)` at the end.
    fn take(&self) -> Option<Option<TopicEvent>> {
        let mut inner = self.inner();
        if let Some(&(0, missed)) = inner.gaps.front() {
            inner.gaps.pop_front();
            return Some(Some(TopicEvent::Gap { missed }));
        }
        if let Some(message) = inner.waiting.pop_front() {
            inner.bytes = inner.bytes.saturating_sub(message.data.len() + ENTRY);
            for gap in &mut inner.gaps {
                gap.0 = gap.0.saturating_sub(1);
            }
            return Some(Some(TopicEvent::Message(message)));
        }
        if inner.missed > 0 {
            return Some(Some(TopicEvent::Gap { missed: std::mem::take(&mut inner.missed) }));
        }
        inner.over.then_some(None)
    }

    /// The next one; `None` at the end. A dropped future has taken nothing.
    pub(crate) async fn next(&self) -> Option<TopicEvent> {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = self.take() {
                return taken;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use stt::NodeId;

    use super::*;
    use crate::pubsub::Sequence;

    fn message(count: u64, len: usize) -> TopicMessage {
        let publisher = NodeId::from_bytes([1; 32]);
        let sequence = Sequence { started: 1, count };
        TopicMessage { topic: "t".into(), data: Bytes::from(vec![0; len]), publisher, sequence }
    }

    #[tokio::test]
    async fn who_is_slow_is_told_where_and_how_much_it_missed() {
        let queue = Queue::default();
        for count in 0..6 {
            queue.push(message(count, 1 << 20));
        }
        // Three fit.
        let taken = queue.next().await;
        assert_eq!(taken, Some(TopicEvent::Message(message(0, 1 << 20))));
        queue.push(message(6, 1 << 20));
        queue.push(message(7, 1 << 20));
        queue.end();
        let mut rest = Vec::new();
        while let Some(event) = queue.next().await {
            rest.push(match event {
                TopicEvent::Message(message) => message.sequence.count,
                TopicEvent::Gap { missed } => 100 + missed,
            });
        }
        assert_eq!(rest, [1, 2, 103, 6, 101]);
    }

    #[tokio::test]
    async fn what_is_lost_is_told_between_the_messages() {
        let queue = Queue::default();
        queue.push(message(0, 1));
        queue.miss(1);
        queue.miss(1);
        queue.push(message(1, 1));
        assert_eq!(queue.next().await, Some(TopicEvent::Message(message(0, 1))));
        assert_eq!(queue.next().await, Some(TopicEvent::Gap { missed: 2 }));
        assert_eq!(queue.next().await, Some(TopicEvent::Message(message(1, 1))));
        queue.leave();
        queue.miss(1);
        assert_eq!(queue.next().await, None);
    }
}
