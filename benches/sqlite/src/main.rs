//! Durable puts and gets of small values against SQLite with the same cipher.
//!
//! `cargo run --release --manifest-path benches/sqlite/Cargo.toml`. SQLite runs with a write-ahead
//! log and `synchronous=FULL`, so that a commit is durable when it returns. Sides are alternated,
//! medians are printed, and the ratio is SQLite's time over ours.

use std::time::Instant;

use rusqlite::{Connection, params};
use stc::{
    Key,
    aead::{AeadKey, Suite},
};
use stt_store::{Chamber, ChamberKey, ChamberOptions};

fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn print(what: &str, len: usize, ours: &mut [f64], theirs: &mut [f64]) {
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "{what} of {:>4} KiB: ours {ours:.3} ms, SQLite + cipher {theirs:.3} ms, ratio {:.2}",
        len >> 10,
        theirs / ours
    );
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for (len, rounds) in [(4 << 10, 200u64), (64 << 10, 200)] {
            compare(len, rounds).await;
        }
    });
}

async fn compare(len: usize, rounds: u64) {
    let dir = tempfile::tempdir().unwrap();
    let key = ChamberKey::from_key(&Key::from_bytes([1; 32]));
    let options = ChamberOptions::default();
    let chamber = Chamber::open(&key, dir.path().join("ours"), options).await.unwrap();
    let sqlite = Connection::open(dir.path().join("sqlite.db")).unwrap();
    sqlite
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
             CREATE TABLE v (k BLOB PRIMARY KEY, d BLOB) WITHOUT ROWID;",
        )
        .unwrap();
    let cipher = AeadKey::new(Suite::preferred(), &Key::from_bytes([2; 32])).unwrap();
    let (mut ours, mut theirs, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let data = value(round, len);
        let copy = data.clone();
        let start = Instant::now();
        ids.push(chamber.put(copy).await.unwrap());
        ours.push(start.elapsed().as_secs_f64() * 1e3);

        let mut sealed = data;
        let start = Instant::now();
        let tag = cipher.seal([0; 12], &[], &mut sealed).unwrap();
        sealed.extend(tag);
        sqlite
            .execute(
                "INSERT INTO v VALUES (?1, ?2)",
                params![ids[ids.len() - 1].as_bytes(), sealed],
            )
            .unwrap();
        theirs.push(start.elapsed().as_secs_f64() * 1e3);
    }
    print("durable put", len, &mut ours, &mut theirs);
    (ours, theirs) = (Vec::new(), Vec::new());
    for id in &ids {
        let start = Instant::now();
        assert_eq!(chamber.get(id).await.unwrap().len(), len);
        ours.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let mut statement = sqlite.prepare_cached("SELECT d FROM v WHERE k = ?1").unwrap();
        let mut sealed: Vec<u8> = statement.query_row([id.as_bytes()], |row| row.get(0)).unwrap();
        assert_eq!(cipher.open([0; 12], &[], &mut sealed).unwrap().len(), len);
        theirs.push(start.elapsed().as_secs_f64() * 1e3);
    }
    print("get", len, &mut ours, &mut theirs);
}
