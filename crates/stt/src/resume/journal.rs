//! The task that writes what sessions keep to their log: many changes with one sync.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use stt_store::log::{DurableLog, Log, LogError, Position};
use tokio::sync::{Notify, oneshot, watch};

use super::{
    ResumeError,
    entry::{Entry, decode, encode},
    machine::Progress,
    shared::Shared,
    stored::Book,
};

/// Bytes of messages that are handed to the log together.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes that one call of the log takes; one record may be longer.
const CALL_BYTES: usize = 6 << 20;
const CALL_RECORDS: usize = 32_768;
/// Bytes after which a snapshot is due, if what is kept is not more.
const SNAPSHOT_BYTES: usize = 4 << 20;

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether it writes.
#[derive(Clone, Debug)]
enum Working {
    Yes,
    No(ResumeError),
}

type Waiter = oneshot::Sender<Result<(), ResumeError>>;

#[derive(Debug, Default)]
struct Queue {
    /// Sessions with changes.
    changed: Vec<u64>,
    /// Entries beside those, with the callers that wait for them.
    entries: Vec<(u64, Entry, Option<Waiter>)>,
    is_closing: bool,
    /// Nobody takes anything any more.
    is_over: bool,
}

/// The way to the task. What is written waits here, and in the sessions.
#[derive(Debug)]
pub(super) struct Journal {
    queue: Mutex<Queue>,
    wake: Notify,
    working: watch::Sender<Working>,
    members: Mutex<BTreeMap<u64, Weak<Shared>>>,
    next: AtomicU64,
    /// Sessions that the log holds.
    kept: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Starts the task, which has the log to itself until it ends. `written`: bytes since the last
    /// snapshot.
    pub(super) fn start(log: Log, mut book: Book, written: usize) -> Arc<Self> {
        let journal = Arc::new(Self {
            queue: Mutex::default(),
            wake: Notify::new(),
            working: watch::Sender::new(Working::Yes),
            members: Mutex::default(),
            next: AtomicU64::new(book.number()),
            kept: AtomicUsize::new(book.sessions().len()),
        });
        let writer = Writer { log, book, written };
        tokio::spawn(run(Arc::clone(&journal), writer));
        journal
    }

    /// A number that no session has.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sessions that the log holds.
    pub(super) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// From now on the changes of this session are written when it says that it has some.
    pub(super) fn join(&self, number: u64, shared: &Arc<Shared>) {
        let mut members = lock(&self.members);
        members.retain(|_, member| member.strong_count() > 0);
        members.insert(number, Arc::downgrade(shared));
    }

    /// The session has changes. It says so once until they were taken.
    pub(super) fn changed(&self, number: u64) {
        self.push(|queue| queue.changed.push(number));
    }

    /// Writes an entry soon.
    pub(super) fn note(&self, number: u64, entry: Entry) {
        self.push(|queue| queue.entries.push((number, entry, None)));
    }

    fn push(&self, push: impl FnOnce(&mut Queue)) {
        let mut queue = lock(&self.queue);
        if !queue.is_over {
            push(&mut queue);
            self.wake.notify_one();
        }
    }

    /// Writes an entry, and returns when it is synced.
    pub(super) async fn write(&self, number: u64, entry: Entry) -> Result<(), ResumeError> {
        let (waiter, synced) = oneshot::channel();
        {
            let mut queue = lock(&self.queue);
            if queue.is_closing || queue.is_over {
                return Err(self.why_not());
            }
            queue.entries.push((number, entry, Some(waiter)));
        }
        self.wake.notify_one();
        synced.await.unwrap_or_else(|_| Err(self.why_not()))
    }

    fn why_not(&self) -> ResumeError {
        match &*self.working.borrow() {
            Working::No(why) => why.clone(),
            Working::Yes => ResumeError::Left,
        }
    }

    /// Lets go of all sessions, writes what is there, and closes the log.
    pub(super) fn close(&self) {
        self.end_all(&ResumeError::Left);
        lock(&self.queue).is_closing = true;
        self.wake.notify_one();
    }

    /// Returns when the log is closed.
    pub(super) async fn closed(&self) {
        let mut working = self.working.subscribe();
        let _ = working.wait_for(|working| matches!(working, Working::No(_))).await;
    }

    fn end_all(&self, why: &ResumeError) {
        // Not under the lock: they may have something to write.
        let members: Vec<_> = lock(&self.members).values().filter_map(Weak::upgrade).collect();
        for shared in members {
            shared.end(why.clone());
        }
    }

    /// What is to be written; `None` once nothing follows.
    fn take(&self) -> Option<Batch> {
        let (changed, entries) = {
            let mut queue = lock(&self.queue);
            if queue.is_closing && queue.changed.is_empty() && queue.entries.is_empty() {
                return None;
            }
            (std::mem::take(&mut queue.changed), std::mem::take(&mut queue.entries))
        };
        let mut batch = Batch::default();
        for (number, entry, waiter) in entries {
            batch.records.push((number, entry));
            batch.waiters.extend(waiter);
        }
        let mut left = BATCH_BYTES;
        for number in changed {
            let member = lock(&self.members).get(&number).and_then(Weak::upgrade);
            let Some(shared) = member else { continue };
            if left == 0 {
                self.changed(number);
                continue;
            }
            let (changes, progress) = shared.take_changes(left);
            for change in changes {
                left = left.saturating_sub(change.bytes());
                batch.records.push((number, Entry::Change(change)));
            }
            batch.synced.push((shared, progress));
        }
        Some(batch)
    }
}

/// What is written together.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<(u64, Entry)>,
    waiters: Vec<Waiter>,
    synced: Vec<(Arc<Shared>, Progress)>,
}

/// The log, and what it holds.
struct Writer {
    log: Log,
    book: Book,
    written: usize,
}

async fn run(journal: Arc<Journal>, mut writer: Writer) {
    let why = loop {
        let Some(mut batch) = journal.take() else { break ResumeError::Left };
        if batch.records.is_empty() {
            journal.wake.notified().await;
            continue;
        }
        if let Err(why) = writer.write(std::mem::take(&mut batch.records)).await {
            for waiter in batch.waiters {
                let _ = waiter.send(Err(why.clone()));
            }
            break why;
        }
        journal.kept.store(writer.book.sessions().len(), Ordering::Relaxed);
        for (shared, progress) in batch.synced {
            shared.on_disk(progress);
        }
        for waiter in batch.waiters {
            // Fails when the caller gave up.
            let _ = waiter.send(Ok(()));
        }
        if let Err(why) = writer.tidy().await {
            break why;
        }
    };
    // Only now can somebody else open it.
    drop(writer);
    journal.working.send_replace(Working::No(why.clone()));
    journal.end_all(&why);
    *lock(&journal.queue) = Queue { is_over: true, ..Queue::default() };
}

impl Writer {
    async fn write(&mut self, records: Vec<(u64, Entry)>) -> Result<(), ResumeError> {
        let mut encoded = Vec::with_capacity(records.len());
        let time = now();
        for (number, entry) in records {
            encoded.push(encode(number, &entry));
            let applied = self.book.apply(number, entry, time);
            applied.map_err(|_| ResumeError::LogDamaged { what: "an entry does not follow" })?;
        }
        self.append(encoded).await.map(|_| ())
    }

    async fn append(&mut self, records: Vec<Bytes>) -> Result<Option<Position>, ResumeError> {
        let mut first = None;
        for call in calls(records) {
            self.written += call.iter().map(Bytes::len).sum::<usize>();
            let position = self.log.append_all(call).await?;
            first = first.or(Some(position));
        }
        Ok(first)
    }

    /// Writes a snapshot when one is due, and lets the log forget what came before.
    async fn tidy(&mut self) -> Result<(), ResumeError> {
        let live = self.book.bytes();
        if self.written < SNAPSHOT_BYTES.max(live.saturating_mul(2)) {
            return Ok(());
        }
        let snapshot = self.book.snapshot();
        let records = snapshot.map(|(number, entry)| encode(number, &entry)).collect();
        let Some(from) = self.append(records).await? else { return Ok(()) };
        self.written = 0;
        if let Err(error) = self.log.trim(from).await {
            // The snapshot counts all the same; the next one removes this too.
            tracing::warn!(%error, "old entries of the log of sessions stay for now");
        }
        Ok(())
    }
}

/// Records in portions that the log takes.
pub(super) fn calls(records: Vec<Bytes>) -> Vec<Vec<Bytes>> {
    let (mut calls, mut call, mut bytes) = (Vec::new(), Vec::new(), 0);
    for record in records {
        if !call.is_empty() && (bytes + record.len() > CALL_BYTES || call.len() == CALL_RECORDS) {
            calls.push(std::mem::take(&mut call));
            bytes = 0;
        }
        bytes += record.len() + 4;
        call.push(record);
    }
    if !call.is_empty() {
        calls.push(call);
    }
    calls
}

/// What the log holds, and bytes since its last snapshot.
pub(super) async fn read(log: &Log) -> Result<(Book, usize), ResumeError> {
    let damaged = |what| ResumeError::LogDamaged { what };
    let (mut at, end) = log.bounds().await?;
    let (mut book, mut written) = (Book::new(at.offset == 0), 0);
    while at.offset < end.offset {
        let records = log.read(at, CALL_RECORDS, 2 * BATCH_BYTES).await?;
        let Some(last) = records.last() else { break };
        at = last.next();
        for record in records {
            written += record.data.len();
            let entry = decode(record.data).ok_or_else(|| damaged("an entry makes no sense"))?;
            if entry.1 == Entry::SnapshotIsWhole {
                written = 0;
            }
            let applied = book.apply(entry.0, entry.1, record.time);
            applied.map_err(|_| damaged("an entry does not follow"))?;
        }
    }
    if !book.is_known() {
        return Err(damaged("its beginning is missing"));
    }
    Ok((book, written))
}

impl From<LogError> for ResumeError {
    fn from(error: LogError) -> Self {
        Self::Log(Arc::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_keep_the_order_and_stay_within_what_the_log_takes() {
        let sizes = [1, 5 << 20, 2 << 20, 15 << 20, 3, 3, 6 << 20];
        let records: Vec<_> = sizes.iter().map(|len| Bytes::from(vec![0; *len])).collect();
        let calls = calls(records);
        assert_eq!(calls.concat().iter().map(Bytes::len).collect::<Vec<_>>(), sizes);
        for call in calls {
            let bytes: usize = call.iter().map(|record| record.len() + 4).sum();
            assert!(call.len() == 1 || bytes <= 8 << 20);
        }
    }
}
