//! The laws of a consumer, with a clock of ours: whatever handlers, time and crashes do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Lease,
    machine::{Cursor, Limits, Machine, Step, Want},
};
use crate::log::{Position, Record};

const LEN: usize = 100;
const MS: Duration = Duration::from_millis(1);

fn limits() -> Limits {
    Limits {
        ack_wait: 30 * MS,
        handler_max: Some(90 * MS),
        max_deliveries: Some(3),
        outstanding: 6,
        outstanding_bytes: 4 * (LEN + 256),
    }
}

fn record(offset: u64) -> Record {
    let data = Bytes::from(vec![offset.to_be_bytes()[7]; LEN]);
    Record { position: Position { epoch: 1, offset }, time: offset, data }
}

#[derive(Clone, Debug)]
enum Op {
    Append(u8),
    /// A handle asks for the next record.
    Next(u8),
    Ack(prop::sample::Index),
    Retry(prop::sample::Index, u8),
    Reject(prop::sample::Index),
    Detach(prop::sample::Index),
    Extend(prop::sample::Index),
    Undo,
    Leave(u8),
    Pass(u8),
    Crash,
    Trim(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (1u8..4).prop_map(Op::Append),
        8 => (0u8..3).prop_map(Op::Next),
        4 => index().prop_map(Op::Ack),
        2 => (index(), 0u8..50).prop_map(|(at, pause)| Op::Retry(at, pause)),
        1 => index().prop_map(Op::Reject),
        2 => index().prop_map(Op::Detach),
        2 => index().prop_map(Op::Extend),
        1 => Just(Op::Undo),
        1 => (0u8..3).prop_map(Op::Leave),
        3 => (0u8..60).prop_map(Op::Pass),
        1 => Just(Op::Crash),
        1 => (0u8..4).prop_map(Op::Trim),
    ]
}

/// What a handler was given, and by whom.
#[derive(Clone, Copy, Debug)]
struct Given {
    lease: Lease,
    member: u64,
    /// Until then it must be accepted.
    good_until: Instant,
    kept: bool,
    begun: Instant,
}

struct World {
    machine: Machine,
    now: Instant,
    end: u64,
    oldest: u64,
    /// The last lease of each record.
    given: BTreeMap<u64, Given>,
    /// Leases that have ended.
    stale: Vec<Lease>,
    deliveries: BTreeMap<u64, u32>,
    acknowledged: BTreeSet<u64>,
    buried: BTreeMap<u64, u32>,
    told_gone: BTreeSet<u64>,
    /// Deliveries that were taken back.
    undone: BTreeSet<u64>,
    next: u64,
    crashes: u64,
}

impl World {
    fn new() -> Self {
        Self {
            machine: Machine::new(limits(), &Cursor::default(), 0),
            now: Instant::now(),
            end: 0,
            oldest: 0,
            given: BTreeMap::new(),
            stale: Vec::new(),
            deliveries: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            buried: BTreeMap::new(),
            told_gone: BTreeSet::new(),
            undone: BTreeSet::new(),
            next: 0,
            crashes: 0,
        }
    }

    /// Does what the machine says until a record comes or nothing can.
    fn next(&mut self, member: u64) -> Option<u64> {
        for _ in 0..200 {
            match self.machine.step(self.now, self.end) {
                Step::Bury => {
                    let (record, deliveries, reason) = self.machine.dying().unwrap();
                    let offset = record.position.offset;
                    assert!(!reason.is_empty());
                    assert_eq!(self.deliveries.get(&offset), Some(&deliveries));
                    assert!(!self.acknowledged.contains(&offset));
                    assert_eq!(self.buried.insert(offset, deliveries), None, "buried twice");
                    self.end_lease(offset);
                    self.machine.bury(offset);
                }
                Step::Deliver => return Some(self.deliver(member)),
                Step::Fetch(Want { from, records, bytes }) => {
                    assert!(bytes > 0 && from < self.end);
                    if from < self.oldest {
                        self.trimmed();
                        continue;
                    }
                    let until = self.end.min(from + records as u64);
                    self.machine.fetched((from..until).map(record).collect());
                }
                Step::Wait(until) => {
                    assert!(until.is_none_or(|until| until > self.now));
                    return None;
                }
            }
        }
        panic!("no end of steps");
    }

    fn trimmed(&mut self) {
        let before = self.machine.counts.trimmed;
        let first = self.machine.trimmed(self.oldest).unwrap();
        assert!(first < self.oldest);
        let settled = |at: &u64| self.acknowledged.contains(at) || self.buried.contains_key(at);
        // Some are still in memory, and are delivered all the same.
        let gone = (0..self.oldest).filter(|at| !settled(at) && !self.machine.holds(*at));
        let gone: Vec<u64> = gone.filter(|at| !self.told_gone.contains(at)).collect();
        assert!(!gone.is_empty());
        assert_eq!(self.machine.counts.trimmed - before, gone.len() as u64);
        self.told_gone.extend(gone);
    }

    fn deliver(&mut self, member: u64) -> u64 {
        let (lease, got, deliveries) = self.machine.deliver(member, self.now).unwrap();
        let offset = got.position.offset;
        assert_eq!(got, record(offset));
        assert!(!self.acknowledged.contains(&offset), "{offset} was acknowledged");
        assert!(!self.buried.contains_key(&offset), "{offset} is a dead letter");
        let before = self.deliveries.insert(offset, deliveries).unwrap_or(0);
        assert_eq!(deliveries, before + 1);
        assert!(deliveries <= 3, "delivered too often");
        if let Some(other) = self.given.get(&offset) {
            assert!(other.good_until <= self.now, "{offset} is with two at once");
        }
        if before == 0 && !self.undone.contains(&offset) {
            assert!(offset >= self.next, "new records come in order");
            self.next = offset + 1;
        }
        self.end_lease(offset);
        let good_until = self.now + limits().ack_wait;
        let given = Given { lease, member, good_until, kept: true, begun: self.now };
        self.given.insert(offset, given);
        offset
    }

    fn end_lease(&mut self, offset: u64) {
        if let Some(given) = self.given.remove(&offset) {
            self.stale.push(given.lease);
        }
        for lease in self.stale.clone() {
            assert!(!self.machine.acknowledge(lease), "{lease} has ended");
            assert!(!self.machine.extend(lease, self.now));
        }
    }

    /// One of the leases that were given; it must be taken if it cannot have run out.
    fn pick(&self, at: &prop::sample::Index) -> Option<(u64, Given, bool)> {
        let all: Vec<_> = self.given.iter().collect();
        let (offset, given) = all.get(at.index(all.len().max(1)))?;
        let kept_until =
            if given.kept { given.begun + limits().handler_max.unwrap() } else { self.now };
        Some((**offset, **given, given.good_until > self.now || kept_until > self.now))
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Append(count) => self.end += u64::from(*count),
            Op::Next(member) => drop(self.next(u64::from(*member))),
            Op::Ack(at) => {
                let Some((offset, given, must)) = self.pick(at) else { return };
                let taken = self.machine.acknowledge(given.lease);
                assert!(taken || !must);
                if taken {
                    self.acknowledged.insert(offset);
                }
                self.end_lease(offset);
            }
            Op::Retry(at, pause) => {
                let Some((offset, given, must)) = self.pick(at) else { return };
                let pause = MS * u32::from(*pause);
                let taken = self.machine.retry(given.lease, self.now, pause, "again");
                assert!(taken || !must);
                self.end_lease(offset);
            }
            Op::Reject(at) => {
                let Some((offset, given, must)) = self.pick(at) else { return };
                let taken = self.machine.reject(given.lease, "never");
                assert!(taken || !must);
                assert!(!taken || self.machine.is_dying(offset));
                self.end_lease(offset);
            }
            Op::Detach(at) | Op::Extend(at) => {
                let Some((offset, mut given, must)) = self.pick(at) else { return };
                let is_detach = matches!(op, Op::Detach(_));
                let taken = if is_detach {
                    self.machine.detach(given.lease, self.now)
                } else {
                    self.machine.extend(given.lease, self.now)
                };
                assert!(taken || !must);
                if taken {
                    given.kept &= !is_detach;
                    given.good_until = self.now + limits().ack_wait;
                    self.given.insert(offset, given);
                } else {
                    self.end_lease(offset);
                }
            }
            Op::Undo => {
                if let Some(offset) = self.next(9) {
                    let given = self.given[&offset];
                    self.machine.undo(given.lease);
                    *self.deliveries.get_mut(&offset).unwrap() -= 1;
                    self.undone.insert(offset);
                    self.end_lease(offset);
                }
            }
            Op::Leave(member) => {
                let member = u64::from(*member);
                self.machine.leave(member);
                let its = self.given.iter().filter(|(_, given)| given.member == member);
                let its: Vec<u64> = its.map(|(offset, _)| *offset).collect();
                its.into_iter().for_each(|offset| self.end_lease(offset));
            }
            Op::Pass(ms) => self.now += MS * u32::from(*ms),
            Op::Crash => {
                let (_, cursor) = self.machine.cursor();
                self.crashes += 1;
                self.machine = Machine::new(limits(), &cursor, self.crashes << 32);
                let all: Vec<u64> = self.given.keys().copied().collect();
                all.into_iter().for_each(|offset| self.end_lease(offset));
            }
            Op::Trim(count) => {
                self.oldest = (self.oldest + u64::from(*count)).min(self.end);
            }
        }
    }

    fn check(&self) {
        let (held, bytes) = self.machine.held();
        let (_, cursor) = self.machine.cursor();
        // Those that an earlier process was given count from the beginning.
        assert!(held <= limits().outstanding, "{held} records");
        assert!(bytes < limits().outstanding_bytes + LEN + 256, "{bytes} bytes");
        assert!(self.machine.floor() <= cursor.next);
        assert!(cursor.unsettled.iter().all(|(offset, _)| *offset < cursor.next));
        assert!(cursor.unsettled.is_sorted_by(|a, b| a.0 < b.0));
        for (offset, deliveries) in &cursor.unsettled {
            assert_eq!(self.deliveries.get(offset).copied().unwrap_or(0), *deliveries);
        }
    }

    /// Handles all that is left.
    fn drain(&mut self) {
        while self.machine.floor() < self.end || self.machine.held().0 > 0 {
            while let Some(offset) = self.next(5) {
                let lease = self.given[&offset].lease;
                assert!(self.machine.acknowledge(lease));
                self.acknowledged.insert(offset);
                self.end_lease(offset);
            }
            self.now += 10 * MS;
        }
        for offset in 0..self.end {
            let ways = [self.acknowledged.contains(&offset), self.buried.contains_key(&offset)];
            assert!(ways != [true, true], "{offset} was acknowledged and buried");
            assert!(ways != [false, false] || self.told_gone.contains(&offset), "{offset} is lost");
        }
    }
}

fn run(ops: &[Op]) {
    let mut world = World::new();
    for op in ops {
        world.run(op);
        world.check();
    }
    world.drain();
}

/// Records that are still in memory when retention removes them are missed only if the process
/// ends before they are handled.
#[test]
fn what_was_in_memory_is_missed_after_a_crash_only() {
    use Op::{Append, Crash, Next, Trim};
    run(&[Append(2), Next(0), Next(0), Append(3), Next(0), Trim(4), Append(3), Next(0), Crash]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_record_is_settled_once_and_given_to_one_at_a_time(
        ops in prop::collection::vec(op(), 1..120),
    ) {
        run(&ops);
    }
}

/// A machine with `count` records, of which the first is given to member 1.
fn given(count: u64) -> (Machine, Instant, Lease) {
    let now = Instant::now();
    let mut machine = Machine::new(limits(), &Cursor::default(), 0);
    assert!(matches!(machine.step(now, count), Step::Fetch(_)));
    machine.fetched((0..count).map(record).collect());
    let (lease, ..) = machine.deliver(1, now).unwrap();
    (machine, now, lease)
}

#[test]
fn a_living_handler_is_extended_and_one_that_hangs_is_not() {
    let (mut machine, start, lease) = given(1);
    // `handler_max` is three deadlines here.
    for ms in [30, 60, 89] {
        assert!(matches!(machine.step(start + ms * MS, 1), Step::Wait(Some(_))), "{ms}");
    }
    assert!(matches!(machine.step(start + 120 * MS, 1), Step::Deliver));
    assert!(!machine.acknowledge(lease));
    assert_eq!(machine.counts.expired, 1);
}

#[test]
fn a_detached_lease_lives_as_long_as_it_is_extended() {
    let (mut machine, start, lease) = given(1);
    assert!(machine.detach(lease, start));
    for ms in (20..400).step_by(20) {
        assert!(matches!(machine.step(start + ms * MS, 1), Step::Wait(Some(_))), "{ms}");
        assert!(machine.extend(lease, start + ms * MS));
    }
    assert!(matches!(machine.step(start + 420 * MS, 1), Step::Deliver));
}

#[test]
fn a_closed_consumer_gives_back_at_once_and_others_keep_theirs() {
    let (mut machine, now, lease) = given(3);
    let (other, ..) = machine.deliver(2, now).unwrap();
    machine.leave(1);
    assert!(matches!(machine.step(now, 3), Step::Deliver));
    let (again, record, deliveries) = machine.deliver(2, now).unwrap();
    assert_eq!((record.position.offset, deliveries), (0, 2));
    assert!(!machine.acknowledge(lease));
    assert!(machine.acknowledge(again) && machine.acknowledge(other));
    assert_eq!(machine.floor(), 2);
}

#[test]
fn a_retry_waits_and_lets_the_next_one_pass() {
    let (mut machine, now, lease) = given(2);
    assert!(machine.retry(lease, now, 50 * MS, "later"));
    assert_eq!(machine.deliver(1, now).unwrap().1.position.offset, 1);
    assert_eq!(machine.step(now, 2), Step::Wait(Some(now + 30 * MS)));
    assert_eq!(machine.step(now + 49 * MS, 2), Step::Wait(Some(now + 50 * MS)));
    assert_eq!(machine.step(now + 50 * MS, 2), Step::Deliver);
    assert_eq!(machine.floor(), 0);
}

#[test]
fn one_that_kills_the_process_each_time_is_a_dead_letter_in_the_end() {
    let (mut machine, now, _) = given(2);
    for _ in 0..2 {
        let (_, cursor) = machine.cursor();
        machine = Machine::new(limits(), &cursor, 0);
        assert!(matches!(machine.step(now, 2), Step::Fetch(Want { from: 0, records: 1, .. })));
        machine.fetched(vec![record(0)]);
        machine.deliver(1, now).unwrap();
    }
    machine = Machine::new(limits(), &machine.cursor().1, 0);
    assert!(matches!(machine.step(now, 2), Step::Fetch(_)));
    machine.fetched(vec![record(0)]);
    assert_eq!(machine.step(now, 2), Step::Bury);
    let (dead, deliveries, reason) = machine.dying().unwrap();
    assert_eq!((dead, deliveries), (record(0), 3));
    assert_eq!(reason, "the process ended while it was handled");
    machine.bury(0);
    assert_eq!(machine.cursor().1, Cursor { next: 1, unsettled: Vec::new() });
}
