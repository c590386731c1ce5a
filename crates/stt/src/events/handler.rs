//! One handler, its queue, and the task that empties the queue.

use std::{
    any::Any,
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{runtime, sync::mpsc};

use super::Event;
use crate::catch_panic::catching;

/// What a handler returns: it is awaited before the same handler gets its next event.
pub type HandlerFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that handles events. Every `Fn(Arc<Event>) -> impl Future` is one.
pub trait EventHandler: Send + Sync + 'static {
    /// Handles one event.
    fn handle(&self, event: Arc<Event>) -> HandlerFuture;
}

impl<F, Fut> EventHandler for F
where
    F: Fn(Arc<Event>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn handle(&self, event: Arc<Event>) -> HandlerFuture {
        Box::pin(self(event))
    }
}

/// Names one registration. Never reused by the same emitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandlerId(pub(super) u64);

/// What became of one emission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Emission {
    /// Handlers that have it, or will as soon as they finished what came before.
    pub queued: usize,
    /// Handlers that miss it because their queue was full.
    pub dropped: usize,
}

/// What one handler has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStats {
    /// Events waiting in its queue.
    pub waiting: usize,
    /// Events that it missed because its queue was full.
    pub dropped: u32,
    /// Calls that panicked.
    pub panicked: u32,
}

/// Limits of one handler's queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// Told about handlers that miss events or panic.
pub(super) trait Watch: Send + Sync {
    fn ran(&self);
    fn panicked(&self, event: &Event, panic: &(dyn Any + Send));
}

/// An event in a queue. The sender is dropped when the handler is done with it, which is how
/// `emit_and_wait` learns that.
pub(super) struct Waiting {
    pub(super) event: Arc<Event>,
    pub(super) _done: Option<mpsc::Sender<Infallible>>,
}

/// What [`Registered::offer`] did with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// It waits in the queue; `last` when the handler wanted only one.
    Queued { last: bool },
    /// The queue was full; `first` of a row of drops.
    Dropped { first: bool },
    /// The handler wanted one event and has it already, or was removed.
    Over,
}

/// A registered handler. Kept small: an idle one has no queue and no task.
pub(super) struct Registered<H: ?Sized> {
    pub(super) id: HandlerId,
    lane: Mutex<Lane>,
    handler: H,
}

#[derive(Default)]
struct Lane {
    /// Present only while a task runs.
    queue: Option<Box<Queue>>,
    dropped: u32,
    panicked: u32,
    once: bool,
    over: bool,
    /// The last event was dropped.
    full: bool,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl<H> Registered<H> {
    pub(super) fn new(id: HandlerId, once: bool, handler: H) -> Self {
        Self { id, lane: Mutex::new(Lane { once, ..Lane::default() }), handler }
    }
}

impl<H: ?Sized> Registered<H> {
    fn lane(&self) -> MutexGuard<'_, Lane> {
        // Nothing panics while the lane is locked; handlers run outside.
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> HandlerStats {
        let lane = self.lane();
        HandlerStats {
            waiting: lane.queue.as_ref().map_or(0, |queue| queue.waiting.len()),
            dropped: lane.dropped,
            panicked: lane.panicked,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.lane().over
    }

    /// No more events: what waits is dropped, a call that runs goes on to its end.
    pub(super) fn end(&self) {
        let mut lane = self.lane();
        lane.over = true;
        let waiting =
            lane.queue.as_mut().map(|queue| std::mem::take(&mut **queue)).unwrap_or_default();
        drop(lane);
        drop(waiting);
    }

    /// The next event to handle; without one the task ends.
    fn next(&self) -> Option<Waiting> {
        let mut lane = self.lane();
        let next = lane.queue.as_mut().and_then(|queue| {
            let next = queue.waiting.pop_front()?;
            queue.bytes = queue.bytes.saturating_sub(next.event.weight());
            Some(next)
        });
        if next.is_none() {
            lane.queue = None;
        }
        next
    }
}

impl Registered<dyn EventHandler> {
    /// Puts an event into the queue and starts the task that empties it, unless it runs already.
    pub(super) fn offer(
        self: &Arc<Self>,
        waiting: Waiting,
        limits: QueueLimits,
        runtime: &runtime::Handle,
        watch: &Arc<dyn Watch>,
    ) -> Offer {
        let weight = waiting.event.weight();
        let mut lane = self.lane();
        if lane.over {
            return Offer::Over;
        }
        let runs = lane.queue.is_some();
        let full = lane.queue.as_ref().is_some_and(|queue| {
            queue.waiting.len() >= limits.events
                || (!queue.waiting.is_empty() && queue.bytes + weight > limits.bytes)
        });
        if full {
            lane.dropped = lane.dropped.saturating_add(1);
            let first = !std::mem::replace(&mut lane.full, true);
            return Offer::Dropped { first };
        }
        lane.full = false;
        let last = lane.once;
        lane.over = last;
        let queue = lane.queue.get_or_insert_default();
        queue.bytes += weight;
        queue.waiting.push_back(waiting);
        drop(lane);
        if !runs {
            runtime.spawn(Arc::clone(self).run(Arc::clone(watch)));
        }
        Offer::Queued { last }
    }

    async fn run(self: Arc<Self>, watch: Arc<dyn Watch>) {
        while let Some(waiting) = self.next() {
            watch.ran();
            if let Err(panic) = catching(|| self.handler.handle(Arc::clone(&waiting.event))).await {
                {
                    let mut lane = self.lane();
                    lane.panicked = lane.panicked.saturating_add(1);
                }
                watch.panicked(&waiting.event, &*panic);
            }
        }
    }
}
