//! What applications see of a consumer.

use std::{sync::Arc, time::Duration};

use super::{Group, Lease, group::Given};
use crate::log::{LogError, Position, Record};

/// Figures of a consumer: what it holds now, and what happened since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// All records before this offset are settled: acknowledged, dead letters, or gone by
    /// retention.
    pub settled_to: u64,
    /// The position behind the last record that was delivered.
    pub next: Position,
    /// Records of the log that were never delivered.
    pub lag: u64,
    /// Records that were delivered and are not settled.
    pub unsettled: u64,
    /// Records held in memory.
    pub held: u64,
    /// What they are charged, in bytes.
    pub held_bytes: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Those of them that were not the first of their record.
    pub redelivered: u64,
    /// Acknowledgements.
    pub acknowledged: u64,
    /// Leases that ran out.
    pub expired: u64,
    /// Dead letters.
    pub dead: u64,
    /// Records that retention removed before they were handled.
    pub trimmed: u64,
}

/// A named reader of a log that remembers on disk what was acknowledged.
///
/// [`Log::consumer`](crate::log::Log::consumer) opens it; several handles of one name share its
/// records. Every record is delivered at least once: in order, but for those that are delivered
/// again. A handle that is dropped gives what it holds to the others at once.
///
/// ```
/// use stt_store::{
///     ChamberKey,
///     log::{ConsumerOptions, Log, LogOptions},
/// };
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let key = ChamberKey::from_key(&stc::Key::generate()?);
/// let log = Log::open(&key, dir.path().join("orders"), LogOptions::default()).await?;
/// log.append("order 1").await?;
///
/// let consumer = log.consumer("billing", ConsumerOptions::default()).await?;
/// let delivery = consumer.next().await?;
/// assert_eq!(delivery.record().data, "order 1");
/// delivery.ack().await?; // durable when this returns
/// # Ok(())
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug)]
pub struct Consumer {
    group: Arc<Group>,
    member: u64,
}

impl Consumer {
    pub(super) fn new(group: Arc<Group>) -> Self {
        let member = group.join();
        Self { group, member }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.group.name
    }

    /// The next record; waits until there is one. A future that is dropped has taken nothing.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn next(&self) -> Result<ConsumerRecord, LogError> {
        loop {
            if let Some(delivery) = self.next_batch(1).await?.pop() {
                return Ok(delivery);
            }
        }
    }

    /// Up to `max` records that are there, at least one; waits until there is one. That costs less
    /// than one call for each. A future that is dropped has taken nothing.
    ///
    /// # Errors
    /// [`LogError::Trimmed`] once when retention has removed records that were not handled; the
    /// next call goes on behind them. [`LogError::Store`], also when a dead letter could not be
    /// stored.
    pub async fn next_batch(&self, max: usize) -> Result<Vec<ConsumerRecord>, LogError> {
        let given = self.group.take(self.member, max).await?.arrive();
        let delivery = |given| ConsumerRecord { group: self.group.clone(), given, is_open: true };
        Ok(given.into_iter().map(delivery).collect())
    }

    /// Acknowledges a detached delivery; durable when this returns.
    ///
    /// # Errors
    /// [`LogError::LeaseEnded`], [`LogError::Store`].
    pub async fn ack(&self, lease: Lease) -> Result<(), LogError> {
        ack(&self.group, lease).await
    }

    /// Gives a detached delivery another
    /// [`ack_wait`](super::ConsumerOptions::ack_wait).
    ///
    /// # Errors
    /// [`LogError::LeaseEnded`].
    pub fn extend(&self, lease: Lease) -> Result<(), LogError> {
        held(lease, self.group.with(|machine, now| machine.extend(lease, now)))
    }

    /// As [`ConsumerRecord::retry`], for a detached one.
    ///
    /// # Errors
    /// [`LogError::LeaseEnded`].
    pub fn retry(&self, lease: Lease, pause: Duration, reason: &str) -> Result<(), LogError> {
        retry(&self.group, lease, pause, reason)
    }

    /// As [`ConsumerRecord::reject`], for a detached one.
    ///
    /// # Errors
    /// As there.
    pub async fn reject(&self, lease: Lease, reason: &str) -> Result<(), LogError> {
        reject(&self.group, lease, reason).await
    }

    /// Figures, from memory.
    #[must_use]
    pub fn stats(&self) -> ConsumerStats {
        let end = self.group.end();
        let machine = self.group.machine();
        let (held, bytes) = machine.held();
        ConsumerStats {
            settled_to: machine.floor(),
            next: self.group.position(machine.next()),
            lag: end.saturating_sub(machine.next()),
            unsettled: machine.unsettled() as u64,
            held: held as u64,
            held_bytes: bytes as u64,
            delivered: machine.counts.delivered,
            redelivered: machine.counts.redelivered,
            acknowledged: machine.counts.acknowledged,
            expired: machine.counts.expired,
            dead: machine.counts.dead,
            trimmed: machine.counts.trimmed,
        }
    }

    /// Gives what it holds to the others, and makes all acknowledgements durable. Dropping it does
    /// the first only.
    ///
    /// # Errors
    /// [`LogError::Store`].
    pub async fn close(self) -> Result<(), LogError> {
        self.group.leave(self.member);
        self.group.persist().await
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.group.leave(self.member);
        // Not waiting for the disk; without it some records would be delivered once more.
        if let Err(error) = self.group.note_now() {
            tracing::warn!(%error, consumer = self.group.name, "the cursor was not written");
        }
    }
}

/// One delivery of a record. Its holder handles the record and acknowledges it.
///
/// As long as it exists its lease is extended; if it is dropped without a word the record is
/// delivered again at once.
#[derive(Debug)]
pub struct ConsumerRecord {
    group: Arc<Group>,
    given: Given,
    is_open: bool,
}

impl ConsumerRecord {
    /// What was appended.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.given.1
    }

    /// How often the record was delivered, this time included.
    #[must_use]
    pub const fn deliveries(&self) -> u32 {
        self.given.2
    }

    fn take(&mut self) -> (Arc<Group>, Lease) {
        self.is_open = false;
        (self.group.clone(), self.given.0)
    }

    /// The record is handled; durable when this returns. Calls that run at the same time share a
    /// sync. If the future is dropped the record counts as handled all the same.
    ///
    /// # Errors
    /// [`LogError::LeaseEnded`] when the record was given to somebody else meanwhile;
    /// [`LogError::Store`] when it may be delivered again after the next start.
    pub async fn ack(mut self) -> Result<(), LogError> {
        let (group, lease) = self.take();
        ack(&group, lease).await
    }

    /// The record is handled; becomes durable with the next [`ack`](Self::ack) or with
    /// [`Consumer::close`]. Before that a crash of the process may, and a loss of power will,
    /// have it delivered again.
    ///
    /// # Errors
    /// [`LogError::LeaseEnded`].
    pub fn ack_soon(mut self) -> Result<(), LogError> {
        let (group, lease) = self.take();
        held(lease, group.with(|machine, _| machine.acknowledge(lease)))
    }

    /// The record could not be handled now: it is delivered again after `pause`, or, if that was
    /// its last delivery, becomes a dead letter with this reason.
    ///
    /// # Errors
    /// [`LogError::LeaseEnded`].
    pub fn retry(mut self, pause: Duration, reason: &str) -> Result<(), LogError> {
        let (group, lease) = self.take();
        retry(&group, lease, pause, reason)
    }

    /// The record can never be handled: it becomes a dead letter with this reason, of which 1,024
    /// bytes are kept. Durable when this returns; if the future is dropped the next delivery does
    /// it.
    ///
    /// # Errors
    /// [`LogError::LeaseEnded`], [`LogError::Store`].
    pub async fn reject(mut self, reason: &str) -> Result<(), LogError> {
        let (group, lease) = self.take();
        reject(&group, lease, reason).await
    }

    /// For a handler outside this process: the lease is no longer extended by itself, and
    /// [`Consumer`] takes it.
    ///
    /// # Errors
    /// [`LogError::LeaseEnded`].
    pub fn detach(mut self) -> Result<(Record, Lease), LogError> {
        let (group, lease) = self.take();
        held(lease, group.with(|machine, now| machine.detach(lease, now)))?;
        Ok((self.given.1.clone(), lease))
    }
}

impl Drop for ConsumerRecord {
    fn drop(&mut self) {
        if self.is_open {
            let (group, lease) = self.take();
            let reason = "its handler ended without a word";
            group.with(|machine, now| machine.retry(lease, now, Duration::ZERO, reason));
        }
    }
}

fn held(lease: Lease, is_held: bool) -> Result<(), LogError> {
    if is_held { Ok(()) } else { Err(LogError::LeaseEnded { lease }) }
}

async fn ack(group: &Arc<Group>, lease: Lease) -> Result<(), LogError> {
    held(lease, group.with(|machine, _| machine.acknowledge(lease)))?;
    group.persist().await
}

fn retry(group: &Group, lease: Lease, pause: Duration, reason: &str) -> Result<(), LogError> {
    let reason = super::dead::cut(reason);
    held(lease, group.with(|machine, now| machine.retry(lease, now, pause, reason)))
}

async fn reject(group: &Arc<Group>, lease: Lease, reason: &str) -> Result<(), LogError> {
    let reason = super::dead::cut(reason);
    held(lease, group.with(|machine, _| machine.reject(lease, reason)))?;
    group.bury_until(lease.offset).await
}
