//! One consumer with all handles that have it open: its rules, its file, and the log it reads.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    ConsumerOptions, DeadLetter, Lease,
    cursor::{CursorFile, Saved},
    machine::{Cursor, Machine, Step},
};
use crate::{
    Damage, StoreError,
    disk::blocking,
    log::{Log, LogError, Record, reader::Reader},
};

/// A delivery as the rules gave it.
pub(super) type Given = (Lease, Record, u32);

/// Shared by the handles of a consumer.
#[derive(Debug)]
pub(in crate::log) struct Group {
    pub(super) log: Log,
    pub(super) name: String,
    pub(super) options: ConsumerOptions,
    machine: Mutex<Machine>,
    /// Something may have become ready, or room.
    changed: Notify,
    file: Mutex<CursorFile>,
    /// Held while a write is under way, so that the next one takes what has gathered meanwhile.
    writing: tokio::sync::Mutex<()>,
    /// The version of the cursor that is durable.
    durable: AtomicU64,
    /// Held while records are read, or dead letters stored.
    pump: tokio::sync::Mutex<()>,
    reader: Mutex<Reader>,
    members: AtomicU64,
}

pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Group {
    pub(super) fn new(
        log: Log,
        options: ConsumerOptions,
        file: CursorFile,
        saved: &Saved,
    ) -> Result<Self, StoreError> {
        let lease = u64::from_be_bytes(stc::random::bytes()?);
        Ok(Self {
            name: saved.name.clone(),
            machine: Mutex::new(Machine::new(options.limits, &saved.cursor(), lease)),
            changed: Notify::new(),
            file: Mutex::new(file),
            writing: tokio::sync::Mutex::new(()),
            durable: AtomicU64::new(0),
            pump: tokio::sync::Mutex::new(()),
            reader: Mutex::new(Reader::new(log.shared().clone())),
            members: AtomicU64::new(0),
            log,
            options,
        })
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new handle.
    pub(super) fn join(&self) -> u64 {
        self.members.fetch_add(1, Relaxed)
    }

    /// A handle is gone: its records are ready for the others at once.
    pub(super) fn leave(&self, member: u64) {
        self.machine().leave(member);
        self.changed.notify_waiters();
    }

    /// Changes the state machine and wakes the tasks that wait for its events.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let result = change(&mut self.machine(), now());
        self.changed.notify_waiters();
        result
    }

    /// Waits until the version of now is durable.
    pub(super) async fn persist(self: &Arc<Self>) -> Result<(), LogError> {
        let version = self.machine().version();
        let _turn = self.writing.lock().await;
        if self.durable.load(Relaxed) >= version {
            return Ok(());
        }
        let group = self.clone();
        Ok(blocking("a cursor", move || group.write(true)).await?)
    }

    /// Notes how often records were delivered, so that it outlives the process.
    async fn note(self: &Arc<Self>) -> Result<(), LogError> {
        let group = self.clone();
        Ok(blocking("a cursor", move || group.write(false)).await?)
    }

    /// Writes what the rules say now. Blocks.
    fn write(&self, durable: bool) -> Result<(), StoreError> {
        self.write_into(&mut self.file.lock().unwrap_or_else(PoisonError::into_inner), durable)
    }

    /// Writes a note, which waits for no disk: while somebody else writes, nothing.
    pub(super) fn note_now(&self) -> Result<(), StoreError> {
        match self.file.try_lock() {
            Ok(mut file) => self.write_into(&mut file, false),
            Err(_) => Ok(()),
        }
    }

    fn write_into(&self, file: &mut CursorFile, durable: bool) -> Result<(), StoreError> {
        let (version, cursor) = self.machine().cursor();
        file.write(&self.saved(cursor), durable)?;
        if durable {
            self.durable.fetch_max(version, Relaxed);
        }
        Ok(())
    }

    pub(super) fn saved(&self, cursor: Cursor) -> Saved {
        let next = self.log.shared().position(cursor.next);
        Saved { name: self.name.clone(), next, unsettled: cursor.unsettled }
    }

    /// Up to `max` records for `member`, at least one.
    pub(super) async fn take(
        self: &Arc<Self>,
        member: u64,
        max: usize,
    ) -> Result<Handing, LogError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let mut ends = self.log.ends();
            let end = *ends.borrow_and_update();
            let (step, given) = self.step(member, max, end);
            match step {
                Step::Deliver => {
                    let handing = Handing { group: self.clone(), given };
                    self.note().await?;
                    return Ok(handing);
                }
                Step::Bury => {
                    let _pump = self.pump.lock().await;
                    self.bury().await?;
                }
                Step::Fetch(_) => {
                    let _pump = self.pump.lock().await;
                    self.fetch(end).await?;
                }
                Step::Wait(until) => tokio::select! {
                    () = changed => {}
                    ended = ends.changed() => if ended.is_err() {
                        let item = "the log".to_owned();
                        return Err(StoreError::Closed { item }.into());
                    },
                    () = sleep_until(until) => {}
                },
            }
        }
    }

    fn step(&self, member: u64, max: usize, end: u64) -> (Step, Vec<Given>) {
        let mut machine = self.machine();
        let now = now();
        let step = machine.step(now, end);
        let given = match step {
            Step::Deliver => {
                std::iter::from_fn(|| machine.deliver(member, now)).take(max.max(1)).collect()
            }
            _ => Vec::new(),
        };
        (step, given)
    }

    /// Reads what is wanted. For who holds the pump.
    async fn fetch(self: &Arc<Self>, end: u64) -> Result<(), LogError> {
        // Somebody else may have read meanwhile.
        let Some(want) = self.machine().want(end) else { return Ok(()) };
        let group = self.clone();
        let read = blocking("the log", move || {
            let mut reader = group.reader.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(reader.read(want.from, want.records, want.bytes))
        });
        match read.await? {
            Ok(records) if records.is_empty() => {
                let item = format!("the consumer {:?}", self.name);
                Err(StoreError::damaged(item, Damage::BeyondEnd).into())
            }
            Ok(records) => {
                self.with(|machine, _| machine.fetched(records));
                Ok(())
            }
            Err(LogError::Trimmed { oldest, .. }) => {
                match self.with(|machine, _| machine.trimmed(oldest)) {
                    Some(asked) => Err(LogError::Trimmed { asked, oldest }),
                    None => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Stores the first dead letter. For who holds the pump.
    async fn bury(self: &Arc<Self>) -> Result<(), LogError> {
        let Some((record, deliveries, reason)) = self.machine().dying() else { return Ok(()) };
        let offset = record.position.offset;
        let letter = DeadLetter {
            consumer: self.name.clone(),
            position: record.position,
            time: record.time,
            deliveries,
            reason,
            data: record.data,
        };
        let dead = self.log.dead_letters().await?;
        let encoded: Bytes = letter.encode();
        dead.append(encoded).await?;
        self.with(|machine, _| machine.bury(offset));
        tracing::warn!(consumer = self.name, offset, letter.reason, "a record is a dead letter");
        self.persist().await
    }

    /// Returns when the record at `offset` is a durable dead letter.
    pub(super) async fn bury_until(self: &Arc<Self>, offset: u64) -> Result<(), LogError> {
        let _pump = self.pump.lock().await;
        while self.machine().is_dying(offset) {
            self.bury().await?;
        }
        self.persist().await
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Deliveries on their way to a handler: if they do not arrive, they were none.
#[derive(Debug)]
pub(super) struct Handing {
    group: Arc<Group>,
    given: Vec<Given>,
}

impl Handing {
    pub(super) fn arrive(mut self) -> Vec<Given> {
        std::mem::take(&mut self.given)
    }
}

impl Drop for Handing {
    fn drop(&mut self) {
        if self.given.is_empty() {
            return;
        }
        let given = std::mem::take(&mut self.given);
        self.group.with(|machine, _| {
            for (lease, ..) in given {
                machine.undo(lease);
            }
        });
    }
}
