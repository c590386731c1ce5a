//! What arrived and was not received yet: one queue per endpoint, and one order over all.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{EndpointError, EndpointId};

/// How much may wait to be received. [`super::EndpointManager::with_config`] tells what is out of
/// its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxLimits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) total_bytes: usize,
}

impl InboxLimits {
    /// Messages of one endpoint, when nothing else is said.
    pub const DEFAULT_MESSAGES: usize = 256;
    /// Bytes of one endpoint, when nothing else is said: 1 MiB. One message always fits.
    pub const DEFAULT_BYTES: usize = 1 << 20;
    /// Bytes of all endpoints, when nothing else is said: 256 MiB.
    pub const DEFAULT_TOTAL_BYTES: usize = 256 << 20;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            messages: Self::DEFAULT_MESSAGES,
            bytes: Self::DEFAULT_BYTES,
            total_bytes: Self::DEFAULT_TOTAL_BYTES,
        }
    }

    /// Messages of one endpoint, 1 to 65,536. Default: [`Self::DEFAULT_MESSAGES`].
    #[must_use]
    pub const fn messages(mut self, messages: usize) -> Self {
        self.messages = messages;
        self
    }

    /// Bytes of one endpoint, 1 KiB to 1 GiB. Default: [`Self::DEFAULT_BYTES`].
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Bytes of all endpoints, as many as of one at least, to 64 GiB. Default:
    /// [`Self::DEFAULT_TOTAL_BYTES`].
    #[must_use]
    pub const fn total_bytes(mut self, bytes: usize) -> Self {
        self.total_bytes = bytes;
        self
    }

    pub(super) fn check(self) -> Result<(), EndpointError> {
        let checks = [
            ("messages of one endpoint", self.messages, 1, 65_536),
            ("bytes of one endpoint", self.bytes, 1 << 10, 1 << 30),
            ("bytes of all endpoints", self.total_bytes, self.bytes, 64 << 30),
        ];
        for (what, got, min, max) in checks {
            if got < min || got > max {
                return Err(EndpointError::OutOfRange { what, min, max, got });
            }
        }
        Ok(())
    }
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// What waits, and what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxStats {
    /// Messages that wait.
    pub waiting: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Messages dropped because a queue was full, or with the endpoint that they were for.
    pub dropped: u64,
}

/// A received message and its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incoming {
    /// The endpoint that sent it.
    pub id: EndpointId,
    /// The message, shared and not copied.
    pub data: Bytes,
}

/// All queues. An endpoint without waiting messages and waiting receivers has none.
#[derive(Debug)]
pub(super) struct Inbox {
    limits: InboxLimits,
    queues: HashMap<EndpointId, Queue>,
    /// Arrivals in order. An entry is stale once `receive_from` took its message.
    order: VecDeque<(EndpointId, u64)>,
    arrivals: u64,
    waiting: usize,
    bytes: usize,
    dropped: u64,
    any: Arc<Notify>,
    /// Woken when there is room again.
    room: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<(u64, Bytes)>,
    bytes: usize,
    arrived: Option<Arc<Notify>>,
}

impl Inbox {
    pub(super) fn new(limits: InboxLimits) -> Self {
        Self {
            limits,
            queues: HashMap::new(),
            order: VecDeque::new(),
            arrivals: 0,
            waiting: 0,
            bytes: 0,
            dropped: 0,
            any: Arc::default(),
            room: Arc::default(),
        }
    }

    pub(super) const fn stats(&self) -> InboxStats {
        InboxStats { waiting: self.waiting, waiting_bytes: self.bytes, dropped: self.dropped }
    }

    pub(super) fn any(&self) -> Arc<Notify> {
        Arc::clone(&self.any)
    }

    pub(super) fn room(&self) -> Arc<Notify> {
        Arc::clone(&self.room)
    }

    /// What is woken when something arrives for `id`, or it is removed.
    pub(super) fn arrival(&mut self, id: &EndpointId) -> Arc<Notify> {
        let queue = self.queues.entry(id.clone()).or_default();
        Arc::clone(queue.arrived.get_or_insert_default())
    }

    /// Whether a message of this length fits now.
    pub(super) fn has_room(&self, id: &EndpointId, length: usize) -> bool {
        let all = self.waiting == 0 || self.bytes.saturating_add(length) <= self.limits.total_bytes;
        let own = self.queues.get(id).is_none_or(|queue| {
            queue.messages.is_empty()
                || (queue.messages.len() < self.limits.messages
                    && queue.bytes.saturating_add(length) <= self.limits.bytes)
        });
        all && own
    }

    /// Puts a message in, whether it fits or not.
    pub(super) fn push(&mut self, id: &EndpointId, data: Bytes) {
        self.arrivals += 1;
        self.waiting += 1;
        self.bytes += data.len();
        let queue = self.queues.entry(id.clone()).or_default();
        queue.bytes += data.len();
        queue.messages.push_back((self.arrivals, data));
        if let Some(arrived) = &queue.arrived {
            arrived.notify_one();
        }
        self.order.push_back((id.clone(), self.arrivals));
        self.any.notify_one();
        if self.order.len() > 2 * self.waiting + 1_024 {
            let queues = &self.queues;
            self.order.retain(|(id, number)| is_waiting(queues, id, *number));
        }
    }

    pub(super) const fn count_dropped(&mut self) {
        self.dropped += 1;
    }

    pub(super) fn pop(&mut self, id: &EndpointId) -> Option<Incoming> {
        let queue = self.queues.get_mut(id)?;
        let (_, data) = queue.messages.pop_front()?;
        queue.bytes -= data.len();
        let waited_for = queue.arrived.as_ref().is_some_and(|it| Arc::strong_count(it) > 1);
        if queue.messages.is_empty() && !waited_for {
            self.queues.remove(id);
        }
        self.waiting -= 1;
        self.bytes -= data.len();
        if self.waiting == 0 {
            self.order.clear();
        }
        self.room.notify_waiters();
        Some(Incoming { id: id.clone(), data })
    }

    pub(super) fn pop_any(&mut self) -> Option<Incoming> {
        while let Some((id, number)) = self.order.pop_front() {
            if is_waiting(&self.queues, &id, number)
                && let Some(next) = self.pop(&id)
            {
                return Some(next);
            }
        }
        None
    }

    pub(super) fn remove(&mut self, id: &EndpointId) {
        let Some(queue) = self.queues.remove(id) else { return };
        self.waiting -= queue.messages.len();
        self.bytes -= queue.bytes;
        self.dropped += u64::try_from(queue.messages.len()).unwrap_or(u64::MAX);
        if let Some(arrived) = queue.arrived {
            arrived.notify_waiters();
        }
        self.room.notify_waiters();
    }
}

fn is_waiting(queues: &HashMap<EndpointId, Queue>, id: &EndpointId, number: u64) -> bool {
    queues
        .get(id)
        .and_then(|queue| queue.messages.front())
        .is_some_and(|(first, _)| *first <= number)
}
