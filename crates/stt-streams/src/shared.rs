//! What the handles of a stream and its task share.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Instant, SystemTime},
};

use tokio::sync::{Notify, broadcast};

use crate::{
    StreamConfig, StreamEvent, StreamEventKind, StreamsError,
    machine::Machine,
    recovery::{lock, now},
};

pub(crate) struct Shared {
    pub(crate) id: Arc<str>,
    pub(crate) config: Arc<StreamConfig>,
    pub(crate) destination: Option<String>,
    machine: Mutex<Machine>,
    events: broadcast::Sender<StreamEvent>,
    pub(crate) retries: AtomicU32,
    /// For the one task that writes.
    pub(crate) writer: Notify,
    /// For the one task that keeps time.
    pub(crate) timer: Notify,
    pub(crate) readable: Notify,
    /// The peer came on a new transport.
    pub(crate) superseded: Notify,
    pub(crate) writable: Notify,
}

impl Shared {
    pub(crate) fn new(
        machine: Machine,
        id: Arc<str>,
        config: Arc<StreamConfig>,
        destination: Option<String>,
        events: broadcast::Sender<StreamEvent>,
    ) -> Self {
        Self {
            id,
            config,
            destination,
            machine: Mutex::new(machine),
            events,
            retries: AtomicU32::new(0),
            writer: Notify::new(),
            timer: Notify::new(),
            readable: Notify::new(),
            superseded: Notify::new(),
            writable: Notify::new(),
        }
    }

    /// Does something with the machine, then says what came of it to whom it concerns.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let (result, events, wakes) = {
            let mut machine = lock(&self.machine);
            let result = act(&mut machine, now());
            (result, std::mem::take(&mut machine.events), std::mem::take(&mut machine.wakes))
        };
        for kind in events {
            self.emit(kind);
        }
        if wakes.writer {
            self.writer.notify_one();
        }
        if wakes.timer {
            self.timer.notify_one();
        }
        if wakes.readable {
            self.readable.notify_waiters();
        }
        if wakes.writable {
            self.writable.notify_waiters();
        }
        result
    }

    pub(crate) fn emit(&self, kind: StreamEventKind) {
        tracing::debug!(target: "stt_streams", stream = %self.id, event = ?kind);
        // Without listeners there is nobody to tell.
        let _ = self.events.send(StreamEvent { stream: Arc::clone(&self.id), kind });
    }

    pub(crate) fn count_retry(&self) -> u32 {
        self.retries.fetch_add(1, Relaxed).saturating_add(1)
    }

    pub(crate) fn ended(&self) -> Option<StreamsError> {
        lock(&self.machine).ended().cloned()
    }

    /// Waits for the end of the stream.
    pub(crate) async fn wait_ended(&self) -> StreamsError {
        wait(&self.readable, || self.ended()).await
    }

    /// The wall clock's time of an instant that has passed.
    pub(crate) fn wall(at: Instant) -> SystemTime {
        let ago = now().saturating_duration_since(at);
        SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Looks again each time `notify` calls, until there is something.
pub(crate) async fn wait<T>(notify: &Notify, mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        let mut called = std::pin::pin!(notify.notified());
        called.as_mut().enable();
        if let Some(found) = look() {
            return found;
        }
        called.await;
    }
}
