//! What every engine of a [`DurableLog`] must do, crashes and restarts included.
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it"
)]

mod consumers;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use stc::Coded;
use stt_store::log::{DurableLog, LogError, Position, Record};
use tokio::time::timeout;

/// Nothing here takes nearly as long.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(120), work).await.expect("it ends")
}

/// Something that keeps a log.
#[async_trait]
pub(crate) trait Engine: Send {
    /// Opens the log, and makes it if there is none. With another seed if `wrong_seed`.
    async fn open(&mut self, wrong_seed: bool) -> Result<Arc<dyn DurableLog>, LogError>;
    /// Whatever keeps the log dies at this moment, as by `kill -9`, and what it left is there for
    /// the next `open`.
    async fn crash(&mut self);
    /// Sets a copy aside. The log is not open.
    async fn set_aside(&mut self);
    /// Puts that copy in the place of what is there.
    async fn put_back(&mut self);
    /// Removes what is older, if it can: see [`trimmed`].
    async fn trim(&mut self, to: Position);
    /// Everything that lies on the disk.
    async fn bytes(&mut self) -> Vec<u8>;
}

async fn open(engine: &mut impl Engine) -> Arc<dyn DurableLog> {
    soon(engine.open(false)).await.unwrap()
}

fn record(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn all(log: &dyn DurableLog) -> Vec<Record> {
    let (mut at, end) = log.bounds().await.unwrap();
    let mut out = Vec::new();
    while at.offset < end.offset {
        let found = soon(log.read(at, 1000, 1 << 20)).await.unwrap();
        at = found.last().expect("there is something before the end").next();
        out.extend(found);
    }
    out
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(&record.data).unwrap()).collect()
}

/// All of it, on fresh engines.
pub(crate) async fn run<E: Engine>(mut fresh: impl FnMut(&str) -> E) {
    reads_have_bounds(&mut fresh("bounds")).await;
    who_waits_is_woken(&mut fresh("waits")).await;
    a_position_outlives_restarts(&mut fresh("restarts")).await;
    an_older_copy_is_noticed(&mut fresh("copy")).await;
    another_seed_opens_nothing(&mut fresh("seed")).await;
    what_was_acknowledged_outlives_crashes(&mut fresh("crashes")).await;
    trimmed(&mut fresh("trimmed")).await;
    consumers::run(fresh).await;
}

async fn reads_have_bounds(engine: &mut impl Engine) {
    let log = open(engine).await;
    assert_eq!(log.bounds().await.unwrap(), (Position::START, Position::START));
    assert!(log.read(Position::START, 9, 9).await.unwrap().is_empty());
    assert_eq!(log.append_all(Vec::new()).await.unwrap().offset, 0);
    let first = log.append_all(["a", "bb", "ccc"].map(record).to_vec()).await.unwrap();
    let second = log.append_all(["dddd", ""].map(record).to_vec()).await.unwrap();
    assert_eq!((first.offset, second.offset), (0, 3));
    let read = |from, records, bytes| log.read(from, records, bytes);
    let whole = read(Position::START, 100, 1 << 20).await.unwrap();
    assert_eq!(texts(&whole), ["a", "bb", "ccc", "dddd", ""]);
    assert_eq!((whole[0].position, whole[3].position), (first, second));
    assert_eq!(texts(&read(whole[0].next(), 2, 1 << 20).await.unwrap()), ["bb", "ccc"]);
    assert_eq!(texts(&read(whole[0].next(), 0, 0).await.unwrap()), ["bb"], "at least one");
    assert_eq!(texts(&read(Position::START, 100, 3).await.unwrap()), ["a", "bb"]);
    assert_eq!(texts(&read(second, 100, 1 << 20).await.unwrap()), ["dddd", ""]);
    assert!(read(whole[4].next(), 1, 1).await.unwrap().is_empty());
    let beyond = Position { offset: 6, ..second };
    assert_eq!(read(beyond, 1, 1).await.unwrap_err().code(), "log.epoch_changed");
    // All or none, also of what is refused.
    let error = log.append_all(vec![record("x"), vec![0; 33 << 20].into()]).await.unwrap_err();
    assert_eq!(error.code(), "log.too_large");
    assert_eq!(log.bounds().await.unwrap().1, whole[4].next());
    let plain = b"not to be seen by whoever keeps it";
    log.append_all(vec![Bytes::from_static(plain)]).await.unwrap();
    let bytes = engine.bytes().await;
    assert!(!bytes.is_empty() && !bytes.windows(plain.len()).any(|window| window == plain));
}

async fn who_waits_is_woken(engine: &mut impl Engine) {
    let log = open(engine).await;
    for n in 0..5u64 {
        let at = log.bounds().await.unwrap().1;
        assert_eq!(at.offset, n);
        let (waiting, other) = (log.clone(), log.clone());
        let waiting = tokio::spawn(async move {
            waiting.wait_for(at).await.unwrap();
            waiting.read(at, 1, 1).await.unwrap()
        });
        tokio::task::yield_now().await;
        other.append_all(vec![record("here")]).await.unwrap();
        assert_eq!(texts(&soon(waiting).await.unwrap()), ["here"]);
    }
    let beyond = Position { offset: 99, ..log.bounds().await.unwrap().1 };
    assert_eq!(log.wait_for(beyond).await.unwrap_err().code(), "log.epoch_changed");
}

async fn a_position_outlives_restarts(engine: &mut impl Engine) {
    let mut positions = Vec::new();
    for n in 0..6 {
        let log = open(engine).await;
        let (_, end) = log.bounds().await.unwrap();
        positions.push(end);
        log.append_all(vec![record(&n.to_string()), record("more")]).await.unwrap();
        for (at, position) in positions.iter().enumerate() {
            let found = log.read(*position, 1, 1).await.unwrap();
            assert_eq!(texts(&found), [at.to_string()]);
        }
        drop(log);
        if n % 2 == 1 {
            engine.crash().await;
        }
    }
}

async fn an_older_copy_is_noticed(engine: &mut impl Engine) {
    let log = open(engine).await;
    log.append_all(vec![record("one")]).await.unwrap();
    let common = log.bounds().await.unwrap().1;
    drop(log);
    engine.set_aside().await;
    let log = open(engine).await;
    let two = log.append_all(vec![record("two")]).await.unwrap();
    let behind = log.bounds().await.unwrap().1;
    drop(log);
    engine.put_back().await;
    let log = open(engine).await;
    for more in ["other two", "other three"] {
        for position in [behind, two] {
            let error = log.read(position, 1, 1).await.unwrap_err();
            let LogError::EpochChanged { asked, common: told } = error else { panic!("{error}") };
            assert!(asked == position && told.offset <= 1, "{more}: {asked}, {told}");
        }
        log.read(common, 1, 1).await.unwrap();
        log.append_all(vec![record(more)]).await.unwrap();
    }
    assert_eq!(texts(&all(&*log).await), ["one", "other two", "other three"]);
    let next = log.bounds().await.unwrap().1;
    assert_ne!(next.epoch, behind.epoch);
}

async fn another_seed_opens_nothing(engine: &mut impl Engine) {
    let log = open(engine).await;
    log.append_all(vec![record("ours")]).await.unwrap();
    drop(log);
    let error = soon(engine.open(true)).await.err().unwrap();
    assert_eq!(error.code(), "store.wrong_seed");
    assert_eq!(texts(&all(&*open(engine).await).await), ["ours"]);
}

/// `task:batch:record of count`.
fn batch(task: u32, number: u32) -> Vec<Bytes> {
    let count = number % 4 + 1;
    (0..count).map(|at| record(&format!("{task}:{number}:{at}:{count}"))).collect()
}

async fn what_was_acknowledged_outlives_crashes(engine: &mut impl Engine) {
    const TASKS: u32 = 4;
    let mut random = fastrand::Rng::with_seed(18);
    let mut numbers = [0; TASKS as usize];
    let mut acknowledged: BTreeMap<u64, Vec<Bytes>> = BTreeMap::new();
    for round in 0..8 {
        let log = open(engine).await;
        let told = Arc::new(Mutex::new(BTreeMap::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut writing = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let (log, told, stop) = (log.clone(), told.clone(), stop.clone());
            let mut number = numbers[task as usize];
            writing.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let records = batch(task, number);
                    let position = log.append_all(records.clone()).await?;
                    told.lock().unwrap().insert(position.offset, records);
                    number += 1;
                }
                Ok::<_, LogError>((task, number))
            });
        }
        let enough = random.usize(1..40);
        soon(async {
            while told.lock().unwrap().len() < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        acknowledged.extend(told.lock().unwrap().clone());
        engine.crash().await;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = soon(writing.join_next()).await {
            // No call fails: it goes on with whatever comes back.
            let (task, number) = ended.unwrap().unwrap();
            numbers[task as usize] = number + 1;
        }
        drop(log);
        let log = open(engine).await;
        let records = all(&*log).await;
        let found = texts(&records);
        for (offset, batch) in &acknowledged {
            let from = usize::try_from(*offset).unwrap();
            let there = &found[from..from + batch.len()];
            assert_eq!(there, batch, "round {round}, acknowledged at {offset}");
        }
        // All or none, next to each other, and once.
        let mut seen = std::collections::BTreeSet::new();
        let mut at = 0;
        while at < found.len() {
            let fields: Vec<u32> = found[at].split(':').map(|n| n.parse().unwrap()).collect();
            let whole = batch(fields[0], fields[1]);
            assert_eq!(found[at..(at + whole.len()).min(found.len())], whole[..], "round {round}");
            assert!(seen.insert((fields[0], fields[1])), "round {round}: {} twice", found[at]);
            at += whole.len();
        }
    }
}

async fn trimmed(engine: &mut impl Engine) {
    let log = open(engine).await;
    for n in 0..200 {
        log.append_all(vec![vec![n; 2000].into()]).await.unwrap();
    }
    let middle = log.read(Position::START, 150, usize::MAX).await.unwrap().pop().unwrap().position;
    drop(log);
    engine.trim(middle).await;
    let log = open(engine).await;
    let (start, end) = log.bounds().await.unwrap();
    assert!(start.offset > 0 && start.offset <= middle.offset && end.offset == 200, "{start}");
    let error = log.read(Position::START, 1, 1).await.unwrap_err();
    assert_eq!(error, LogError::Trimmed { asked: 0, oldest: start.offset });
    let left = all(&*log).await;
    let numbers: Vec<_> = left.iter().map(|record| u64::from(record.data[0])).collect();
    assert_eq!(numbers, (start.offset..200).collect::<Vec<_>>());
    log.append_all(vec![record("goes on")]).await.unwrap();
    assert_eq!(log.bounds().await.unwrap().1.offset, 201);
}
