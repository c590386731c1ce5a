//! Makes streams, knows them, ends them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc},
    time::timeout,
};

use crate::{
    BidirectionalStream, BreakerConfig, ManagedStream, StreamConfig, StreamEvent, StreamsError,
    driver::{self, Greeted, Source},
    frame::MAX_ID,
    machine::Machine,
    memory::Ledger,
    recovery::{Recovery, lock, now},
    shared::Shared,
    transport::{Connector, Transport},
};

/// Events that a slow listener may be behind before it misses some.
const EVENTS: usize = 1_024;

/// Limits on all streams of a manager together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerLimits {
    pub(crate) max_streams: usize,
    pub(crate) memory_limit: usize,
    pub(crate) breaker: BreakerConfig,
}

impl ManagerLimits {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Streams. 1 to 1,000,000; 1,024.
    #[must_use]
    pub const fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// Bytes that the streams hold together, half for each direction: outbound never more; inbound
    /// at most that, a quarter spread evenly over `max_streams`, and one message of each stream.
    /// 1 MiB and up; 256 MiB.
    #[must_use]
    pub const fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// The circuit breaker of each destination.
    #[must_use]
    pub const fn breaker(mut self, breaker: BreakerConfig) -> Self {
        self.breaker = breaker;
        self
    }
}

impl Default for ManagerLimits {
    fn default() -> Self {
        Self { max_streams: 1_024, memory_limit: 256 << 20, breaker: BreakerConfig::default() }
    }
}

struct Entry {
    stream: ManagedStream,
    /// Set while the peer is the one that connects.
    calls: Option<mpsc::Sender<Greeted>>,
}

struct Inner {
    config: Arc<StreamConfig>,
    limits: ManagerLimits,
    ledger: Arc<Ledger>,
    recovery: Arc<Recovery>,
    events: broadcast::Sender<StreamEvent>,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    by_id: BTreeMap<Arc<str>, Entry>,
    shut: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let streams = std::mem::take(&mut *lock(&self.streams));
        for entry in streams.by_id.into_values() {
            entry.stream.abort();
        }
    }
}

/// Creates, finds, watches and ends streams. Clones are the same manager; when the last is dropped,
/// its streams end.
#[derive(Clone)]
pub struct StreamManager(Arc<Inner>);

impl StreamManager {
    /// A manager whose streams have these settings, with the default limits.
    ///
    /// # Errors
    /// [`StreamsError::OutOfRange`].
    pub fn new(config: StreamConfig) -> Result<Self, StreamsError> {
        Self::with_limits(config, ManagerLimits::default())
    }

    /// A manager with limits of its own.
    ///
    /// # Errors
    /// [`StreamsError::OutOfRange`].
    pub fn with_limits(config: StreamConfig, limits: ManagerLimits) -> Result<Self, StreamsError> {
        config.check()?;
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        for (what, got, min, max) in [
            ("max_streams", wide(limits.max_streams), 1, 1_000_000),
            ("memory_limit of the manager", wide(limits.memory_limit), 1 << 20, u64::MAX),
            ("failures of the breaker", limits.breaker.failures.into(), 1, u64::MAX),
        ] {
            if got < min || got > max {
                return Err(StreamsError::OutOfRange { what, min, max, got });
            }
        }
        Ok(Self(Arc::new(Inner {
            config: Arc::new(config),
            ledger: Arc::new(Ledger::new(limits.memory_limit, limits.max_streams)),
            recovery: Arc::new(Recovery::new(limits.breaker)),
            events: broadcast::Sender::new(EVENTS),
            streams: Mutex::default(),
            limits,
        })))
    }

    /// A stream inside this process: what is sent is received from the same stream.
    ///
    /// # Errors
    /// [`StreamsError::AlreadyExists`] while a stream of that id lives, [`StreamsError::Id`],
    /// [`StreamsError::TooMany`], [`StreamsError::NoRuntime`], or [`StreamsError::Closed`] after
    /// [`shutdown`](Self::shutdown).
    pub fn create_stream(&self, id: &str) -> Result<ManagedStream, StreamsError> {
        self.add(id, Source::Local, None, None, None)
    }

    /// A stream over a transport; when that fails, the stream ends.
    ///
    /// # Errors
    /// As [`create_stream`](Self::create_stream).
    pub fn create_stream_over(
        &self,
        id: &str,
        transport: Arc<dyn Transport>,
    ) -> Result<ManagedStream, StreamsError> {
        self.add(id, Source::Once(Some(transport)), None, None, None)
    }

    /// A stream that connects by itself, again and again. The peer takes it in by
    /// [`accept`](Self::accept).
    ///
    /// # Errors
    /// As [`create_stream`](Self::create_stream).
    pub fn connect_stream(
        &self,
        id: &str,
        connector: Arc<dyn Connector>,
    ) -> Result<ManagedStream, StreamsError> {
        let destination = connector.destination().to_owned();
        self.add(id, Source::Connector(connector), Some(destination), None, None)
    }

    /// A stream in both directions over a transport.
    ///
    /// # Errors
    /// As [`create_stream`](Self::create_stream).
    pub fn new_bidirectional_stream(
        &self,
        id: &str,
        transport: Arc<dyn Transport>,
    ) -> Result<BidirectionalStream, StreamsError> {
        Ok(BidirectionalStream::new(self.create_stream_over(id, transport)?))
    }

    /// A stream in both directions that connects by itself.
    ///
    /// # Errors
    /// As [`create_stream`](Self::create_stream).
    pub fn connect_bidirectional_stream(
        &self,
        id: &str,
        connector: Arc<dyn Connector>,
    ) -> Result<BidirectionalStream, StreamsError> {
        Ok(BidirectionalStream::new(self.connect_stream(id, connector)?))
    }

    /// Takes in a transport from a peer that connected: a new stream under the id that the peer
    /// says, or one that goes on. `None` when it goes on.
    ///
    /// # Errors
    /// [`StreamsError::AlreadyExists`] if a stream of that id lives and is not this peer's,
    /// [`StreamsError::PeerRestarted`] if the peer wants to go on with a stream that is not here,
    /// [`StreamsError::Transport`] or [`StreamsError::Protocol`] if it does not say hello; else as
    /// [`create_stream`](Self::create_stream). The transport is closed then.
    pub async fn accept(
        &self,
        transport: Arc<dyn Transport>,
    ) -> Result<Option<BidirectionalStream>, StreamsError> {
        self.accept_under("", transport).await
    }

    /// As [`accept`](Self::accept), for peers that must not take each other's ids: only streams
    /// whose id begins with `prefix`, which the caller makes from what it knows of the peer.
    ///
    /// # Errors
    /// [`StreamsError::Protocol`] for another id; else as [`accept`](Self::accept).
    pub async fn accept_under(
        &self,
        prefix: &str,
        transport: Arc<dyn Transport>,
    ) -> Result<Option<BidirectionalStream>, StreamsError> {
        let taken = self.take_in(prefix, &transport).await;
        if taken.is_err() {
            let _ = timeout(Duration::from_secs(1), transport.close()).await;
        }
        taken
    }

    async fn take_in(
        &self,
        prefix: &str,
        transport: &Arc<dyn Transport>,
    ) -> Result<Option<BidirectionalStream>, StreamsError> {
        let hello = driver::read_hello(&**transport).await?;
        let id = hello.id.clone();
        if !id.starts_with(prefix) {
            return Err(StreamsError::Protocol { rule: "a peer's ids begin as was agreed" });
        }
        let known = {
            let streams = lock(&self.0.streams);
            streams.by_id.get(&*id).and_then(|entry| {
                let shared = Arc::clone(&entry.stream.shared);
                let alive = shared.ended().is_none();
                alive.then(|| (shared, entry.calls.clone()))
            })
        };
        if let Some((shared, calls)) = known {
            let knows = shared.with(|machine, _| machine.knows(&hello));
            let calls = calls.filter(|_| knows).ok_or(StreamsError::AlreadyExists { id })?;
            // The last transport may not have been noticed to be gone: it is now.
            shared.superseded.notify_waiters();
            let greeted = (Arc::clone(transport), hello);
            calls.send(greeted).await.map_err(|_| StreamsError::Closed)?;
            return Ok(None);
        }
        if hello.peer != crate::frame::Instance::default() {
            return Err(StreamsError::PeerRestarted);
        }
        let (calls, source) = mpsc::channel(1);
        let greeted = (Arc::clone(transport), hello);
        let source = Source::Accepted(source);
        let stream = self.add(&id, source, None, Some(calls), Some(greeted))?;
        Ok(Some(BidirectionalStream::new(stream)))
    }

    fn add(
        &self,
        id: &str,
        source: Source,
        destination: Option<String>,
        calls: Option<mpsc::Sender<Greeted>>,
        first: Option<Greeted>,
    ) -> Result<ManagedStream, StreamsError> {
        if id.is_empty() || id.len() > MAX_ID {
            return Err(StreamsError::Id { got: id.len(), max: MAX_ID });
        }
        let runtime = Handle::try_current().map_err(|_| StreamsError::NoRuntime)?;
        let instance = stc::random::bytes()?;
        let inner = &*self.0;
        let id: Arc<str> = Arc::from(id);
        let mut streams = lock(&inner.streams);
        if streams.shut {
            return Err(StreamsError::Closed);
        }
        if streams.by_id.get(&id).is_some_and(|entry| entry.stream.ended().is_none()) {
            return Err(StreamsError::AlreadyExists { id: id.to_string() });
        }
        if streams.by_id.len() >= inner.limits.max_streams {
            streams.by_id.retain(|_, entry| entry.stream.ended().is_none());
            if streams.by_id.len() >= inner.limits.max_streams {
                return Err(StreamsError::TooMany { max: inner.limits.max_streams });
            }
        }
        if let (Some(calls), Some(first)) = (&calls, first) {
            // The queue is new and has room for one.
            calls.try_send(first).map_err(|_| StreamsError::Closed)?;
        }
        let local = matches!(source, Source::Local);
        let config = Arc::clone(&inner.config);
        let (copy, ledger) = (Arc::clone(&id), &inner.ledger);
        let machine = Machine::new(copy, Arc::clone(&config), ledger, instance, local, now());
        let events = inner.events.clone();
        let shared = Shared::new(machine, Arc::clone(&id), config, destination, events);
        let recovery = Arc::clone(&inner.recovery);
        let stream = ManagedStream { shared: Arc::new(shared), recovery };
        // Flushes the event of its creation.
        stream.shared.with(|_, _| ());
        let (shared, recovery) = (Arc::clone(&stream.shared), Arc::clone(&stream.recovery));
        runtime.spawn(driver::run(shared, source, recovery));
        streams.by_id.insert(id, Entry { stream: stream.clone(), calls });
        Ok(stream)
    }

    /// The stream of that id. One that failed stays until it is closed or its id is used again.
    ///
    /// # Errors
    /// [`StreamsError::NotFound`].
    pub fn get_stream(&self, id: &str) -> Result<ManagedStream, StreamsError> {
        let streams = lock(&self.0.streams);
        let found = streams.by_id.get(id).map(|entry| entry.stream.clone());
        found
            .filter(|stream| stream.ended() != Some(StreamsError::Closed))
            .ok_or_else(|| StreamsError::NotFound { id: id.to_owned() })
    }

    /// All streams but those that were closed, by their ids.
    #[must_use]
    pub fn list_streams(&self) -> Vec<ManagedStream> {
        let streams: Vec<_> = {
            let mut streams = lock(&self.0.streams);
            streams.by_id.retain(|_, entry| entry.stream.ended() != Some(StreamsError::Closed));
            streams.by_id.values().map(|entry| entry.stream.clone()).collect()
        };
        streams
    }

    /// Closes a stream and forgets it.
    ///
    /// # Errors
    /// [`StreamsError::NotFound`], or as [`ManagedStream::close`].
    pub async fn close_stream(&self, id: &str) -> Result<(), StreamsError> {
        let stream = self.get_stream(id)?;
        let closed = stream.close().await;
        self.remove(&stream);
        closed
    }

    /// Forgets a stream that has ended, as one that failed stays otherwise.
    pub fn forget(&self, stream: &ManagedStream) {
        if stream.ended().is_some() {
            self.remove(stream);
        }
    }

    fn remove(&self, stream: &ManagedStream) {
        let mut streams = lock(&self.0.streams);
        let same = |entry: &Entry| Arc::ptr_eq(&entry.stream.shared, &stream.shared);
        if streams.by_id.get(stream.id()).is_some_and(same) {
            streams.by_id.remove(stream.id());
        }
    }

    /// Closes all streams at once, in order, and gives the number of those that did not confirm.
    pub async fn close_all_streams(&self) -> usize {
        let mut closing = tokio::task::JoinSet::new();
        for stream in self.list_streams() {
            closing.spawn(async move { stream.close().await });
        }
        let outcomes = closing.join_all().await;
        let _ = self.list_streams();
        outcomes.iter().filter(|outcome| outcome.is_err()).count()
    }

    /// Makes no more streams, closes those that are there, and ends after `within` what is left.
    /// True if everything ended in order.
    pub async fn shutdown(&self, within: Duration) -> bool {
        lock(&self.0.streams).shut = true;
        let orderly = timeout(within, self.close_all_streams()).await == Ok(0);
        for stream in self.list_streams() {
            stream.abort();
        }
        lock(&self.0.streams).by_id.clear();
        orderly
    }

    /// Everything that happens to its streams, from now on. A listener that falls 1,024 events
    /// behind misses the oldest, and is told how many.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<StreamEvent> {
        self.0.events.subscribe()
    }

    /// The settings of its streams.
    #[must_use]
    pub fn config(&self) -> &StreamConfig {
        &self.0.config
    }

    /// Bytes that all streams hold now.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.ledger.held()
    }

    /// What its streams share about failures, for operations of one's own.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.0.recovery
    }
}

impl fmt::Debug for StreamManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamManager").field("config", &self.0.config).finish_non_exhaustive()
    }
}
