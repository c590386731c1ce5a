//! Appending, turning over and retention, with a failure at each operation in turn.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use stc::{Coded, Key};

use super::{
    LogOptions, Position, Record, reader::Reader, segment::HEADER_LEN, shared::Shared,
    writer::Writer,
};
use crate::{
    ChamberKey, StoreError,
    disk::sim::{Fault, Sim},
    workload::value,
};

/// Room for two or three appends after the header.
const SEGMENT: u64 = HEADER_LEN as u64 + 1500;

/// Appends: how many records of how many bytes.
const WORKLOAD: [(usize, usize); 16] = [
    (1, 10),
    (3, 300),
    (1, 600),
    (2, 1),
    (1, 0),
    (5, 200),
    (1, 1400),
    (1, 700),
    (1, 700),
    (1, 700),
    (4, 100),
    (1, 2500),
    (2, 700),
    (1, 30),
    (1, 800),
    (3, 300),
];

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([3; 32]))
}

fn options() -> LogOptions {
    let mut options = LogOptions::default().keep_bytes(3 * SEGMENT);
    options.segment_bytes = SEGMENT;
    options
}

fn open(sim: &Sim) -> Result<(Arc<Shared>, Writer), StoreError> {
    let (shared, tail) = Shared::open(Arc::new(sim.clone()), Path::new("/log"), &key(), options())?;
    let shared = Arc::new(shared);
    let writer = Writer::new(shared.clone(), tail)?;
    Ok((shared, writer))
}

fn batch(step: usize, (count, len): (usize, usize)) -> Vec<Bytes> {
    let seed = |n| u8::try_from(step * 7 + n).unwrap();
    (0..count).map(|n| Bytes::from(value(seed(n), len))).collect()
}

/// What must be there, and what may be.
#[derive(Clone, Debug, Default)]
struct Model {
    acknowledged: Vec<(Position, Bytes)>,
    /// Appended as a whole or not at all, when nobody was told.
    open: Vec<Bytes>,
    /// Highest offset that retention may have left as the oldest.
    oldest: u64,
}

impl Model {
    /// Runs the workload until something fails, or to its end.
    fn run(&mut self, shared: &Arc<Shared>, writer: &mut Writer) -> Result<(), StoreError> {
        for (step, shape) in WORKLOAD.into_iter().enumerate() {
            self.append(shared, writer, batch(step, shape))?;
            let result = shared.retain(0);
            self.oldest = shared.start_position().offset;
            result?;
        }
        writer.close(0);
        Ok(())
    }

    fn append(
        &mut self,
        shared: &Shared,
        writer: &mut Writer,
        records: Vec<Bytes>,
    ) -> Result<(), StoreError> {
        self.open.clone_from(&records);
        let first = writer.append(&records, 0)?;
        self.open.clear();
        assert_eq!(first, self.acknowledged.len() as u64);
        for (offset, record) in (first..).zip(records) {
            let epoch = shared.position(offset + 1).epoch;
            self.acknowledged.push((Position { epoch, offset }, record));
        }
        Ok(())
    }

    fn check(&mut self, shared: &Arc<Shared>, context: &str) {
        let start = shared.start_position();
        assert!(start.offset <= self.oldest, "{context}: {start} of {}", self.oldest);
        let read = read_all(shared).unwrap_or_else(|error| panic!("{context}: {error}"));
        let data: Vec<_> = read.iter().map(|record| record.data.clone()).collect();
        let from = usize::try_from(start.offset).unwrap();
        let mut expected: Vec<_> =
            self.acknowledged[from..].iter().map(|(_, data)| data.clone()).collect();
        if data != expected {
            expected.extend(self.open.iter().cloned());
            assert!(data == expected, "{context}: {} of {} records", data.len(), expected.len());
            for record in &read[self.acknowledged.len() - from..] {
                self.acknowledged.push((record.position, record.data.clone()));
            }
        }
        self.open.clear();
        for (position, _) in &self.acknowledged[from..] {
            shared.check(*position).unwrap_or_else(|error| panic!("{context}: {error}"));
        }
    }
}

fn read_all(shared: &Arc<Shared>) -> Result<Vec<Record>, super::LogError> {
    let start = shared.start_position().offset;
    Reader::new(shared.clone()).read(start, usize::MAX, usize::MAX)
}

/// Opens what is left, and expects a log with what the model says, that can be written to.
fn expect(sim: &Sim, model: &Model, context: &str) {
    let mut model = model.clone();
    for round in 0..2 {
        let (shared, mut writer) =
            open(sim).unwrap_or_else(|error| panic!("{context}: does not open: {error}"));
        model.check(&shared, context);
        for step in 20..23 {
            let records = batch(step + round, (2, 500));
            model.append(&shared, &mut writer, records).unwrap();
        }
        model.check(&shared, context);
    }
}

fn operations() -> u64 {
    let sim = Sim::new(Fault::Never);
    let mut model = Model::default();
    let (shared, mut writer) = open(&sim).unwrap();
    model.run(&shared, &mut writer).unwrap();
    model.check(&shared, "without fault");
    assert!(model.oldest > 10, "retention has work to do: {}", model.oldest);
    sim.done()
}

fn stop_at(at: u64, seeds: std::ops::Range<u64>) {
    let sim = Sim::new(Fault::Stop { at });
    let mut model = Model::default();
    if let Ok((shared, mut writer)) = open(&sim) {
        let _ = model.run(&shared, &mut writer);
    }
    expect(&sim.after_kill(), &model, &format!("killed at {at}"));
    for seed in seeds {
        let after = sim.after_power_loss(&mut fastrand::Rng::with_seed(seed ^ (at << 32)));
        expect(&after, &model, &format!("power lost at {at}, seed {seed}"));
    }
}

#[test]
fn killed_or_unplugged_at_every_operation() {
    let operations = operations();
    assert!(operations > 60, "{operations}");
    for at in 0..operations {
        stop_at(at, 0..6);
    }
}

#[test]
#[ignore = "heavy: every operation with 400 ways to lose what was not synced"]
fn unplugged_at_every_operation_in_many_ways() {
    for at in 0..operations() {
        stop_at(at, 6..406);
    }
}

/// One operation fails; the call that it belongs to says so, and nothing acknowledged is lost then
/// or after the power was.
#[test]
fn one_failure_loses_nothing() {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::Other];
    for at in 0..operations() {
        let kind = kinds[usize::try_from(at).unwrap() % kinds.len()];
        let context = format!("{kind:?} at {at}");
        let sim = Sim::new(Fault::Once { at, kind });
        let (shared, mut writer) = match open(&sim) {
            Ok(opened) => opened,
            Err(_) => open(&sim).unwrap_or_else(|error| panic!("{context}, again: {error}")),
        };
        let mut model = Model::default();
        let mut broken = false;
        for (step, shape) in WORKLOAD.into_iter().enumerate() {
            let before = sim.failed().is_some();
            let unknown = broken.then(|| model.open.clone());
            let result = model.append(&shared, &mut writer, batch(step, shape));
            match result {
                Ok(()) => assert!(!broken, "{context}: acknowledged after a failed sync"),
                Err(error) if before => {
                    assert!(broken, "{context}: {error}");
                    assert_eq!(error.code(), "store.sync_failed", "{context}");
                }
                Err(error) => broken = error.code() == "store.sync_failed",
            }
            let failed_before = sim.failed().is_some();
            let retained = shared.retain(0);
            assert!(retained.is_ok() || !failed_before, "{context}: {retained:?}");
            model.oldest = shared.start_position().offset;
            // What was not acknowledged is not read; when a write failed as a whole it is not
            // there after a crash either.
            let seen = read_all(&shared).unwrap();
            let from = usize::try_from(model.oldest).unwrap();
            assert_eq!(seen.len(), model.acknowledged.len() - from, "{context}");
            match unknown {
                Some(unknown) => model.open = unknown,
                None if broken => {}
                None => model.open.clear(),
            }
        }
        expect(&sim.after_kill(), &model, &format!("{context}, then killed"));
        for seed in 0..2 {
            let after = sim.after_power_loss(&mut fastrand::Rng::with_seed(seed ^ (at << 32)));
            expect(&after, &model, &format!("{context}, then power lost, seed {seed}"));
        }
    }
}

/// A lone record costs one write and one sync.
#[test]
fn a_record_costs_one_sync() {
    let sim = Sim::new(Fault::Never);
    let (_shared, mut writer) = open(&sim).unwrap();
    writer.append(&batch(0, (1, 10)), 0).unwrap();
    let before = sim.done();
    writer.append(&batch(1, (1, 10)), 0).unwrap();
    assert_eq!(sim.done() - before, 2);
}
