//! What a listener holds: a handler's guard, and a stream of events.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use tokio::sync::mpsc;

use super::{Event, HandlerStats, emitter::Shared, handler::HandlerId};

/// Keeps a handler registered: dropped, the handler gets nothing more, also not what was waiting; a
/// call that runs already goes on to its end.
///
/// It does not keep the emitter. So a handler may hold the node whose events it handles: the node
/// lives no longer than the subscription for its sake.
#[must_use = "dropped, the handler is removed at once"]
pub struct Subscription {
    emitter: Weak<Shared>,
    key: Arc<str>,
    id: HandlerId,
}

impl Subscription {
    pub(super) const fn new(emitter: Weak<Shared>, key: Arc<str>, id: HandlerId) -> Self {
        Self { emitter, key, id }
    }

    /// What the handler has done so far; `None` when it was removed in another way, or had its one
    /// event, or the emitter is gone.
    #[must_use]
    pub fn stats(&self) -> Option<HandlerStats> {
        self.emitter.upgrade()?.stats_of(&self.key, self.id)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(emitter) = self.emitter.upgrade() {
            emitter.remove(&self.key, self.id);
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Events one after the other, from [`subscribe`](super::EventEmitter::subscribe): a
/// [`Stream`](futures_util::Stream), which ends with the emitter.
///
/// A reader that does not take them in time misses the newest, as a slow handler does. Dropped,
/// nothing is kept for it any more.
#[derive(Debug)]
pub struct EventStream {
    arriving: mpsc::Receiver<Arc<Event>>,
    subscription: Subscription,
}

impl EventStream {
    pub(super) const fn new(
        arriving: mpsc::Receiver<Arc<Event>>,
        subscription: Subscription,
    ) -> Self {
        Self { arriving, subscription }
    }

    /// The next event; `None` once the emitter is gone and all were taken.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        self.arriving.recv().await
    }

    /// Events that were missed because too many waited.
    #[must_use]
    pub fn missed(&self) -> u32 {
        self.subscription.stats().map_or(0, |stats| stats.dropped)
    }
}

impl futures_util::Stream for EventStream {
    type Item = Arc<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.arriving.poll_recv(cx)
    }
}
