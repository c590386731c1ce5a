//! The asynchronous face of a log on a JetStream server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::Client;
use bytes::Bytes;
use tokio::sync::{Mutex, OnceCell, RwLock, Semaphore, mpsc, oneshot, watch};

use super::{
    JetStreamOptions,
    cursors::Cursors,
    frame::{Frame, MESSAGE_OVERHEAD},
    server::{Server, require_synced},
    tail::{Last, Tail},
    writer::{self, Request},
};
use crate::{
    BoxFuture, ChamberKey, Damage, DamagedPart, Payload, StoreError,
    log::{
        Consumer, ConsumerInfo, ConsumerOptions, DurableLog, LogError, Position, Record,
        SyncReport,
        consumer::{self, Consumers},
        now,
        position::EPOCHS_MAX,
        segment::{FRAME_RECORDS_MAX, body_len},
    },
};

/// Records that one call of `read` returns at most.
const READ_RECORDS_MAX: usize = 65_536;
/// Calls, and KiB of them, that wait for the server. Further ones wait outside.
const WAITING: (usize, u32) = (1024, 32 << 10);
/// How often a reader that waits looks whether somebody else has appended.
pub(super) const LOOKS: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(250));

/// A durable, encrypted log in a stream of a NATS JetStream server.
///
/// It promises what [`Log`](crate::log::Log) does as far as its server keeps its word: ask with
/// [`report`](Self::report) whether it syncs before it acknowledges. One side writes at a time by
/// rights; if several do nothing is lost or mixed up, but each change of sides costs one of the 250
/// epochs that are remembered. Calls go on over a restart of the server, for the patience that the
/// options say. Clones share it.
///
/// ```no_run
/// use stt_store::{
///     ChamberKey,
///     log::{DurableLog, jetstream::{JetStreamLog, JetStreamOptions, async_nats}},
/// };
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let key = ChamberKey::from_key(&stc::Key::generate()?);
/// let client = async_nats::connect("127.0.0.1:4222").await?;
/// let options = JetStreamOptions::new("orders")
///     .monitor("127.0.0.1:8222")
///     .synced_only(true);
/// let log = JetStreamLog::open(client, &key, options).await?;
/// let position = log.append_all(vec!["order 1".into()]).await?;
/// assert_eq!(log.read(position, 10, 1 << 20).await?[0].data, "order 1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct JetStreamLog {
    core: Arc<Core>,
    requests: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    report: Arc<SyncReport>,
}

/// What the handles and the writer share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) server: Server,
    pub(super) tail: Mutex<Tail>,
    /// The end, as far as this side knows.
    pub(super) grown: watch::Sender<u64>,
    pub(super) patience: Duration,
    pub(super) keep_age: Option<Duration>,
    /// Held while old records are removed.
    pub(super) removing: Mutex<()>,
    /// Connections at the last look.
    looked: Mutex<u64>,
    options: JetStreamOptions,
    /// Those that are open.
    pub(super) consumers: Consumers,
    cursors: OnceCell<Cursors>,
    /// Shared by those who write the cursor of a handle that was dropped.
    pub(super) noting: Arc<RwLock<()>>,
    dead: OnceCell<JetStreamLog>,
}

impl Core {
    /// Looks where the stream begins and ends, and who wrote it.
    pub(super) async fn refresh(&self) -> Result<(), LogError> {
        let connects = self.server.connects();
        // Before the look: what it finds must not take the place of something newer.
        let mut tail = self.tail.lock().await;
        let (begun, damaged) = (Instant::now(), |what| self.server.damaged(what));
        let mut looked = self.looked.lock().await;
        loop {
            let extent = self.server.extent().await?;
            if extent.messages == 0 {
                if extent.last > 0 {
                    return Err(damaged(Damage::Missing(DamagedPart::LastMessage)));
                }
                *tail = Tail::default();
                break;
            }
            let is_same = tail.last.is_some_and(|last| last.sequence == extent.last);
            if !is_same || *looked != connects {
                let Some(frame) = self.server.message(extent.last).await? else {
                    // It grew meanwhile and lost its beginning.
                    self.pause(begun)?;
                    tokio::time::sleep(LOOKS.0).await;
                    continue;
                };
                let last = Last::of(extent.last, &frame);
                if tail.last != Some(last) {
                    let parts = self.parts(&tail, frame, extent.first).await?;
                    tail.found(parts, last);
                }
            }
            if tail.start.0 != extent.first {
                let Some(frame) = self.server.message(extent.first).await? else {
                    self.pause(begun)?;
                    continue;
                };
                tail.starts(extent.first, frame.header.first);
            }
            break;
        }
        *looked = connects;
        self.tell(&tail);
        Ok(())
    }

    /// Wakes those who wait for the end of the log to move.
    pub(super) fn tell(&self, tail: &Tail) {
        self.grown.send_if_modified(|end| std::mem::replace(end, tail.end()) != tail.end());
    }

    /// Whether what came before `asked` is what the stream holds.
    pub(super) async fn check_history(&self, asked: Position) -> Result<(), LogError> {
        if *self.looked.lock().await != self.server.connects() {
            self.refresh().await?;
        }
        self.tail.lock().await.check_history(asked)
    }

    /// The stream of the consumers' cursors.
    pub(super) async fn cursors(&self) -> Result<&Cursors, LogError> {
        self.cursors.get_or_try_init(|| Cursors::open(&self.server, &self.options)).await
    }

    /// The log of dead letters.
    pub(super) async fn dead_letters(&self) -> Result<&JetStreamLog, LogError> {
        let open = || {
            let mut options = self.options.clone();
            // No log of somebody else has a name with this sign.
            options.stream.push_str("+dead");
            options.record_max = options.record_max.saturating_add(consumer::OVERHEAD);
            options.letters = options.letters.saturating_sub(1);
            let (client, key) = (self.server.context().client(), self.server.keys.dead_letters());
            Box::pin(async move { JetStreamLog::open_on(client, &key, options).await })
        };
        self.dead.get_or_try_init(open).await
    }

    fn pause(&self, begun: Instant) -> Result<(), LogError> {
        if begun.elapsed() < self.patience {
            return Ok(());
        }
        Err(self.server.damaged(Damage::Unverified(DamagedPart::Message)))
    }

    /// Who wrote the stream, from its last message back to what is known or was removed.
    async fn parts(
        &self,
        tail: &Tail,
        last: Frame,
        oldest: u64,
    ) -> Result<Vec<super::frame::Part>, LogError> {
        let mut part = last.part;
        let mut parts = vec![part];
        while parts.len() < EPOCHS_MAX && part.first > 0 && part.sequence > oldest {
            // A part that is the same came after the same ones.
            if let Some(at) = tail.parts.iter().position(|known| *known == part) {
                let known = tail.parts.iter().take(at).rev();
                parts.extend(known.take(EPOCHS_MAX - parts.len()));
                break;
            }
            let Some(before) = self.server.message(part.sequence - 1).await? else { break };
            if before.header.end() != part.first || before.header.epoch != part.before {
                return Err(self.server.damaged(Damage::OutOfOrder));
            }
            part = before.part;
            parts.push(part);
        }
        parts.reverse();
        Ok(parts)
    }

    /// The first message with a record at or behind `offset`, with its number.
    async fn find(&self, offset: u64) -> Result<Option<(u64, Frame)>, LogError> {
        let (mut from, mut to) = self.tail.lock().await.range(offset);
        loop {
            let middle = from + (to - from) / 2;
            let Some(frame) = self.server.message(middle).await? else { return Ok(None) };
            self.tail.lock().await.note(frame.header.first, middle);
            if (frame.header.first..frame.header.end()).contains(&offset) {
                return Ok(Some((middle, frame)));
            }
            if to - from <= 1 {
                return Err(self.server.damaged(Damage::Missing(DamagedPart::Message)));
            }
            if frame.header.first > offset {
                to = middle;
            } else {
                from = middle + 1;
            }
            if from >= to {
                return Err(self.server.damaged(Damage::Missing(DamagedPart::Message)));
            }
        }
    }

    pub(super) async fn read(
        &self,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let begun = Instant::now();
        let mut is_known = *self.looked.lock().await == self.server.connects()
            && from.offset < self.tail.lock().await.end();
        loop {
            if !is_known {
                self.refresh().await?;
            }
            is_known = false;
            let end = {
                let tail = self.tail.lock().await;
                tail.check(from)?;
                tail.end()
            };
            if from.offset == end {
                return Ok(Vec::new());
            }
            if let Some(records) = self.collect(from, end, max_records, max_bytes).await? {
                return Ok(records);
            }
            // It was removed since the look; the next one says so.
            self.pause(begun)?;
        }
    }

    /// `None` if the first message is not there.
    async fn collect(
        &self,
        from: Position,
        end: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Option<Vec<Record>>, LogError> {
        let Some((mut sequence, mut frame)) = self.find(from.offset).await? else {
            return Ok(None);
        };
        let (mut out, mut bytes) = (Vec::new(), 0usize);
        loop {
            let epoch = frame.header.epoch;
            let records = frame
                .records()
                .ok_or_else(|| self.server.damaged(Damage::Malformed(DamagedPart::Message)))?;
            for (offset, raw) in (frame.header.first..).zip(records) {
                if offset < from.offset {
                    continue;
                }
                if out.len() == max_records || bytes >= max_bytes {
                    return Ok(Some(out));
                }
                bytes = bytes.saturating_add(raw.data.len());
                let position = Position { epoch, offset };
                out.push(Record { position, time: raw.time, data: raw.data });
            }
            let (next, limit) =
                (frame.header.end(), out.len() == max_records || bytes >= max_bytes);
            if next < end {
                self.tail.lock().await.note(next, sequence + 1);
            }
            if next >= end || limit {
                return Ok(Some(out));
            }
            sequence += 1;
            frame = match self.server.message(sequence).await? {
                Some(frame) if frame.header.first == next => frame,
                Some(_) => return Err(self.server.damaged(Damage::Missing(DamagedPart::Message))),
                // What came before is still good.
                None => return Ok(Some(out)),
            };
        }
    }

    /// Removes messages of which every record is older, the last one excepted.
    pub(super) async fn remove_older(&self, age: Duration) -> Result<(), LogError> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let limit = now().saturating_sub(age);
        let extent = self.server.extent().await?;
        let (mut from, mut to) = (extent.first, extent.last);
        // The first message that is young enough, or the last one.
        while from < to {
            let middle = from + (to - from) / 2;
            let Some(frame) = self.server.message(middle).await? else { return Ok(()) };
            let time = frame.records().and_then(|records| records.first().map(|raw| raw.time));
            if time.is_some_and(|time| time < limit) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        if from > extent.first {
            self.server.purge(from).await?;
        }
        Ok(())
    }
}

impl JetStreamLog {
    /// Opens the log in a stream, and makes it if there is none. This reads its ends, and one
    /// message for each earlier opening that wrote something.
    ///
    /// # Errors
    /// [`LogError::NotSynced`] if that was to be refused; [`LogError::Unreachable`];
    /// [`LogError::Store`] with [`StoreError::WrongSeed`], [`StoreError::NotAStore`] for a stream
    /// that is no log's, [`StoreError::Damaged`], or [`StoreError::Setting`] for one that removes
    /// what it pleases, or for an option out of its range.
    pub async fn open(
        client: Client,
        key: &ChamberKey,
        options: JetStreamOptions,
    ) -> Result<Self, LogError> {
        options.check()?;
        Self::open_on(client, key, options).await
    }

    async fn open_on(
        client: Client,
        key: &ChamberKey,
        options: JetStreamOptions,
    ) -> Result<Self, LogError> {
        let (server, report) = Server::open(client, key, &options).await?;
        let report = require_synced(report, &options)?;
        let core = Arc::new(Core {
            server,
            tail: Mutex::default(),
            grown: watch::Sender::new(0),
            patience: options.patience,
            keep_age: options.keep_age,
            removing: Mutex::default(),
            looked: Mutex::default(),
            consumers: Consumers::default(),
            cursors: OnceCell::new(),
            noting: Arc::default(),
            dead: OnceCell::new(),
            options,
        });
        core.refresh().await?;
        let (requests, queue) = mpsc::channel(WAITING.0);
        tokio::spawn(writer::run(Arc::clone(&core), queue));
        let room = Arc::new(Semaphore::new(usize::try_from(WAITING.1).unwrap_or(usize::MAX)));
        Ok(Self { core, requests, room, report: Arc::new(report) })
    }

    pub(super) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Whether what was acknowledged is synced, as the servers said when the log was opened.
    #[must_use]
    pub fn report(&self) -> &SyncReport {
        &self.report
    }

    /// Appends one record: [`DurableLog::append_all`].
    ///
    /// # Errors
    /// As there.
    pub async fn append(&self, record: impl Payload) -> Result<Position, LogError> {
        self.append_all(vec![record.into_bytes()]).await
    }

    /// Removes the messages of which every record lies before `position`; the last one stays.
    /// Returns how many went.
    ///
    /// # Errors
    /// [`LogError::EpochChanged`], [`LogError::Unreachable`], [`LogError::Store`].
    pub async fn trim(&self, position: Position) -> Result<u64, LogError> {
        let core = &self.core;
        core.refresh().await?;
        let (end, last) = {
            let tail = core.tail.lock().await;
            match tail.check(position) {
                Err(LogError::Trimmed { .. }) => return Ok(0),
                checked => checked?,
            }
            (tail.end(), tail.last.map_or(0, |last| last.sequence))
        };
        let keep = if position.offset >= end {
            last
        } else {
            core.find(position.offset).await?.map_or(0, |(sequence, _)| sequence)
        };
        if keep <= 1 { Ok(0) } else { core.server.purge(keep).await }
    }

    fn check_size(&self, records: &[Bytes]) -> Result<(), LogError> {
        let options = &self.core.options;
        let message = self.core.server.message_max().saturating_sub(MESSAGE_OVERHEAD);
        // Whatever is appended must fit as a dead letter as well.
        let room = message.saturating_sub(4 + options.letters * consumer::OVERHEAD);
        let limit = options.record_max.min(room);
        if let Some(record) = records.iter().find(|record| record.len() > limit) {
            return Err(LogError::TooLarge { got: record.len(), limit });
        }
        if records.len() > FRAME_RECORDS_MAX {
            return Err(LogError::TooLarge { got: records.len(), limit: FRAME_RECORDS_MAX });
        }
        let (got, limit) = (body_len(records), message);
        if got > limit { Err(LogError::TooLarge { got, limit }) } else { Ok(()) }
    }
}

pub(super) fn closed() -> LogError {
    StoreError::Closed { item: "the log".to_owned() }.into()
}

impl DurableLog for JetStreamLog {
    fn append_all(&self, records: Vec<Bytes>) -> BoxFuture<'_, Result<Position, LogError>> {
        Box::pin(async move {
            self.check_size(&records)?;
            if records.is_empty() {
                return Ok(self.bounds().await?.1);
            }
            let kib = u32::try_from(body_len(&records) >> 10).unwrap_or(u32::MAX);
            let kib = kib.saturating_add(1).min(WAITING.1);
            let room = Arc::clone(&self.room).acquire_many_owned(kib).await;
            let (answer, answered) = oneshot::channel();
            let request = Request { records, answer, _room: room.map_err(|_| closed())? };
            self.requests.send(request).await.map_err(|_| closed())?;
            answered.await.map_err(|_| closed())?
        })
    }

    fn read(
        &self,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, LogError>> {
        Box::pin(async move {
            let max_records = max_records.clamp(1, READ_RECORDS_MAX);
            self.core.read(from, max_records, max_bytes.max(1)).await
        })
    }

    fn wait_for(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            let mut grown = self.core.grown.subscribe();
            let mut pause = LOOKS.0;
            loop {
                grown.mark_unchanged();
                self.core.refresh().await?;
                {
                    let tail = self.core.tail.lock().await;
                    tail.check(position)?;
                    if tail.end() > position.offset {
                        return Ok(());
                    }
                }
                let _ = tokio::time::timeout(pause, grown.changed()).await;
                pause = (pause * 2).min(LOOKS.1);
            }
        })
    }

    fn bounds(&self) -> BoxFuture<'_, Result<(Position, Position), LogError>> {
        Box::pin(async move {
            self.core.refresh().await?;
            let tail = self.core.tail.lock().await;
            Ok((tail.position(tail.start.1), tail.position(tail.end())))
        })
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
