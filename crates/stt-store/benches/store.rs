//! Durable puts and gets against plain files with the same cipher and against redb alone, many
//! small items, and the time to open a large store.
//!
//! `cargo bench -p stt-store` runs everything; a part can be named: `put`, or only one of its sizes
//! as `put-4`, `put-64`, `put-1024`, `put-262144` (KiB); `many`; `open`. Sides are alternated, medians
//! and the middle 80 % are printed, and the ratio is peer time over our time: 1 is as fast as the
//! peer, 2 twice as fast. Ratios are taken within each round, because the speed of a disk drifts.
//! `benches/sqlite` compares with SQLite in the same way.
#![allow(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark prints, and stops at the first thing that is wrong"
)]

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::Instant,
};

use redb::{ReadableDatabase, TableDefinition};
use stc::{
    Key,
    aead::{AeadKey, Suite},
};
use stt_store::{
    BlobName, Chamber, ChamberKey, ChamberOptions, ContentId, DiskOptions, DiskProvider, Op,
    StorageProvider,
};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");
const CHUNK: usize = 64 << 10;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|arg| arg == part);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for (len, rounds) in [(4 << 10, 300), (64 << 10, 300), (1 << 20, 300), (256 << 20, 3)] {
            if wants("put") || wants(&format!("put-{}", len >> 10)) {
                put_and_get(len, rounds).await;
            }
        }
        if wants("many") {
            many(100_000).await;
        }
        if wants("open") {
            open(1_000_000).await;
        }
    });
}

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([1; 32]))
}

fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Milliseconds.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn add(&mut self, start: Instant) {
        self.0.push(start.elapsed().as_secs_f64() * 1e3);
    }

    /// The values below which 10, 50 and 90 % of them lie.
    fn spread(&self) -> [f64; 3] {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        [10, 50, 90].map(|share| sorted[(sorted.len() - 1) * share / 100])
    }

    fn row(&self, what: &str) {
        let [low, median, high] = self.spread();
        println!("  {what:<34} {median:>9.3} ms  ({low:.3} to {high:.3})");
    }

    fn row_against(&self, what: &str, ours: &Self) {
        self.row(what);
        let ratios = self.0.iter().zip(&ours.0).map(|(peer, ours)| peer / ours).collect();
        let [low, median, high] = Self(ratios).spread();
        println!("  {:<34} {median:>9.2}     ({low:.2} to {high:.2})", "    ratio");
    }
}

fn seal(key: &AeadKey, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + data.len() / CHUNK * 16 + 16);
    for (index, chunk) in (0u32..).zip(data.chunks(CHUNK)) {
        let start = out.len();
        out.extend_from_slice(chunk);
        let tag = key.seal(nonce(index), &[], &mut out[start..]).unwrap();
        out.extend(tag);
    }
    out
}

fn unseal(key: &AeadKey, mut sealed: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(sealed.len());
    for (index, chunk) in (0u32..).zip(sealed.chunks_mut(CHUNK + 16)) {
        out.extend_from_slice(key.open(nonce(index), &[], chunk).unwrap());
    }
    out
}

fn nonce(index: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&index.to_le_bytes());
    nonce
}

/// A new file, synced, and its name too.
fn plain_put(dir: &Path, name: &str, sealed: &[u8]) {
    let mut file = File::create_new(dir.join(name)).unwrap();
    file.write_all(sealed).unwrap();
    file.sync_all().unwrap();
    File::open(dir).unwrap().sync_all().unwrap();
}

async fn put_and_get(len: usize, rounds: u64) {
    println!("{} KiB, {rounds} rounds", len >> 10);
    let dir = tempfile::tempdir().unwrap();
    let (key, options) = (key(), ChamberOptions::default());
    let chamber = Chamber::open(&key, dir.path().join("ours"), options).await.unwrap();
    let plain = dir.path().join("plain");
    fs::create_dir(&plain).unwrap();
    let cipher = AeadKey::new(Suite::preferred(), &Key::from_bytes([2; 32])).unwrap();
    // A value in one piece is not what redb is for.
    let redb =
        (len <= 1 << 20).then(|| redb::Database::create(dir.path().join("alone.redb")).unwrap());

    let [mut ours, mut file, mut alone] = std::array::from_fn(|_| Times::default());
    let mut ids = Vec::new();
    for round in 0..rounds {
        let data = value(round, len);
        let copy = data.clone();
        let start = Instant::now();
        ids.push(chamber.put(copy).await.unwrap());
        ours.add(start);
        let start = Instant::now();
        plain_put(&plain, &round.to_string(), &seal(&cipher, &data));
        file.add(start);
        if let Some(redb) = &redb {
            let start = Instant::now();
            let txn = redb.begin_write().unwrap();
            let sealed = seal(&cipher, &data);
            let name = round.to_be_bytes();
            txn.open_table(TABLE).unwrap().insert(&name[..], &sealed[..]).unwrap();
            txn.commit().unwrap();
            alone.add(start);
        }
    }
    ours.row("durable put: ours");
    file.row_against("durable put: plain file + cipher", &ours);
    if redb.is_some() {
        alone.row_against("durable put: redb + cipher", &ours);
    }

    let [mut ours, mut file, mut alone] = std::array::from_fn(|_| Times::default());
    for (round, id) in (0..rounds).zip(&ids) {
        let start = Instant::now();
        let got = chamber.get(id).await.unwrap();
        ours.add(start);
        assert_eq!(got.len(), len);
        drop(got);
        let start = Instant::now();
        let got = unseal(&cipher, fs::read(plain.join(round.to_string())).unwrap());
        file.add(start);
        assert_eq!(got.len(), len);
        drop(got);
        if let Some(redb) = &redb {
            let start = Instant::now();
            let table = redb.begin_read().unwrap().open_table(TABLE).unwrap();
            let name = round.to_be_bytes();
            let got = unseal(&cipher, table.get(&name[..]).unwrap().unwrap().value().to_vec());
            alone.add(start);
            assert_eq!(got.len(), len);
        }
    }
    ours.row("get: ours");
    file.row_against("get: plain file + cipher", &ours);
    if redb.is_some() {
        alone.row_against("get: redb + cipher", &ours);
    }
}

/// Values of 400 bytes, 256 at a time, each put durable when it returns.
async fn many(items: u64) {
    let dir = tempfile::tempdir().unwrap();
    let chamber = Chamber::open(&key(), dir.path(), ChamberOptions::default()).await.unwrap();
    let tasks = 256;
    let start = Instant::now();
    let workers: Vec<_> = (0..tasks)
        .map(|task| {
            let chamber = chamber.clone();
            tokio::spawn(async move {
                for item in (task..items).step_by(256) {
                    chamber.put(value(item, 400)).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let put = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for item in (0..items).step_by(10) {
        chamber.get(&ContentId::of(&value(item, 400))).await.unwrap();
    }
    let get = start.elapsed().as_secs_f64();
    println!("{items} items of 400 bytes");
    println!("  durable puts, {tasks} at a time        {:>9.0} items/s", items as f64 / put);
    println!("  gets, one by one                 {:>9.0} items/s", items as f64 / 10.0 / get);
    for (what, bytes) in chamber.stats().await.unwrap().places {
        println!("  {what:<34} {:>9.1} bytes/item", bytes as f64 / items as f64);
    }
}

async fn open(items: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (clean, killed) = (dir.path().join("clean"), dir.path().join("killed"));
    let provider = DiskProvider::open(&clean, DiskOptions::default()).await.unwrap();
    let start = Instant::now();
    for batch in 0..items / 10_000 {
        let op = |item: u64| {
            let name = BlobName::new(&[b"c", &value(batch * 10_000 + item, 32)]).unwrap();
            Op::Put { name, data: value(item, 372).into() }
        };
        provider.apply((0..10_000).map(op).collect()).await.unwrap();
    }
    println!("{items} items, loaded in {:.1} s", start.elapsed().as_secs_f64());
    // What the disk holds when the process is killed now.
    fs::create_dir(&killed).unwrap();
    for file in ["index.redb", "format"] {
        fs::copy(clean.join(file), killed.join(file)).unwrap();
    }
    drop(provider);
    for (what, dir) in [("closed", clean), ("killed", killed)] {
        let mut times = Times::default();
        for _ in 0..if what == "closed" { 11 } else { 1 } {
            let start = Instant::now();
            let provider = DiskProvider::open(&dir, DiskOptions::default()).await.unwrap();
            times.add(start);
            assert_eq!(provider.usage().await.unwrap().kind(b'c').blobs, items);
        }
        times.row(&format!("open after it was {what}"));
    }
}
