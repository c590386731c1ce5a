//! Consumers of a log on a JetStream server: the rules are here, the cursors there.
//!
//! JetStream's own consumers acknowledge messages, and a message holds all records of one call.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{Mutex, watch},
    time::sleep,
};

use super::{
    JetStreamLog,
    cursors::Cursor,
    handle::{Core, LOOKS, closed},
};
use crate::{
    BoxFuture,
    log::{
        Consumer, ConsumerInfo, ConsumerOptions, LogError, Position, Record,
        consumer::{Engine, Keeper, Opened, Saved, Snapshot, Want},
    },
};

/// A consumer that this process has.
#[derive(Debug)]
struct OnServer {
    core: Arc<Core>,
    cursor: Arc<Mutex<Cursor>>,
    taken: Arc<AtomicBool>,
}

impl OnServer {
    fn opened(core: &Arc<Core>, cursor: Cursor, saved: Saved) -> Opened {
        let taken = cursor.taken();
        let cursor = Arc::new(Mutex::new(cursor));
        (Arc::new(Self { core: core.clone(), cursor, taken }), saved)
    }
}

impl Engine for OnServer {
    fn ends(&self) -> watch::Receiver<u64> {
        self.core.grown.subscribe()
    }

    fn look(&self) -> BoxFuture<'_, LogError> {
        Box::pin(async move {
            let mut pause = LOOKS.0;
            loop {
                sleep(pause).await;
                if let Err(error) = self.core.refresh().await {
                    return error;
                }
                pause = (pause * 2).min(LOOKS.1);
            }
        })
    }

    fn position(&self, offset: u64) -> BoxFuture<'_, Position> {
        Box::pin(async move { self.core.tail.lock().await.position(offset) })
    }

    fn read(&self, want: Want, known: Position) -> BoxFuture<'_, Result<Vec<Record>, LogError>> {
        Box::pin(async move {
            let from = self.core.tail.lock().await.position(want.from);
            let read = self.core.read(from, want.records, want.bytes).await;
            // Afterwards: a server that came back meanwhile may have an older disk.
            self.core.check_history(known).await?;
            read
        })
    }

    fn bury(&self, letter: Bytes) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move { self.core.dead_letters().await?.append(letter).await.map(drop) })
    }

    fn write(
        &self,
        snapshot: Snapshot,
        _durable: bool,
    ) -> BoxFuture<'static, Result<Option<u64>, LogError>> {
        let cursor = self.cursor.clone();
        // A task of its own: half a write would leave open what the last message is.
        let writing = tokio::spawn(async move {
            let mut cursor = cursor.lock().await;
            let (version, saved) = snapshot();
            cursor.write(version, &saved).await.map(|()| Some(version))
        });
        Box::pin(async move { writing.await.map_err(|_| closed())? })
    }

    fn note(&self, snapshot: Snapshot) -> Result<(), LogError> {
        // The call that opens the consumer waits for it.
        let noting = self.core.noting.clone().try_read_owned();
        if let (Ok(noting), Ok(runtime)) = (noting, Handle::try_current())
            && !self.is_taken()
        {
            let (version, saved) = snapshot();
            let cursor = self.cursor.clone();
            runtime.spawn(async move {
                let written = cursor.lock().await.write(version, &saved).await;
                if let Err(error) = written {
                    tracing::warn!(%error, consumer = saved.name, "the cursor was not written");
                }
                drop(noting);
            });
        }
        Ok(())
    }

    fn is_taken(&self) -> bool {
        self.taken.load(Relaxed)
    }
}

impl Keeper for JetStreamLog {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Opened>, LogError>> {
        Box::pin(async move {
            let core = self.core();
            let _noting = core.noting.write().await;
            let found = Cursor::open(core, name).await?;
            Ok(found.map(|(cursor, saved)| OnServer::opened(core, cursor, saved)))
        })
    }

    fn make(&self, saved: Saved) -> BoxFuture<'_, Result<Opened, LogError>> {
        Box::pin(async move {
            let core = self.core();
            let _noting = core.noting.write().await;
            let cursor = Cursor::make(core, &saved).await?;
            Ok(OnServer::opened(core, cursor, saved))
        })
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<Saved>, LogError>> {
        Box::pin(async move {
            let core = self.core();
            let _noting = core.noting.write().await;
            core.cursors().await?.all(&core.server.keys).await
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(async move {
            let core = self.core();
            let _noting = core.noting.write().await;
            core.cursors().await?.remove(&core.server.keys.cursor_file(name)).await
        })
    }

    fn check(&self, asked: Position) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            self.core().refresh().await?;
            self.core().tail.lock().await.check(asked)
        })
    }
}

impl JetStreamLog {
    /// Opens a consumer: [`DurableLog::consumer`].
    ///
    /// One process has it at a time: the last that opened it. The process that had it before gets
    /// [`LogError::ConsumerTaken`] from its next call, and delivers and acknowledges nothing more.
    ///
    /// # Errors
    /// As there, and [`LogError::Unreachable`].
    ///
    /// [`DurableLog::consumer`]: crate::log::DurableLog::consumer
    pub async fn consumer(
        &self,
        name: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, LogError> {
        self.core().consumers.open(self, name, options).await
    }

    /// All consumers, in no particular order: [`DurableLog::consumers`].
    ///
    /// # Errors
    /// As there, and [`LogError::Unreachable`].
    ///
    /// [`DurableLog::consumers`]: crate::log::DurableLog::consumers
    pub async fn consumers(&self) -> Result<Vec<ConsumerInfo>, LogError> {
        self.core().consumers.list(self).await
    }

    /// Moves a consumer: [`DurableLog::reset_consumer`]. Another process that has it is told
    /// [`LogError::ConsumerTaken`].
    ///
    /// # Errors
    /// As there, and [`LogError::Unreachable`].
    ///
    /// [`DurableLog::reset_consumer`]: crate::log::DurableLog::reset_consumer
    pub async fn reset_consumer(&self, name: &str, to: Position) -> Result<(), LogError> {
        self.core().consumers.reset(self, name, to).await
    }

    /// Forgets a consumer: [`DurableLog::remove_consumer`]. Another process that has it is told
    /// [`LogError::ConsumerTaken`].
    ///
    /// # Errors
    /// As there, and [`LogError::Unreachable`].
    ///
    /// [`DurableLog::remove_consumer`]: crate::log::DurableLog::remove_consumer
    pub async fn remove_consumer(&self, name: &str) -> Result<(), LogError> {
        self.core().consumers.remove(self, name).await
    }

    /// Where records go that a consumer could not handle: [`DurableLog::dead_letters`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// [`DurableLog::dead_letters`]: crate::log::DurableLog::dead_letters
    pub async fn dead_letters(&self) -> Result<Self, LogError> {
        self.core().dead_letters().await.cloned()
    }
}
