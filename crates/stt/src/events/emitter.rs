//! The emitter: names, their handlers, and the rules between them.

use std::{
    any::Any,
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::{
    runtime,
    sync::{Notify, mpsc},
};

use super::{
    Emission, Event, EventError, EventFilter, EventHandler, EventKind, EventStream, HandlerFuture,
    HandlerStats, Subscription,
    filter::CUSTOM,
    handler::{HandlerId, Offer, QueueLimits, Registered, Waiting, Watch},
};

/// Calls handlers when something happens.
///
/// Cheap to clone; clones share everything. Emitting never waits and never runs a handler inside
/// the call: each handler has its own queue and, while that is not empty, its own task on the
/// runtime. So a handler that waits or panics delays nobody but itself. One that blocks its thread
/// takes that thread from the runtime meanwhile: others go on where the runtime has threads left, and
/// on a current-thread runtime everything stands still. Such work belongs on
/// [`tokio::task::spawn_blocking`].
///
/// # Order
/// A handler gets the events of one emitting task in the order in which they were emitted, one at
/// a time. Between handlers there is no order. A handler of [`EventEmitter::ANY`] sees all events
/// in one order.
///
/// # Drop rules
/// - A handler that is busy has up to [`EmitterConfig::queue_events`] events and
///   [`EmitterConfig::queue_bytes`] bytes waiting (one event always fits). What is emitted while
///   its queue is full is lost *for this handler*: the newest is dropped, what waits stays.
/// - The first loss of a row is reported as a `warning` event with code `events.slow_handler`, all
///   are counted ([`HandlerStats::dropped`], [`EmitterStats::dropped`]).
/// - A handler that panics keeps its registration and gets its next event. The panic is counted
///   and reported as a `warning` event with code `events.handler_panicked`.
/// - Losses and panics of handlers of `warning` (and of handlers of all events while they handle
///   one) are counted only, so that no report causes the next.
/// - A removed handler gets nothing more, also not what was waiting; a call that runs already goes
///   on to its end.
///
/// # Memory
/// An idle handler costs at most 100 bytes plus what its closure captures, and 32 bytes where its
/// [`Subscription`] is; an event is shared by all handlers that wait for it.
///
/// ```
/// use stt::{Event, EventEmitter, EventKind};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let events = EventEmitter::new();
/// let mut warnings = events.subscribe(EventKind::Warning)?;
/// let greeter = events.on("my_event", |event| async move { println!("{}", event.name()) })?;
/// events.emit_and_wait(Event::custom("my_event", [("number", 1)])?).await;
/// drop(greeter); // From now on nobody listens to `my_event`.
///
/// events.emit(Event::Warning { code: "disk.low", details: "1 GiB left".into() });
/// assert_eq!(warnings.next().await.ok_or("no emitter")?.kind(), EventKind::Warning);
/// assert!(events.on("sesion_created", |_| async {}).is_err(), "did you mean `session_created`?");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EventEmitter {
    shared: Arc<Shared>,
}

/// Limits of an [`EventEmitter`]. [`EventEmitter::with_config`] tells what is out of its range.
#[derive(Clone, Copy, Debug)]
pub struct EmitterConfig {
    queue: QueueLimits,
}

/// What an emitter has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmitterStats {
    /// Events emitted, those without a handler included.
    pub emitted: u64,
    /// Calls of handlers begun.
    pub handled: u64,
    /// Events that some handler missed, once per handler.
    pub dropped: u64,
    /// Calls that panicked.
    pub panicked: u64,
    /// Handlers registered now.
    pub handlers: usize,
}

type Handler = Arc<Registered<dyn EventHandler>>;

pub(super) struct Shared {
    handlers: RwLock<HashMap<Arc<str>, Vec<Handler>>>,
    /// Bit `EventKind as u32` is set when somebody listens to that kind; bit 31 for all events.
    listened: AtomicU32,
    /// A built-in event is listened to that was not.
    heard: Notify,
    runtime: OnceLock<runtime::Handle>,
    limits: QueueLimits,
    next_id: AtomicU64,
    emitted: AtomicU64,
    dropped: AtomicU64,
    counters: Arc<Counters>,
    /// The same, as handlers see it.
    watch: Arc<dyn Watch>,
}

#[derive(Default)]
struct Counters {
    handled: AtomicU64,
    panicked: AtomicU64,
    /// Where panics are reported; empty once the emitter is gone.
    emitter: OnceLock<std::sync::Weak<Shared>>,
}

const ANY_BIT: u32 = 1 << 31;

impl EmitterConfig {
    /// Events that may wait for one handler, when nothing else is said.
    pub const DEFAULT_QUEUE_EVENTS: usize = 256;
    /// Bytes of events that may wait for one handler, when nothing else is said: 4 MiB.
    pub const DEFAULT_QUEUE_BYTES: usize = 4 << 20;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        let (events, bytes) = (Self::DEFAULT_QUEUE_EVENTS, Self::DEFAULT_QUEUE_BYTES);
        Self { queue: QueueLimits { events, bytes } }
    }

    /// How many events may wait for one handler, 1 to 65,536. Default:
    /// [`Self::DEFAULT_QUEUE_EVENTS`].
    #[must_use]
    pub const fn queue_events(mut self, events: usize) -> Self {
        self.queue.events = events;
        self
    }

    /// How many bytes of events may wait for one handler, 1 KiB to 1 GiB. Default:
    /// [`Self::DEFAULT_QUEUE_BYTES`].
    #[must_use]
    pub const fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue.bytes = bytes;
        self
    }

    fn check(&self) -> Result<(), EventError> {
        let checks = [
            ("queue_events", self.queue.events, 1, 65_536),
            ("queue_bytes", self.queue.bytes, 1 << 10, 1 << 30),
        ];
        for (what, got, min, max) in checks {
            if got < min || got > max {
                return Err(EventError::OutOfRange { what, min, max, got });
            }
        }
        Ok(())
    }
}

impl Default for EmitterConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl EventEmitter {
    /// The name that stands for all events when a handler is registered.
    pub const ANY: &'static str = "*";
    /// Most handlers of one event.
    pub const MAX_HANDLERS: usize = 65_536;
    /// Most names that have handlers at one time.
    pub const MAX_NAMES: usize = 4_096;

    /// An emitter with the default limits. Handlers run on the runtime from which the emitter is
    /// made or, when that is none, on the one from which the first handler is registered.
    #[must_use]
    pub fn new() -> Self {
        Self::make(EmitterConfig::new(), runtime::Handle::try_current().ok())
    }

    /// An emitter with other limits.
    ///
    /// # Errors
    /// [`EventError::OutOfRange`].
    pub fn with_config(config: EmitterConfig) -> Result<Self, EventError> {
        config.check()?;
        Ok(Self::make(config, runtime::Handle::try_current().ok()))
    }

    /// An emitter whose handlers run on this runtime, wherever it is made.
    ///
    /// # Errors
    /// [`EventError::OutOfRange`].
    pub fn with_runtime(
        config: EmitterConfig,
        runtime: runtime::Handle,
    ) -> Result<Self, EventError> {
        config.check()?;
        Ok(Self::make(config, Some(runtime)))
    }

    fn make(config: EmitterConfig, runtime: Option<runtime::Handle>) -> Self {
        let counters = Arc::new(Counters::default());
        let shared = Arc::new(Shared {
            handlers: RwLock::default(),
            listened: AtomicU32::new(0),
            heard: Notify::new(),
            runtime: runtime.map(OnceLock::from).unwrap_or_default(),
            limits: config.queue,
            next_id: AtomicU64::new(1),
            emitted: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            watch: Arc::clone(&counters) as Arc<dyn Watch>,
            counters,
        });
        let _ = shared.counters.emitter.set(Arc::downgrade(&shared));
        Self { shared }
    }

    /// Calls `handler` on every event of a kind or a name, until the subscription is dropped.
    /// [`EventFilter::All`], or [`Self::ANY`], stands for all events.
    ///
    /// # Errors
    /// [`EventError`] when there can be no such event, a limit is reached, or there is no runtime.
    pub fn on<'a, F, Fut>(
        &self,
        events: impl Into<EventFilter<'a>>,
        handler: F,
    ) -> Result<Subscription, EventError>
    where
        F: Fn(Arc<Event>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.add(events.into(), |id| Arc::new(Registered::new(id, false, handler)))
    }

    /// As [`Self::on`], for the next event only.
    ///
    /// # Errors
    /// As [`Self::on`].
    pub fn once<'a, F, Fut>(
        &self,
        events: impl Into<EventFilter<'a>>,
        handler: F,
    ) -> Result<Subscription, EventError>
    where
        F: Fn(Arc<Event>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.add(events.into(), |id| Arc::new(Registered::new(id, true, handler)))
    }

    /// As [`Self::on`], with a handler that is shared or whose type is not known.
    ///
    /// # Errors
    /// As [`Self::on`].
    pub fn register<'a>(
        &self,
        events: impl Into<EventFilter<'a>>,
        handler: Arc<dyn EventHandler>,
    ) -> Result<Subscription, EventError> {
        self.add(events.into(), |id| Arc::new(Registered::new(id, false, Shareable(handler))))
    }

    /// The events of a kind or a name, to be taken one after the other.
    ///
    /// # Errors
    /// As [`Self::on`].
    pub fn subscribe<'a>(
        &self,
        events: impl Into<EventFilter<'a>>,
    ) -> Result<EventStream, EventError> {
        // Of one place: what waits is in the handler's queue, under its limits.
        let (sender, arriving) = mpsc::channel(1);
        let subscription = self.on(events, move |event| {
            let sender = sender.clone();
            async move {
                // Nobody takes it any more when the stream is gone.
                let _ = sender.send(event).await;
            }
        })?;
        Ok(EventStream::new(arriving, subscription))
    }

    /// Removes all handlers of one kind or name and returns how many there were.
    pub fn clear_event<'a>(&self, events: impl Into<EventFilter<'a>>) -> usize {
        let key = events.into().key();
        let removed = {
            let mut all = self.shared.write();
            self.shared.forget(key);
            all.remove(key).unwrap_or_default()
        };
        removed.iter().for_each(|handler| handler.end());
        removed.len()
    }

    /// Removes all handlers.
    pub fn clear_all(&self) {
        let removed = {
            let mut all = self.shared.write();
            self.shared.listened.store(0, Ordering::Release);
            std::mem::take(&mut *all)
        };
        removed.values().flatten().for_each(|handler| handler.end());
    }

    /// The names that have handlers, in order; [`Self::ANY`] is among them if all events are
    /// listened to.
    #[must_use]
    pub fn event_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> =
            self.read().keys().filter(|key| &***key != CUSTOM).cloned().collect();
        names.sort_unstable();
        names
    }

    /// How many handlers a kind or a name has.
    #[must_use]
    pub fn handler_count<'a>(&self, events: impl Into<EventFilter<'a>>) -> usize {
        self.read().get(events.into().key()).map_or(0, Vec::len)
    }

    /// Whether anybody would be called for such an event: one atomic load, so that nobody makes an
    /// event in vain. For [`EventKind::Custom`], whether any custom name is listened to.
    #[must_use]
    pub fn wants(&self, kind: EventKind) -> bool {
        self.shared.listened.load(Ordering::Acquire) & (bit(kind) | ANY_BIT) != 0
    }

    /// Emits an event: it joins the queue of every handler of its name, and of all events. Never
    /// waits.
    pub fn emit(&self, event: Event) -> Emission {
        self.shared.emit(event, None)
    }

    /// Emits an event and waits until every handler that got it has finished with it (or was
    /// removed). Called from a handler of the same event it would wait for itself.
    pub async fn emit_and_wait(&self, event: Event) -> Emission {
        let (emission, handled) = self.emit_with_end(event);
        handled.await;
        emission
    }

    /// As [`Self::emit_and_wait`], but emits within the call.
    pub(crate) fn emit_tracked(&self, event: Event) -> impl Future<Output = ()> + Send + use<> {
        self.emit_with_end(event).1
    }

    fn emit_with_end(&self, event: Event) -> (Emission, impl Future<Output = ()> + Send + use<>) {
        let (done, mut finished) = mpsc::channel::<Infallible>(1);
        let emission = self.shared.emit(event, Some(done));
        // Nothing is ever sent: the channel ends when the last handler drops its sender.
        let handled = async move {
            let _ = finished.recv().await;
        };
        (emission, handled)
    }

    /// Whether this built-in event has a handler of its own; those of all events do not count.
    pub(crate) fn listens(&self, kind: EventKind) -> bool {
        self.shared.listened.load(Ordering::Acquire) & bit(kind) != 0
    }

    /// Ready once [`Self::listens`].
    pub(crate) async fn heard(&self, kind: EventKind) {
        loop {
            let heard = self.shared.heard.notified();
            let mut heard = std::pin::pin!(heard);
            heard.as_mut().enable();
            if self.listens(kind) {
                return;
            }
            heard.await;
        }
    }

    /// What the emitter has done so far.
    #[must_use]
    pub fn stats(&self) -> EmitterStats {
        EmitterStats {
            emitted: self.shared.emitted.load(Ordering::Relaxed),
            handled: self.shared.counters.handled.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            panicked: self.shared.counters.panicked.load(Ordering::Relaxed),
            handlers: self.read().values().map(Vec::len).sum(),
        }
    }

    fn add(
        &self,
        filter: EventFilter<'_>,
        make: impl FnOnce(HandlerId) -> Handler,
    ) -> Result<Subscription, EventError> {
        let key = filter.checked_key()?;
        if self.shared.runtime.get().is_none() {
            let handle = runtime::Handle::try_current().map_err(|_| EventError::NoRuntime)?;
            let _ = self.shared.runtime.set(handle);
        }
        let id = HandlerId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        let handler = make(id);
        let mut all = self.shared.write();
        let known = all.get_key_value(key).map(|(known, list)| (Arc::clone(known), list.len()));
        let (key, handlers) = match known {
            Some(known) => known,
            None if all.len() >= Self::MAX_NAMES => {
                return Err(EventError::TooManyNames { limit: Self::MAX_NAMES });
            }
            None => (Arc::from(key), 0),
        };
        if handlers >= Self::MAX_HANDLERS {
            return Err(EventError::TooManyHandlers { limit: Self::MAX_HANDLERS });
        }
        all.entry(Arc::clone(&key)).or_default().push(handler);
        let bit = if *key == *Self::ANY { ANY_BIT } else { bit(EventKind::of_name(&key)) };
        let before = self.shared.listened.fetch_or(bit, Ordering::AcqRel);
        drop(all);
        if before & bit == 0 {
            self.shared.heard.notify_waiters();
        }
        Ok(Subscription::new(Arc::downgrade(&self.shared), key, id))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Arc<str>, Vec<Handler>>> {
        self.shared.handlers.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Arc<str>, Vec<Handler>>> {
        self.handlers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes one handler. What it holds is dropped outside of the lock: that may be the last
    /// handle of a node, or another subscription.
    pub(super) fn remove(&self, key: &str, id: HandlerId) {
        let removed = {
            let mut all = self.write();
            let Some(list) = all.get_mut(key) else { return };
            let Some(at) = list.iter().position(|handler| handler.id == id) else { return };
            let removed = list.remove(at);
            if list.is_empty() {
                all.remove(key);
                self.forget(key);
            }
            removed
        };
        removed.end();
    }

    /// What one handler has done so far, while it is registered.
    pub(super) fn stats_of(&self, key: &str, id: HandlerId) -> Option<HandlerStats> {
        let all = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        all.get(key)?.iter().find(|handler| handler.id == id).map(|it| it.stats())
    }

    /// The last handler of a name is gone. The bit of custom events stays: it stands for many
    /// names, and only saves work.
    fn forget(&self, key: &str) {
        let bit = match EventKind::of_name(key) {
            EventKind::Custom if key == EventEmitter::ANY => ANY_BIT,
            EventKind::Custom => return,
            kind => bit(kind),
        };
        self.listened.fetch_and(!bit, Ordering::Release);
    }

    fn emit(&self, event: Event, done: Option<mpsc::Sender<Infallible>>) -> Emission {
        self.emitted.fetch_add(1, Ordering::Relaxed);
        let mut emission = Emission::default();
        let mut late = false;
        let mut over = false;
        let event = Arc::new(event);
        if let Some(runtime) = self.runtime.get() {
            let all = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
            let custom = if event.kind() == EventKind::Custom { all.get(CUSTOM) } else { None };
            let lists = [all.get(event.name()), all.get(EventEmitter::ANY), custom];
            for handler in lists.into_iter().flatten().flatten() {
                let waiting = Waiting { event: Arc::clone(&event), _done: done.clone() };
                match handler.offer(waiting, self.limits, runtime, &self.watch) {
                    Offer::Queued { last } => {
                        emission.queued += 1;
                        over |= last;
                    }
                    Offer::Dropped { first } => {
                        emission.dropped += 1;
                        late |= first;
                    }
                    Offer::Over => {}
                }
            }
        }
        drop(done);
        if over {
            self.sweep(event.name());
        }
        if emission.dropped > 0 {
            let dropped = u64::try_from(emission.dropped).unwrap_or(u64::MAX);
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
            if late && !matches!(*event, Event::Warning { .. }) {
                let details =
                    format!("a handler of `{}` is too slow and misses events", event.name());
                self.emit(Event::Warning { code: "events.slow_handler", details }, None);
            }
        }
        emission
    }

    /// Removes handlers that wanted one event and have it.
    fn sweep(&self, name: &str) {
        let mut all = self.write();
        let mut gone = Vec::new();
        for key in [name, EventEmitter::ANY, CUSTOM] {
            let Some(list) = all.get_mut(key) else { continue };
            gone.extend(list.extract_if(.., |handler| handler.is_over()));
            if list.is_empty() {
                all.remove(key);
                self.forget(key);
            }
        }
        drop(all);
        drop(gone);
    }
}

impl Default for EventEmitter {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for EventEmitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventEmitter").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Watch for Counters {
    fn ran(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    fn panicked(&self, event: &Event, panic: &(dyn Any + Send)) {
        self.panicked.fetch_add(1, Ordering::Relaxed);
        let emitter = self.emitter.get().and_then(std::sync::Weak::upgrade);
        if let (Some(emitter), false) = (emitter, matches!(event, Event::Warning { .. })) {
            let text = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no text");
            let details = format!("a handler of `{}` panicked: {text}", event.name());
            emitter.emit(Event::Warning { code: "events.handler_panicked", details }, None);
        }
    }
}

/// A shared handler as a handler.
struct Shareable(Arc<dyn EventHandler>);

impl EventHandler for Shareable {
    fn handle(&self, event: Arc<Event>) -> HandlerFuture {
        self.0.handle(event)
    }
}

const fn bit(kind: EventKind) -> u32 {
    1 << match kind {
        EventKind::SessionCreated => 0,
        EventKind::SessionClosed => 1,
        EventKind::PeerConnected => 2,
        EventKind::PeerDisconnected => 3,
        EventKind::DataReceived => 4,
        EventKind::Error => 5,
        EventKind::Warning => 6,
        EventKind::Custom => 7,
        EventKind::RouteChanged => 8,
        EventKind::HeartbeatMissed => 9,
    }
}
