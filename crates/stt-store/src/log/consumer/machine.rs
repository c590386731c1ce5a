//! The rules of a consumer: who has which record, until when, and what comes next. No clock, no
//! I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::Lease;
use crate::log::Record;

/// Bytes that an outstanding record is charged beside its own.
const ENTRY_BYTES: usize = 256;

/// What a consumer may hold, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) ack_wait: Duration,
    pub(super) handler_max: Option<Duration>,
    pub(super) max_deliveries: Option<u32>,
    pub(super) outstanding: usize,
    pub(super) outstanding_bytes: usize,
}

/// What must outlive the process: records before `next` are settled, but for these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) next: u64,
    /// Offset, and how often it was delivered.
    pub(super) unsettled: Vec<(u64, u32)>,
}

/// What happened so far, since the consumer was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) delivered: u64,
    pub(super) redelivered: u64,
    pub(super) acknowledged: u64,
    pub(super) expired: u64,
    pub(super) dead: u64,
    pub(super) trimmed: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Store the first dead letter, then [`Machine::bury`] it.
    Bury,
    /// [`Machine::deliver`] gives a record.
    Deliver,
    /// Read these, then [`Machine::fetched`].
    Fetch(Want),
    /// Nothing before this time, or before a call or an append changes something.
    Wait(Option<Instant>),
}

/// Records that are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) struct Want {
    pub(in crate::log) from: u64,
    pub(in crate::log) records: usize,
    pub(in crate::log) bytes: usize,
}

#[derive(Debug)]
struct Entry {
    deliveries: u32,
    /// Not there yet when the record was delivered by an earlier process.
    record: Option<Record>,
    state: State,
}

#[derive(Debug)]
enum State {
    Ready,
    Later,
    Leased(Held),
    Doomed { reason: String },
}

#[derive(Clone, Copy, Debug)]
struct Held {
    number: u64,
    member: u64,
    begun: Instant,
    deadline: Instant,
    /// Its handler lives, as far as this process can see.
    kept: bool,
}

/// One consumer, with all that have it open.
#[derive(Debug)]
pub(super) struct Machine {
    limits: Limits,
    /// One above the highest record that was ever delivered.
    next: u64,
    /// The first record that was not read yet.
    unread: u64,
    entries: BTreeMap<u64, Entry>,
    /// Those in [`State::Ready`] whose record is there.
    ready: BTreeSet<u64>,
    /// Those in [`State::Doomed`] whose record is there.
    doomed: BTreeSet<u64>,
    /// Those whose record is not there.
    missing: BTreeSet<u64>,
    /// Ends of leases and of pauses.
    timers: BTreeSet<(Instant, u64)>,
    bytes: usize,
    lease: u64,
    /// Changes of what [`cursor`](Self::cursor) says.
    version: u64,
    pub(super) counts: Counts,
}

fn charge(record: &Record) -> usize {
    record.data.len().saturating_add(ENTRY_BYTES)
}

impl Machine {
    /// Goes on where `cursor` ended. Leases are numbered from `lease` on: a random number makes
    /// those of an earlier process worthless.
    pub(super) fn new(limits: Limits, cursor: &Cursor, lease: u64) -> Self {
        let entry = |(offset, deliveries): &(u64, u32)| {
            let state = if limits.max_deliveries.is_some_and(|max| *deliveries >= max) {
                let reason = "the process ended while it was handled".to_owned();
                State::Doomed { reason }
            } else {
                State::Ready
            };
            (*offset, Entry { deliveries: *deliveries, record: None, state })
        };
        let entries: BTreeMap<_, _> = cursor.unsettled.iter().map(entry).collect();
        Self {
            limits,
            next: cursor.next,
            unread: cursor.next,
            missing: entries.keys().copied().collect(),
            entries,
            ready: BTreeSet::new(),
            doomed: BTreeSet::new(),
            timers: BTreeSet::new(),
            bytes: 0,
            lease,
            version: 0,
            counts: Counts::default(),
        }
    }

    /// What has to be kept, and its version.
    pub(super) fn cursor(&self) -> (u64, Cursor) {
        let delivered = self.entries.range(..self.next);
        let unsettled = delivered.map(|(offset, entry)| (*offset, entry.deliveries)).collect();
        (self.version, Cursor { next: self.next, unsettled })
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// One above the highest record that was ever read.
    pub(super) fn read_to(&self) -> u64 {
        self.unread
    }

    /// Before this record all are settled.
    pub(super) fn floor(&self) -> u64 {
        self.entries.keys().next().map_or(self.next, |first| self.next.min(*first))
    }

    /// Records that were delivered and are not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.entries.range(..self.next).count()
    }

    /// Records held, and their bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Whether the record at `offset` was read, or must be read again.
    #[cfg(test)]
    pub(super) fn holds(&self, offset: u64) -> bool {
        self.entries.contains_key(&offset)
    }

    /// What to do at `now`, when the log ends at `end`.
    pub(super) fn step(&mut self, now: Instant, end: u64) -> Step {
        self.tick(now);
        if !self.doomed.is_empty() {
            return Step::Bury;
        }
        if !self.ready.is_empty() {
            return Step::Deliver;
        }
        match self.want(end) {
            Some(want) => Step::Fetch(want),
            None => Step::Wait(self.timers.first().map(|(at, _)| *at)),
        }
    }

    /// What is to be read, if there is room for it.
    pub(super) fn want(&self, end: u64) -> Option<Want> {
        let bytes = self.limits.outstanding_bytes.saturating_sub(self.bytes);
        if bytes == 0 {
            return None;
        }
        if let Some(from) = self.missing.first().copied() {
            let run = (from..).zip(&self.missing).take_while(|(at, offset)| at == *offset);
            return Some(Want { from, records: run.count(), bytes });
        }
        let records = self.limits.outstanding.saturating_sub(self.entries.len());
        (records > 0 && self.unread < end).then_some(Want { from: self.unread, records, bytes })
    }

    /// Takes what was read. Whatever does not fit is read again later.
    pub(super) fn fetched(&mut self, records: Vec<Record>) {
        for mut record in records {
            let offset = record.position.offset;
            let is_known = self.missing.contains(&offset);
            let room = self.bytes < self.limits.outstanding_bytes
                && (is_known || self.entries.len() < self.limits.outstanding);
            if !room || !(is_known || offset == self.unread) {
                return;
            }
            // A slice would keep all that was read with it in memory.
            record.data = Bytes::copy_from_slice(&record.data);
            self.bytes = self.bytes.saturating_add(charge(&record));
            if is_known {
                self.missing.remove(&offset);
            } else {
                self.unread = offset.saturating_add(1);
            }
            let entry = self.entries.entry(offset).or_insert(Entry {
                deliveries: 0,
                record: None,
                state: State::Ready,
            });
            entry.record = Some(record);
            match entry.state {
                State::Doomed { .. } => self.doomed.insert(offset),
                _ => self.ready.insert(offset),
            };
        }
    }

    /// Retention has removed what came before `oldest`. Returns from where on it is missed, if it
    /// is.
    pub(super) fn trimmed(&mut self, oldest: u64) -> Option<u64> {
        let gone: Vec<u64> = self.missing.range(..oldest).copied().collect();
        let first = gone.first().copied().or((self.unread < oldest).then_some(self.unread))?;
        let unread = oldest.saturating_sub(self.unread);
        for offset in &gone {
            self.entries.remove(offset);
            self.missing.remove(offset);
        }
        self.unread = self.unread.max(oldest);
        self.next = self.next.max(if unread > 0 { oldest } else { 0 });
        self.counts.trimmed += gone.len() as u64 + unread;
        self.version += 1;
        Some(first)
    }

    /// Hands the first record that is ready to `member`.
    pub(super) fn deliver(&mut self, member: u64, now: Instant) -> Option<(Lease, Record, u32)> {
        let offset = self.ready.pop_first()?;
        let entry = self.entries.get_mut(&offset)?;
        let record = entry.record.clone()?;
        entry.deliveries = entry.deliveries.saturating_add(1);
        let deliveries = entry.deliveries;
        let number = self.lease;
        self.lease = self.lease.wrapping_add(1);
        let deadline = now + self.limits.ack_wait;
        entry.state = State::Leased(Held { number, member, begun: now, deadline, kept: true });
        self.timers.insert((deadline, offset));
        self.next = self.next.max(offset.saturating_add(1));
        self.version += 1;
        self.counts.delivered += 1;
        self.counts.redelivered += u64::from(deliveries > 1);
        Some((Lease { offset, number }, record, deliveries))
    }

    fn leased(&mut self, lease: Lease) -> Option<(&mut Entry, Held)> {
        let entry = self.entries.get_mut(&lease.offset)?;
        match entry.state {
            State::Leased(held) if held.number == lease.number => Some((entry, held)),
            _ => None,
        }
    }

    /// Takes back a delivery that nobody has seen.
    pub(super) fn undo(&mut self, lease: Lease) {
        let Some((entry, held)) = self.leased(lease) else { return };
        entry.deliveries = entry.deliveries.saturating_sub(1);
        entry.state = State::Ready;
        self.timers.remove(&(held.deadline, lease.offset));
        self.ready.insert(lease.offset);
        self.version += 1;
    }

    /// The record was handled. False if the lease has ended.
    pub(super) fn acknowledge(&mut self, lease: Lease) -> bool {
        let Some((_, held)) = self.leased(lease) else { return false };
        self.timers.remove(&(held.deadline, lease.offset));
        self.forget(lease.offset);
        self.counts.acknowledged += 1;
        true
    }

    fn forget(&mut self, offset: u64) {
        if let Some(entry) = self.entries.remove(&offset) {
            self.bytes = self.bytes.saturating_sub(entry.record.as_ref().map_or(0, charge));
            self.version += 1;
        }
    }

    /// The handler still works on it. False if the lease has ended.
    pub(super) fn extend(&mut self, lease: Lease, now: Instant) -> bool {
        let wait = self.limits.ack_wait;
        self.hold(lease, |held| held.deadline = now + wait)
    }

    /// From now on only calls extend it. False if the lease has ended.
    pub(super) fn detach(&mut self, lease: Lease, now: Instant) -> bool {
        let wait = self.limits.ack_wait;
        self.hold(lease, |held| (held.kept, held.deadline) = (false, now + wait))
    }

    fn hold(&mut self, lease: Lease, change: impl FnOnce(&mut Held)) -> bool {
        let Some((entry, mut held)) = self.leased(lease) else { return false };
        let before = held.deadline;
        change(&mut held);
        entry.state = State::Leased(held);
        self.timers.remove(&(before, lease.offset));
        self.timers.insert((held.deadline, lease.offset));
        true
    }

    /// The handler gave up: the record is delivered again after a pause, or is a dead letter. False
    /// if the lease has ended.
    pub(super) fn retry(
        &mut self,
        lease: Lease,
        now: Instant,
        pause: Duration,
        reason: &str,
    ) -> bool {
        if self.leased(lease).is_none() {
            return false;
        }
        self.release(lease.offset, reason);
        if let Some(entry) = self.entries.get_mut(&lease.offset)
            && matches!(entry.state, State::Ready)
            && !pause.is_zero()
        {
            let until = now.checked_add(pause).unwrap_or(now + Duration::from_secs(1 << 30));
            entry.state = State::Later;
            self.ready.remove(&lease.offset);
            self.timers.insert((until, lease.offset));
        }
        true
    }

    /// The record can never be handled: it is a dead letter. False if the lease has ended.
    pub(super) fn reject(&mut self, lease: Lease, reason: &str) -> bool {
        let Some((entry, held)) = self.leased(lease) else { return false };
        entry.state = State::Doomed { reason: reason.to_owned() };
        self.timers.remove(&(held.deadline, lease.offset));
        self.doomed.insert(lease.offset);
        true
    }

    /// Ends the lease of a record: it is ready again, or was delivered too often.
    fn release(&mut self, offset: u64, reason: &str) {
        let Some(entry) = self.entries.get_mut(&offset) else { return };
        if let State::Leased(held) = entry.state {
            self.timers.remove(&(held.deadline, offset));
        }
        if self.limits.max_deliveries.is_some_and(|max| entry.deliveries >= max) {
            entry.state = State::Doomed { reason: reason.to_owned() };
            self.doomed.insert(offset);
        } else {
            entry.state = State::Ready;
            self.ready.insert(offset);
        }
    }

    /// A handle of the consumer was dropped: the records that it leased are due again.
    pub(super) fn leave(&mut self, member: u64) {
        let is_its = |entry: &Entry| matches!(entry.state, State::Leased(h) if h.member == member);
        let its = self.entries.iter().filter(|(_, entry)| is_its(entry));
        let its: Vec<u64> = its.map(|(offset, _)| *offset).collect();
        for offset in its {
            self.release(offset, "its consumer was closed while it was handled");
        }
    }

    /// What the clock brings about.
    fn tick(&mut self, now: Instant) {
        while let Some((at, offset)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let Some(entry) = self.entries.get_mut(&offset) else { continue };
            match &mut entry.state {
                State::Leased(held) if held.kept && may_go_on(*held, now, &self.limits) => {
                    held.deadline = now + self.limits.ack_wait;
                    self.timers.insert((held.deadline, offset));
                }
                State::Leased(_) => {
                    self.counts.expired += 1;
                    self.release(offset, "it was not acknowledged in time");
                }
                state => {
                    *state = State::Ready;
                    self.ready.insert(offset);
                }
            }
        }
    }

    /// The first dead letter that is not stored yet: record, deliveries, reason.
    pub(super) fn dying(&self) -> Option<(Record, u32, String)> {
        let entry = self.entries.get(self.doomed.first()?)?;
        let State::Doomed { reason } = &entry.state else { return None };
        Some((entry.record.clone()?, entry.deliveries, reason.clone()))
    }

    /// Whether a record waits to be stored as a dead letter.
    pub(super) fn is_dying(&self, offset: u64) -> bool {
        self.doomed.contains(&offset)
    }

    /// The dead letter of the record at `offset` is stored.
    pub(super) fn bury(&mut self, offset: u64) {
        if self.doomed.remove(&offset) {
            self.forget(offset);
            self.counts.dead += 1;
        }
    }
}

fn may_go_on(held: Held, now: Instant, limits: &Limits) -> bool {
    limits.handler_max.is_none_or(|max| now.saturating_duration_since(held.begun) < max)
}
