//! The log against plain appends to a file, with one sync for a batch, and the disk it takes while
//! retention works.
//!
//! `cargo bench -p stt-store --bench log` runs everything; `batch`, `lone` or `disk` one part. Both
//! sides take turns, the first round is thrown away, medians and the middle 80 % are printed, and
//! the ratio is peer time over our time, taken round by round: 1 is as fast as the peer.
#![allow(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark prints, and stops at the first thing that is wrong"
)]

use std::{fs::File, io::Write, time::Instant};

use bytes::Bytes;
use stc::Key;
use stt_store::{
    ChamberKey,
    log::{DurableLog, Log, LogOptions},
};

/// Bytes of a record, as in the figures.
const LEN: usize = 150;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|arg| arg == part);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for (part, records) in [("batch", 100), ("lone", 1)] {
            if wants(part) {
                append(records, 400).await;
            }
        }
        if wants("disk") {
            disk(200).await;
        }
    });
}

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([1; 32]))
}

/// Values below which 10, 50 and 90 % lie.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [10, 50, 90].map(|share| values[(values.len() - 1) * share / 100])
}

fn row(what: &str, unit: &str, values: Vec<f64>) {
    let [low, median, high] = spread(values);
    println!("  {what:<40} {median:>9.3} {unit}  ({low:.3} to {high:.3})");
}

async fn append(records: usize, rounds: usize) {
    println!("{records} records of {LEN} bytes, one sync, {rounds} rounds");
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(&key(), dir.path().join("log"), LogOptions::default()).await.unwrap();
    let mut plain = File::create(dir.path().join("plain")).unwrap();
    let batch = vec![Bytes::from(vec![7; LEN]); records];
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let mut ms = [0.0; 2];
        for turn in 0..2 {
            let side = (round + turn) % 2;
            let start = Instant::now();
            if side == 0 {
                log.append_all(batch.clone()).await.unwrap();
            } else {
                // The same bytes with their lengths; no cipher, no checksum.
                let mut bytes = Vec::with_capacity(records * (LEN + 4));
                for record in &batch {
                    bytes.extend(u32::try_from(record.len()).unwrap().to_be_bytes());
                    bytes.extend_from_slice(record);
                }
                plain.write_all(&bytes).unwrap();
                plain.sync_data().unwrap();
            }
            ms[side] = start.elapsed().as_secs_f64() * 1e3;
        }
        if round > 0 {
            ours.push(ms[0]);
            peers.push(ms[1]);
        }
    }
    let ratios = peers.iter().zip(&ours).map(|(peer, ours)| peer / ours).collect();
    row("log", "ms", ours);
    row("plain append and fdatasync", "ms", peers);
    row("ratio", "  ", ratios);
}

async fn disk(turnovers: u64) {
    const KEEP: u64 = 1 << 20;
    const SEGMENT: u64 = 64 << 10;
    println!("{turnovers} turnovers of segments of {SEGMENT} bytes, {KEEP} kept");
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions::default().with_segment_bytes(SEGMENT).unwrap().with_keep_bytes(KEEP);
    let log = Log::open(&key(), dir.path().join("log"), options).await.unwrap();
    let batch = vec![Bytes::from(vec![7; LEN]); 20];
    let (mut made, mut before, mut ratios) = (0, 0, Vec::new());
    while made < turnovers {
        log.append_all(batch.clone()).await.unwrap();
        let stats = log.stats();
        let live = (stats.end.offset - stats.start.offset) * LEN as u64;
        // Until there is a megabyte of records the header of the segment counts most.
        if stats.start.offset > 0 {
            ratios.push(stats.bytes as f64 / live as f64);
        }
        let newest = stats.end.offset * LEN as u64 / SEGMENT;
        made += newest - before;
        before = newest;
    }
    let most = ratios.iter().copied().fold(0.0, f64::max);
    row("bytes on disk to bytes of records kept", "  ", ratios);
    println!("  most {most:.3}");
}
