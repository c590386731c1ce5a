//! Events to many subscribers.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{Stream, stream};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};

use crate::{StreamsError, frame::MAX_ID};

/// Most subscribers of one broadcaster.
const SUBSCRIBERS: usize = 10_000;

/// Gives each event to every subscriber. All share one ring of events, so a subscriber costs little,
/// and one that falls behind loses the oldest and is told how many.
#[derive(Debug)]
pub struct EventBroadcaster<E> {
    events: broadcast::Sender<Arc<E>>,
    subscribers: Mutex<BTreeMap<String, watch::Sender<()>>>,
}

impl<E: Clone + Send + Sync + 'static> EventBroadcaster<E> {
    /// A broadcaster that keeps at most `capacity` events for who is slow, at least 1.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            events: broadcast::Sender::new(capacity.clamp(1, 1 << 20)),
            subscribers: Mutex::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, watch::Sender<()>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events from now on, for a subscriber with a name.
    ///
    /// # Errors
    /// [`StreamsError::AlreadyExists`] for a name that is taken, [`StreamsError::Id`], or
    /// [`StreamsError::TooMany`] beyond 10,000 subscribers.
    pub fn subscribe(&self, id: &str) -> Result<EventSubscription<E>, StreamsError> {
        if id.is_empty() || id.len() > MAX_ID {
            return Err(StreamsError::Id { got: id.len(), max: MAX_ID });
        }
        let mut subscribers = self.lock();
        // Who dropped its subscription is no subscriber any more.
        if subscribers.len() >= SUBSCRIBERS {
            subscribers.retain(|_, active| !active.is_closed());
            if subscribers.len() >= SUBSCRIBERS {
                return Err(StreamsError::TooMany { max: SUBSCRIBERS });
            }
        }
        let (active, ended) = watch::channel(());
        match subscribers.entry(id.to_owned()) {
            Entry::Occupied(mut taken) if taken.get().is_closed() => {
                taken.insert(active);
            }
            Entry::Occupied(_) => {
                return Err(StreamsError::AlreadyExists { id: id.to_owned() });
            }
            Entry::Vacant(free) => {
                free.insert(active);
            }
        }
        Ok(EventSubscription { events: self.events.subscribe(), ended, missed: 0 })
    }

    /// Ends a subscription: what is waiting is still received, then `None`.
    ///
    /// # Errors
    /// [`StreamsError::NotFound`].
    pub fn unsubscribe(&self, id: &str) -> Result<(), StreamsError> {
        let gone = self.lock().remove(id).filter(|active| !active.is_closed());
        gone.map(drop).ok_or_else(|| StreamsError::NotFound { id: id.to_owned() })
    }

    /// Gives `event` to everybody, and tells how many that were.
    #[allow(clippy::must_use_candidate, reason = "most callers do not count")]
    pub fn emit(&self, event: E) -> usize {
        self.events.send(Arc::new(event)).unwrap_or(0)
    }

    /// Subscribers now.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        let mut subscribers = self.lock();
        subscribers.retain(|_, active| !active.is_closed());
        subscribers.len()
    }

    /// Ends all subscriptions.
    pub fn close(&self) {
        self.lock().clear();
    }
}

/// The events of one subscriber. Dropping it unsubscribes.
#[derive(Debug)]
pub struct EventSubscription<E> {
    events: broadcast::Receiver<Arc<E>>,
    ended: watch::Receiver<()>,
    missed: u64,
}

impl<E: Clone + Send + Sync + 'static> EventSubscription<E> {
    /// The next event, or `None` once it was unsubscribed. A dropped future has taken nothing.
    pub async fn next(&mut self) -> Option<Arc<E>> {
        loop {
            let received = tokio::select! {
                biased;
                received = self.events.recv() => received,
                // Fails when the broadcaster let go of its half.
                _ = self.ended.changed() => return None,
            };
            match received {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => {
                    self.missed = self.missed.saturating_add(missed);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The events as a stream; as [`Self::next`].
    pub fn into_stream(self) -> impl Stream<Item = Arc<E>> + Send {
        stream::unfold(self, async |mut events| {
            let event = events.next().await?;
            Some((event, events))
        })
    }

    /// Events that it missed because it was slow.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
