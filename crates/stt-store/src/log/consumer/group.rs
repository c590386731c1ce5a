//! One consumer with all handles that have it open: its rules, and what it stands on.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::Notify;

use super::{
    ConsumerOptions, DeadLetter, Lease,
    cursor::Saved,
    engine::{Engine, Snapshot},
    machine::{Machine, Step},
};
use crate::{
    Damage, StoreError,
    log::{LogError, Position, Record, position::Epochs},
};

/// A delivery as the rules gave it.
pub(super) type Given = (Lease, Record, u32);

/// Shared by the handles of a consumer.
#[derive(Debug)]
pub(in crate::log) struct Group {
    engine: Arc<dyn Engine>,
    pub(super) name: String,
    pub(super) options: ConsumerOptions,
    machine: Mutex<Machine>,
    /// Who wrote what this consumer was given; the log may be another one by now.
    history: Mutex<Epochs>,
    /// Something may have become ready, or room.
    changed: Notify,
    /// Held while a write is under way, so that the next one takes what has gathered meanwhile.
    writing: tokio::sync::Mutex<()>,
    /// The version of the cursor that is durable.
    durable: AtomicU64,
    /// Held while records are read, or dead letters stored.
    pump: tokio::sync::Mutex<()>,
    members: AtomicU64,
}

pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Group {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        options: ConsumerOptions,
        saved: &Saved,
    ) -> Result<Self, StoreError> {
        let lease = u64::from_be_bytes(stc::random::bytes()?);
        let mut history = Epochs::default();
        if let Some(before) = saved.next.offset.checked_sub(1) {
            history.note(saved.next.epoch, before);
        }
        Ok(Self {
            engine,
            name: saved.name.clone(),
            options,
            machine: Mutex::new(Machine::new(options.limits, &saved.cursor(), lease)),
            history: Mutex::new(history),
            changed: Notify::new(),
            writing: tokio::sync::Mutex::new(()),
            durable: AtomicU64::new(0),
            pump: tokio::sync::Mutex::new(()),
            members: AtomicU64::new(0),
        })
    }

    /// Whether somebody else has the consumer now.
    pub(super) fn is_taken(&self) -> bool {
        self.engine.is_taken()
    }

    /// One above the offset of the last durable record, as far as it is known.
    pub(super) fn end(&self) -> u64 {
        *self.engine.ends().borrow()
    }

    fn history(&self) -> MutexGuard<'_, Epochs> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position behind the records before `offset`, as this consumer knows them.
    pub(super) fn position(&self, offset: u64) -> Position {
        self.history().at(offset)
    }

    /// The record before this position was given to the consumer, or skipped by it.
    fn learn(&self, next: Position) {
        let Some(offset) = next.offset.checked_sub(1) else { return };
        let mut history = self.history();
        // Those that come again are known.
        if history.entries().last().is_none_or(|(_, start)| *start < offset) {
            history.note(next.epoch, offset);
        }
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
        self.write(true).await
    }

    /// Writes what the rules say, unless that is durable already.
    async fn write(self: &Arc<Self>, durable: bool) -> Result<(), LogError> {
        let version = self.machine().version();
        let _turn = self.writing.lock().await;
        // A note of how often records were delivered is worth no less when it is durable.
        if self.durable.load(Relaxed) >= version {
            return Ok(());
        }
        if let Some(version) = self.engine.write(self.snapshot(), durable).await? {
            self.durable.fetch_max(version, Relaxed);
        }
        Ok(())
    }

    fn snapshot(self: &Arc<Self>) -> Snapshot {
        let group = self.clone();
        Box::new(move || group.saved())
    }

    /// Writes a note, which waits for nobody: while somebody else writes, nothing.
    pub(super) fn note_now(self: &Arc<Self>) -> Result<(), LogError> {
        self.engine.note(self.snapshot())
    }

    /// What must outlive the process, and its version.
    pub(super) fn saved(&self) -> (u64, Saved) {
        let (version, cursor) = self.machine().cursor();
        let next = self.position(cursor.next);
        (version, Saved { name: self.name.clone(), next, unsettled: cursor.unsettled })
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
            let mut ends = self.engine.ends();
            let end = *ends.borrow_and_update();
            let (step, given) = self.step(member, max, end);
            match step {
                Step::Deliver => {
                    let handing = Handing { group: self.clone(), given };
                    // How often they were delivered outlives the process.
                    self.write(false).await?;
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
                    error = self.engine.look() => return Err(error),
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
        let known = self.position(self.machine().read_to());
        match self.engine.read(want, known).await {
            Ok(records) if records.is_empty() => {
                let item = format!("the consumer {:?}", self.name);
                Err(StoreError::damaged(item, Damage::BeyondEnd).into())
            }
            Ok(records) => {
                records.iter().for_each(|record| self.learn(record.next()));
                self.with(|machine, _| machine.fetched(records));
                Ok(())
            }
            Err(LogError::Trimmed { oldest, .. }) => {
                self.learn(self.engine.position(oldest).await);
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
        self.engine.bury(letter.encode()).await?;
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
