//! Streams, four kinds of events and health under one roof.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use serde::Serialize;

use crate::{
    EventBroadcaster, EventSubscription, HealthReport, ServiceStats, StreamManager, StreamsError,
    StreamsHealth, stats,
};

/// Events of each kind that are kept for who is slow.
const KEPT: usize = 1_024;
/// Longest text of an event in bytes; the rest is cut off.
const MAX_TEXT: usize = 1_024;

/// What was done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOperation {
    /// It was taken in.
    Upload,
    /// It was given out.
    Download,
    /// It was removed.
    Delete,
    /// Its metadata changed.
    Update,
}

/// What happened to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerChange {
    /// A session with it began.
    Connected,
    /// Its last session ended.
    Disconnected,
    /// It does better or worse.
    HealthChanged,
}

/// What happened to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemChange {
    /// It began.
    Startup,
    /// It ends.
    Shutdown,
    /// Something failed that nobody awaited.
    Error,
    /// Something deserves a look.
    Warning,
}

/// An event about a file, a peer, the node or a component's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServiceEvent<K> {
    /// What happened; for health, the verdict.
    pub kind: K,
    /// Of which file, peer or component; at most 1,024 bytes.
    pub subject: String,
    /// One line for a person; at most 1,024 bytes.
    pub message: String,
    /// When, RFC 3339.
    pub timestamp: String,
}

impl<K> ServiceEvent<K> {
    /// Something that happened now.
    #[must_use]
    pub fn new(kind: K, subject: &str, message: &str) -> Self {
        let cut = |text: &str| {
            text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().to_owned()
        };
        let timestamp = stats::timestamp(SystemTime::now());
        Self { kind, subject: cut(subject), message: cut(message), timestamp }
    }
}

/// An event about a file.
pub type FileOperationEvent = ServiceEvent<FileOperation>;
/// An event about a peer.
pub type PeerEvent = ServiceEvent<PeerChange>;
/// An event about this node.
pub type SystemEvent = ServiceEvent<SystemChange>;
/// An event about a component's health.
pub type HealthEvent = ServiceEvent<StreamsHealth>;

#[derive(Debug)]
struct Inner {
    manager: StreamManager,
    running: AtomicBool,
    files: EventBroadcaster<FileOperationEvent>,
    peers: EventBroadcaster<PeerEvent>,
    system: EventBroadcaster<SystemEvent>,
    health: EventBroadcaster<HealthEvent>,
}

/// What a gateway serves: the streams of a manager, events, statistics and health. Clones are the
/// same service.
#[derive(Clone, Debug)]
pub struct StreamingService(Arc<Inner>);

macro_rules! events {
    ($($kind:literal $event:ident $field:ident $subscribe:ident $unsubscribe:ident $emit:ident)*) => {
        $(
            #[doc = concat!("Events about ", $kind, " from now on, for a subscriber with a name.")]
            ///
            /// # Errors
            /// As [`EventBroadcaster::subscribe`].
            pub fn $subscribe(&self, id: &str) -> Result<EventSubscription<$event>, StreamsError> {
                self.0.$field.subscribe(id)
            }

            #[doc = concat!("Ends a subscription to events about ", $kind, ".")]
            ///
            /// # Errors
            /// As [`EventBroadcaster::unsubscribe`].
            pub fn $unsubscribe(&self, id: &str) -> Result<(), StreamsError> {
                self.0.$field.unsubscribe(id)
            }

            #[doc = concat!("Tells all subscribers of an event about ", $kind, "; gives their number.")]
            #[allow(clippy::must_use_candidate, reason = "most callers do not count")]
            pub fn $emit(&self, event: $event) -> usize {
                self.0.$field.emit(event)
            }
        )*
    };
}

impl StreamingService {
    /// A running service for the streams of `manager`.
    #[must_use]
    pub fn new(manager: StreamManager) -> Self {
        Self(Arc::new(Inner {
            manager,
            running: AtomicBool::new(true),
            files: EventBroadcaster::new(KEPT),
            peers: EventBroadcaster::new(KEPT),
            system: EventBroadcaster::new(KEPT),
            health: EventBroadcaster::new(KEPT),
        }))
    }

    /// The manager of its streams.
    #[must_use]
    pub fn manager(&self) -> &StreamManager {
        &self.0.manager
    }

    events! {
        "files" FileOperationEvent files subscribe_to_file_operation_events
            unsubscribe_from_file_operation_events emit_file_operation
        "peers" PeerEvent peers subscribe_to_peer_events
            unsubscribe_from_peer_events emit_peer
        "the node" SystemEvent system subscribe_to_system_events
            unsubscribe_from_system_events emit_system
        "health" HealthEvent health subscribe_to_health_events
            unsubscribe_from_health_events emit_health
    }

    fn subscribers(&self) -> usize {
        let inner = &*self.0;
        inner.files.subscribers()
            + inner.peers.subscribers()
            + inner.system.subscribers()
            + inner.health.subscribers()
    }

    /// How its streams do.
    #[must_use]
    pub fn health_check(&self) -> HealthReport {
        let streams = self.0.manager.list_streams();
        let total_streams = streams.len();
        let healthy_streams = streams.iter().filter(|stream| stream.is_healthy()).count();
        let running = self.0.running.load(Relaxed);
        HealthReport {
            status: if running {
                StreamsHealth::of(healthy_streams, total_streams)
            } else {
                StreamsHealth::Unknown
            },
            total_streams,
            healthy_streams,
            subscribers: self.subscribers(),
            timestamp: stats::timestamp(SystemTime::now()),
        }
    }

    /// What its streams count.
    #[must_use]
    pub fn get_stream_stats(&self) -> ServiceStats {
        let streams = self.0.manager.list_streams();
        let active_streams = streams.iter().filter(|stream| stream.ended().is_none()).count();
        let streams: BTreeMap<_, _> =
            streams.iter().map(|stream| (stream.id().to_owned(), stream.get_stats())).collect();
        ServiceStats { active_streams, subscribers: self.subscribers(), streams }
    }

    /// Says that the node shuts down, ends all subscriptions, and shuts the manager down. True if
    /// everything ended in order.
    pub async fn shutdown(&self, within: Duration) -> bool {
        let inner = &*self.0;
        inner.running.store(false, Relaxed);
        self.emit_system(SystemEvent::new(SystemChange::Shutdown, "", "the service shuts down"));
        inner.files.close();
        inner.peers.close();
        inner.system.close();
        inner.health.close();
        inner.manager.shutdown(within).await
    }
}
