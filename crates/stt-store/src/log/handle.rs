//! The asynchronous face of a log.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OnceCell, watch};

use super::{
    Consumer, ConsumerInfo, ConsumerOptions, LogError, LogOptions, Position,
    committer::{Committer, REQUEST_BYTES_MAX},
    consumer::Consumers,
    reader::Reader,
    retention::Retention,
    segment::{FRAME_RECORDS_MAX, body_len},
    shared::Shared,
    writer::Writer,
};
use crate::{
    BoxFuture, ChamberKey, Payload,
    disk::{Fs, RealFs, blocking},
};

/// Records that one call of [`DurableLog::read`] returns at most.
const READ_RECORDS_MAX: usize = 65_536;

/// A record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// When it was appended, in milliseconds since 1970 by the clock of the machine.
    pub time: u64,
    /// What was appended.
    pub data: Bytes,
}

impl Record {
    /// From where the next record is read.
    #[must_use]
    pub const fn next(&self) -> Position {
        Position { epoch: self.position.epoch, offset: self.position.offset.saturating_add(1) }
    }
}

/// Figures of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// Position of the oldest record that is kept.
    pub start: Position,
    /// Position behind the last durable record.
    pub end: Position,
    /// Segment files.
    pub segments: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// What a log of any engine does. [`Log`] is the one without a server.
pub trait DurableLog: Send + Sync {
    /// Appends `records` in order and next to each other, all or none, and returns the position of
    /// the first one when all are durable. Without records, the position behind the last one.
    ///
    /// If the future is dropped the records may be appended all the same; so they may after an error
    /// that left the outcome open, [`StoreError::SyncFailed`](crate::StoreError::SyncFailed).
    ///
    /// # Errors
    /// [`LogError::TooLarge`]; [`LogError::Store`] with
    /// [`StoreError::DiskFull`](crate::StoreError::DiskFull) (the records are not in the log, and
    /// the next call may succeed), or another failure of the disk.
    fn append_all(&self, records: Vec<Bytes>) -> BoxFuture<'_, Result<Position, LogError>>;

    /// Up to `max_records` durable records from `from` on, until they have `max_bytes` bytes; at
    /// least one, unless there is none. Both limits count as at least 1.
    ///
    /// # Errors
    /// [`LogError::EpochChanged`] when what came before `from` is not what this log holds;
    /// [`LogError::Trimmed`]; [`LogError::Store`].
    fn read(
        &self,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, LogError>>;

    /// Returns as soon as there is a durable record at `position`.
    ///
    /// # Errors
    /// [`LogError::EpochChanged`], also for a position beyond the next record;
    /// [`LogError::Trimmed`]; [`LogError::Store`] with
    /// [`StoreError::Closed`](crate::StoreError::Closed).
    fn wait_for(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>>;

    /// Position of the oldest record, and the position behind the last durable one.
    fn bounds(&self) -> BoxFuture<'_, Result<(Position, Position), LogError>>;

    /// Opens a consumer, and makes it if there is none of this name.
    ///
    /// # Errors
    /// [`LogError::ConsumerName`] unless the name has 1 to 255 bytes;
    /// [`LogError::TooManyConsumers`] beyond 1,024; [`LogError::EpochChanged`] when what it was
    /// delivered is not what this log holds: [`reset_consumer`](Self::reset_consumer) moves it, or
    /// when a start position is refused; [`LogError::Store`] with
    /// [`StoreError::Setting`](crate::StoreError::Setting) for an option out of its range, or when
    /// it is open with others.
    fn consumer<'a>(
        &'a self,
        name: &'a str,
        options: ConsumerOptions,
    ) -> BoxFuture<'a, Result<Consumer, LogError>>;

    /// All consumers, in no particular order.
    ///
    /// # Errors
    /// [`LogError::Store`] when one cannot be read.
    fn consumers(&self) -> BoxFuture<'_, Result<Vec<ConsumerInfo>, LogError>>;

    /// Moves a consumer: the record at `to` is delivered next, and nothing before it. Makes it if
    /// there is none of this name.
    ///
    /// # Errors
    /// [`LogError::ConsumerOpen`], [`LogError::ConsumerName`], [`LogError::TooManyConsumers`];
    /// [`LogError::EpochChanged`] and [`LogError::Trimmed`] about `to`; [`LogError::Store`].
    fn reset_consumer<'a>(
        &'a self,
        name: &'a str,
        to: Position,
    ) -> BoxFuture<'a, Result<(), LogError>>;

    /// Forgets a consumer. It is no error if there is none of this name.
    ///
    /// # Errors
    /// [`LogError::ConsumerOpen`], [`LogError::Store`].
    fn remove_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), LogError>>;

    /// Where records of this log go that a consumer could not handle; made if there is none yet.
    /// [`DeadLetter::from_record`](super::DeadLetter::from_record) reads them. It keeps records as
    /// long as this one does, and can have consumers as well.
    ///
    /// # Errors
    /// As opening the log.
    fn dead_letters(&self) -> BoxFuture<'_, Result<Arc<dyn DurableLog>, LogError>>;
}

/// A durable, encrypted log in a directory.
///
/// Clones share it; it is closed with the last one. One process has it open at a time.
///
/// ```
/// use bytes::Bytes;
/// use stt_store::{
///     ChamberKey,
///     log::{DurableLog, Log, LogOptions, Position},
/// };
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let key = ChamberKey::from_key(&stc::Key::generate()?);
/// let log = Log::open(&key, dir.path().join("orders"), LogOptions::default()).await?;
///
/// // Synced when this returns; calls that run at the same time share a sync.
/// let position = log.append("order 1").await?;
/// log.append_all(vec![Bytes::from("order 2"), Bytes::from("order 3")]).await?;
///
/// let records = log.read(Position::START, 100, 1 << 20).await?;
/// assert_eq!(records.len(), 3);
/// assert_eq!(records[0].position, position);
///
/// // A position stays good over restarts. After an older copy of the directory was put back,
/// // it is refused instead of skipping what is now in its place.
/// let next = records[2].next();
/// drop(log);
/// let log = Log::open(&key, dir.path().join("orders"), LogOptions::default()).await?;
/// assert!(log.read(next, 100, 1 << 20).await?.is_empty());
/// # Ok(())
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // In this order: the threads end before the lock is given back.
    committer: Committer,
    shared: Arc<Shared>,
    end: watch::Receiver<u64>,
    consumers: Consumers,
    dead: OnceCell<Log>,
}

impl Log {
    /// Opens the log in `dir`, and makes it if there is none. This reads the last segment, and of
    /// the others the lengths.
    ///
    /// # Errors
    /// [`StoreError::Setting`](crate::StoreError::Setting) for an option out of its range,
    /// [`StoreError::InUse`](crate::StoreError::InUse) names who has it open,
    /// [`StoreError::WrongSeed`](crate::StoreError::WrongSeed),
    /// [`StoreError::Version`](crate::StoreError::Version),
    /// [`StoreError::Damaged`](crate::StoreError::Damaged) when acknowledged records in the last
    /// segment cannot be read, or another failure of the disk.
    pub async fn open(
        key: &ChamberKey,
        dir: impl AsRef<Path>,
        options: LogOptions,
    ) -> Result<Self, LogError> {
        options.check()?;
        Self::open_on(Arc::new(RealFs), key, dir.as_ref(), options).await
    }

    pub(super) async fn open_on(
        fs: Arc<dyn Fs>,
        key: &ChamberKey,
        dir: &Path,
        options: LogOptions,
    ) -> Result<Self, LogError> {
        let (key, dir) = (key.clone(), dir.to_owned());
        let opened = blocking("the log", move || {
            let (shared, tail) = Shared::open(fs, &dir, &key, options)?;
            let shared = Arc::new(shared);
            let (sender, end) = watch::channel(shared.end());
            let writer = Writer::new(shared.clone(), tail)?;
            let retention = Retention::start(shared.clone())?;
            let committer = Committer::start(writer, shared.clone(), retention, sender)?;
            Ok(Inner {
                committer,
                shared,
                end,
                consumers: Consumers::default(),
                dead: OnceCell::new(),
            })
        });
        Ok(Self { inner: Arc::new(opened.await?) })
    }

    /// Appends one record: [`DurableLog::append_all`].
    ///
    /// # Errors
    /// As there.
    pub async fn append(&self, record: impl Payload) -> Result<Position, LogError> {
        self.append_all(vec![record.into_bytes()]).await
    }

    /// Where records go that a consumer could not handle: [`DurableLog::dead_letters`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn dead_letters(&self) -> Result<Self, LogError> {
        let shared = &self.inner.shared;
        let open = || {
            let (fs, dir) = (shared.fs.clone(), shared.dir.join("dead"));
            let mut options = shared.options;
            options.record_max = options.record_max.saturating_add(super::consumer::OVERHEAD);
            let key = shared.keys.dead_letters();
            Box::pin(async move { Self::open_on(fs, &key, &dir, options).await })
        };
        Ok(self.inner.dead.get_or_try_init(open).await?.clone())
    }

    /// Removes the segments of which every record lies before `position`: for who keeps elsewhere,
    /// or further on in the log, what they say. The segment being written stays. Returns how many
    /// went.
    ///
    /// # Errors
    /// [`LogError::EpochChanged`]; [`LogError::Store`] when a removal failed: the rest stays for
    /// the next call.
    pub async fn trim(&self, position: Position) -> Result<u64, LogError> {
        let shared = self.inner.shared.clone();
        shared.check_history(position)?;
        Ok(blocking("the log", move || shared.trim(position.offset)).await?)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// The offset that follows the last durable record; the channel tells when it grows.
    pub(super) fn ends(&self) -> watch::Receiver<u64> {
        self.inner.end.clone()
    }

    /// The consumers that are open, by name.
    pub(super) fn consumers_open(&self) -> &Consumers {
        &self.inner.consumers
    }

    /// Figures, from memory.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let shared = &self.inner.shared;
        let (segments, bytes) = shared.usage();
        LogStats { start: shared.start_position(), end: shared.end_position(), segments, bytes }
    }

    fn check_size(&self, records: &[Bytes]) -> Result<(), LogError> {
        let limit = self.inner.shared.options.record_max;
        if let Some(record) = records.iter().find(|record| record.len() > limit) {
            return Err(LogError::TooLarge { got: record.len(), limit });
        }
        if records.len() > FRAME_RECORDS_MAX {
            return Err(LogError::TooLarge { got: records.len(), limit: FRAME_RECORDS_MAX });
        }
        let got = body_len(records);
        if records.len() > 1 && got > REQUEST_BYTES_MAX {
            return Err(LogError::TooLarge { got, limit: REQUEST_BYTES_MAX });
        }
        Ok(())
    }
}

impl DurableLog for Log {
    fn append_all(&self, records: Vec<Bytes>) -> BoxFuture<'_, Result<Position, LogError>> {
        Box::pin(async move {
            self.check_size(&records)?;
            let shared = &self.inner.shared;
            if records.is_empty() {
                return Ok(shared.end_position());
            }
            let offset = self.inner.committer.append(records).await?;
            Ok(Position { epoch: shared.position(offset.saturating_add(1)).epoch, offset })
        })
    }

    fn read(
        &self,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, LogError>> {
        Box::pin(async move {
            let shared = self.inner.shared.clone();
            shared.check(from)?;
            let max_records = max_records.clamp(1, READ_RECORDS_MAX);
            blocking("the log", move || {
                Ok(Reader::new(shared).read(from.offset, max_records, max_bytes.max(1)))
            })
            .await?
        })
    }

    fn wait_for(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            // The end of the log belongs to this check: what is waited for comes next at most.
            self.inner.shared.check(position)?;
            let mut end = self.inner.end.clone();
            let there = end.wait_for(|end| *end > position.offset).await;
            there.map(|_| ()).map_err(|_| {
                LogError::Store(crate::StoreError::Closed { item: "the log".to_owned() })
            })
        })
    }

    fn bounds(&self) -> BoxFuture<'_, Result<(Position, Position), LogError>> {
        let stats = self.stats();
        Box::pin(async move { Ok((stats.start, stats.end)) })
    }

    fn consumer<'a>(
        &'a self,
        name: &'a str,
        options: ConsumerOptions,
    ) -> BoxFuture<'a, Result<Consumer, LogError>> {
        Box::pin(Self::consumer(self, name, options))
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<ConsumerInfo>, LogError>> {
        Box::pin(Self::consumers(self))
    }

    fn reset_consumer<'a>(
        &'a self,
        name: &'a str,
        to: Position,
    ) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(Self::reset_consumer(self, name, to))
    }

    fn remove_consumer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(Self::remove_consumer(self, name))
    }

    fn dead_letters(&self) -> BoxFuture<'_, Result<Arc<dyn DurableLog>, LogError>> {
        Box::pin(async move {
            let dead: Arc<dyn DurableLog> = Arc::new(Self::dead_letters(self).await?);
            Ok(dead)
        })
    }
}
