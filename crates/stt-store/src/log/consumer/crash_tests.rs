//! Consuming with a failure at each operation of the disk in turn: what was acknowledged never
//! comes again, and nothing else is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use stc::Key;

use super::{Consumer, ConsumerOptions, ConsumerRecord, DeadLetter};
use crate::{
    ChamberKey,
    disk::sim::{Fault, Sim},
    log::{DurableLog, Log, LogError, LogOptions, Position},
};

const DELIVERIES: u32 = 3;

fn options() -> ConsumerOptions {
    ConsumerOptions::new().max_deliveries(Some(DELIVERIES)).outstanding(5)
}

async fn open(sim: &Sim) -> Result<Log, LogError> {
    let key = ChamberKey::from_key(&Key::from_bytes([3; 32]));
    Log::open_on(Arc::new(sim.clone()), &key, Path::new("/log"), LogOptions::default()).await
}

/// What is there, or nothing when all records are settled.
async fn batch(consumer: &Consumer, max: usize) -> Result<Vec<ConsumerRecord>, LogError> {
    let settled = async {
        while consumer.stats().lag + consumer.stats().unsettled > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        batch = consumer.next_batch(max) => batch,
        () = settled => Ok(Vec::new()),
    }
}

/// What must be so after a failure.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Records whose append returned.
    appended: u64,
    settled: BTreeSet<u64>,
    /// An acknowledgement was begun, or not waited for.
    maybe: BTreeSet<u64>,
    rejected: BTreeSet<u64>,
    /// Rejecting returned.
    buried: BTreeSet<u64>,
    deliveries: BTreeMap<u64, u32>,
}

impl Model {
    async fn run(&mut self, sim: &Sim) -> Result<(), LogError> {
        let log = open(sim).await?;
        for round in 0..4u8 {
            log.append_all(vec![vec![round].into(), vec![round; 50].into()]).await?;
            self.appended += 2;
            log.append(vec![round, 7]).await?;
            self.appended += 1;
            let consumer = log.consumer("c", options()).await?;
            for _ in 0..2 {
                let mut batch = batch(&consumer, 4).await?;
                batch.reverse();
                for delivery in &batch {
                    self.note(delivery);
                }
                while let Some(delivery) = batch.pop() {
                    self.handle(delivery).await?;
                }
            }
            if round == 2 {
                consumer.close().await?;
                self.settled.extend(&self.maybe);
            }
        }
        Ok(())
    }

    fn note(&mut self, delivery: &ConsumerRecord) {
        let offset = delivery.record().position.offset;
        let before = self.deliveries.insert(offset, delivery.deliveries()).unwrap_or(0);
        assert_eq!(delivery.deliveries(), before + 1);
        assert!(!self.settled.contains(&offset) && !self.buried.contains(&offset));
    }

    /// Each record in the way that its offset says.
    async fn handle(&mut self, delivery: ConsumerRecord) -> Result<(), LogError> {
        let offset = delivery.record().position.offset;
        match offset % 6 {
            0 | 1 => {
                self.maybe.insert(offset);
                delivery.ack().await?;
                self.settled.insert(offset);
                // One sync is for all.
                self.settled.extend(&self.maybe);
            }
            2 => {
                self.maybe.insert(offset);
                delivery.ack_soon()?;
            }
            3 => {
                self.rejected.insert(offset);
                delivery.reject("never").await?;
                self.buried.insert(offset);
                self.settled.extend(&self.maybe);
            }
            4 => delivery.retry(Duration::ZERO, "later")?,
            _ => drop(delivery),
        }
        Ok(())
    }

    /// Opens what is left and handles all of it.
    async fn expect(&self, sim: &Sim, is_power_lost: bool, context: &str) {
        let log = open(sim).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        let end = log.stats().end.offset;
        assert!(end >= self.appended, "{context}: {end} of {}", self.appended);
        let consumer = log.consumer("c", options()).await;
        let consumer = consumer.unwrap_or_else(|error| panic!("{context}: {error}"));
        let mut seen = BTreeMap::new();
        // Ends when there is neither a record nor a dead letter that must be stored.
        loop {
            let batch = tokio::time::timeout(Duration::from_secs(60), batch(&consumer, 9));
            let batch = batch.await.unwrap_or_else(|_| panic!("{context}: stuck")).unwrap();
            if batch.is_empty() {
                break;
            }
            for delivery in batch {
                seen.insert(delivery.record().position.offset, delivery.deliveries());
                delivery.ack().await.unwrap();
            }
        }
        let dead = log.dead_letters().await.unwrap();
        let dead = dead.read(Position::START, 1000, usize::MAX).await.unwrap();
        let dead: Vec<_> = dead.iter().map(|dead| DeadLetter::from_record(dead).unwrap()).collect();
        let graves: BTreeSet<u64> = dead.iter().map(|letter| letter.position.offset).collect();
        for letter in &dead {
            let offset = letter.position.offset;
            let is_worn_out = letter.deliveries == DELIVERIES && letter.reason != "never";
            assert!(is_worn_out || self.rejected.contains(&offset), "{context}: {letter:?}");
        }
        for offset in 0..end {
            let (came, is_dead) = (seen.get(&offset), graves.contains(&offset));
            let is_settled = self.settled.contains(&offset);
            assert!(!is_settled || came.is_none(), "{context}: {offset} came again");
            assert!(!self.buried.contains(&offset) || is_dead, "{context}: {offset} has no grave");
            assert!(
                came.is_some() || is_dead || is_settled || self.maybe.contains(&offset),
                "{context}: {offset} is lost"
            );
            if let Some(came) = came {
                let before = self.deliveries.get(&offset).copied().unwrap_or(0);
                assert!(is_power_lost || *came == before + 1, "{context}: {offset}: {came}");
                assert!((1..=before + 1).contains(came), "{context}: {offset}: {came}");
            }
        }
    }
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work);
}

async fn operations() -> u64 {
    let sim = Sim::new(Fault::Never);
    let mut model = Model::default();
    model.run(&sim).await.unwrap();
    let done = sim.done();
    assert!(!model.settled.is_empty() && !model.buried.is_empty());
    model.expect(&sim, false, "without fault").await;
    done
}

async fn stop_at(at: u64, seeds: std::ops::Range<u64>) {
    let sim = Sim::new(Fault::Stop { at });
    let mut model = Model::default();
    let _ = model.run(&sim).await;
    model.expect(&sim.after_kill(), false, &format!("killed at {at}")).await;
    for seed in seeds {
        let after = sim.after_power_loss(&mut fastrand::Rng::with_seed(seed ^ (at << 32)));
        model.expect(&after, true, &format!("power lost at {at}, seed {seed}")).await;
    }
}

#[test]
fn killed_or_unplugged_at_every_operation() {
    block_on(async {
        let operations = operations().await;
        assert!(operations > 60, "{operations}");
        for at in 0..operations {
            stop_at(at, 0..3).await;
        }
    });
}

#[test]
#[ignore = "heavy: every operation with 100 ways to lose what was not synced"]
fn unplugged_at_every_operation_in_many_ways() {
    block_on(async {
        for at in 0..operations().await {
            stop_at(at, 3..103).await;
        }
    });
}

#[test]
fn one_failure_loses_nothing() {
    block_on(async {
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::Other];
        for at in 0..operations().await {
            let kind = kinds[usize::try_from(at).unwrap() % kinds.len()];
            let sim = Sim::new(Fault::Once { at, kind });
            let mut model = Model::default();
            let _ = model.run(&sim).await;
            sim.set_fault(Fault::Never);
            let context = format!("{kind:?} at {at}");
            let after = sim.after_power_loss(&mut fastrand::Rng::with_seed(at));
            model.expect(&after, true, &format!("{context}, then power lost")).await;
        }
    });
}
