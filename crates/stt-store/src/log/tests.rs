//! The log on a real disk, and retention by a clock of ours.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use stc::{Coded, Key};
use tempfile::TempDir;

use super::{
    DurableLog, Log, LogError, LogOptions, Position, segment::HEADER_LEN, shared::Shared,
    writer::Writer,
};
use crate::{
    ChamberKey, StoreError,
    disk::sim::{Fault, Sim},
};

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([7; 32]))
}

async fn open(dir: &TempDir) -> Result<Log, LogError> {
    Log::open(&key(), dir.path().join("log"), LogOptions::default()).await
}

fn segments(dir: &TempDir) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

async fn all(log: &Log) -> Vec<Bytes> {
    let (start, _) = log.bounds().await.unwrap();
    let records = log.read(start, usize::MAX, usize::MAX).await.unwrap();
    records.into_iter().map(|record| record.data).collect()
}

#[tokio::test]
async fn an_older_copy_is_noticed_before_and_after_it_was_written_to() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir).await.unwrap();
    log.append("one").await.unwrap();
    drop(log);
    let (place, backup) = (dir.path().join("log"), dir.path().join("backup"));
    copy(&place, &backup);

    let log = open(&dir).await.unwrap();
    let two = log.append("two").await.unwrap();
    let (_, behind) = log.bounds().await.unwrap();
    drop(log);
    fs::remove_dir_all(&place).unwrap();
    copy(&backup, &place);

    let log = open(&dir).await.unwrap();
    for more in ["other two", "other three"] {
        for position in [behind, two] {
            let error = log.read(position, 1, 1).await.unwrap_err();
            let LogError::EpochChanged { common, .. } = error else { panic!("{error}") };
            assert!(common.offset <= 1);
            assert!(log.read(common, 1, 1).await.is_ok());
            assert!(log.wait_for(position).await.is_err());
        }
        log.append(more).await.unwrap();
    }
    assert_eq!(all(&log).await, ["one", "other two", "other three"]);
}

#[tokio::test]
async fn whoever_waits_is_told_when_a_record_is_there() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir).await.unwrap();
    let (_, end) = log.bounds().await.unwrap();
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait_for(end).await }
    });
    log.append("x").await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn many_at_once_keep_their_batches_together() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..50u8 {
        let log = log.clone();
        tasks.spawn(async move {
            let records = (0..4).map(|n| Bytes::from(vec![task, n])).collect();
            log.append_all(records).await.unwrap()
        });
    }
    let mut offsets: Vec<_> =
        tasks.join_all().await.into_iter().map(|position| position.offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..50).map(|n| n * 4).collect::<Vec<_>>());
    for batch in all(&log).await.chunks(4) {
        let task = batch[0][0];
        let expected: Vec<_> = (0..4).map(|n| Bytes::from(vec![task, n])).collect();
        assert_eq!(batch, expected);
    }
}

#[tokio::test]
async fn a_cut_tail_is_forgotten_and_damage_before_it_is_not() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir).await.unwrap();
    log.append("first").await.unwrap();
    let two = fs::metadata(&segments(&dir)[0]).unwrap().len();
    log.append("second").await.unwrap();
    let three = fs::metadata(&segments(&dir)[0]).unwrap().len();
    drop(log);
    let path = segments(&dir).remove(0);
    let whole = fs::read(&path).unwrap();
    // Without the mark of an orderly end.
    let crashed = &whole[..usize::try_from(three).unwrap()];
    let two = usize::try_from(two).unwrap();

    for cut in (two..crashed.len()).step_by(7) {
        fs::write(&path, &crashed[..cut]).unwrap();
        let log = open(&dir).await.unwrap();
        assert_eq!(all(&log).await, ["first"], "{cut}");
        log.append("again").await.unwrap();
        assert_eq!(all(&log).await, ["first", "again"]);
        drop(log);
    }
    for flip in (HEADER_LEN..two).step_by(11) {
        let mut bytes = crashed.to_vec();
        bytes[flip] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = open(&dir).await.unwrap_err();
        assert_eq!(error.code(), "store.damaged", "{flip}");
        assert!(error.to_string().contains("record 0"), "{error}");
    }
    // After an orderly end the last record is protected too.
    let mut bytes = whole.clone();
    bytes[two + 70] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&dir).await.unwrap_err().code(), "store.damaged");
    bytes.clone_from(&whole);
    bytes[HEADER_LEN / 2] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&dir).await.unwrap_err().code(), "store.damaged");
    fs::write(&path, &whole).unwrap();
    assert_eq!(all(&open(&dir).await.unwrap()).await, ["first", "second"]);
}

#[tokio::test]
async fn damage_in_an_older_segment_is_seen_when_it_is_read() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions::default().segment_bytes(64 << 10);
    let log = Log::open(&key(), dir.path().join("log"), options).await.unwrap();
    for n in 0..5u8 {
        log.append(vec![n; 40 << 10]).await.unwrap();
    }
    let paths = segments(&dir);
    assert_eq!(paths.len(), 5);
    let mut bytes = fs::read(&paths[1]).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&paths[1], bytes).unwrap();
    let (start, end) = log.bounds().await.unwrap();
    assert_eq!(log.read(start, 1, 1).await.unwrap().len(), 1);
    let error = log.read(start, 5, usize::MAX).await.unwrap_err();
    assert_eq!(error.code(), "store.damaged");
    assert!(error.to_string().contains("record 1"), "{error}");
    let after = Position { offset: 2, ..end };
    assert_eq!(log.read(after, 5, usize::MAX).await.unwrap().len(), 3);
}

#[tokio::test]
async fn another_seed_another_opener_and_a_lost_record_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let log = open(&dir).await.unwrap();
    log.append("x").await.unwrap();
    assert_eq!(open(&dir).await.unwrap_err().code(), "store.in_use");
    drop(log);
    let other = ChamberKey::from_key(&Key::from_bytes([8; 32]));
    let error = Log::open(&other, dir.path().join("log"), LogOptions::default()).await;
    assert_eq!(error.unwrap_err().code(), "store.wrong_seed");
    fs::remove_file(dir.path().join("log/log")).unwrap();
    assert_eq!(open(&dir).await.unwrap_err().code(), "store.damaged");
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions::default().record_max(100);
    let log = Log::open(&key(), dir.path().join("log"), options).await.unwrap();
    assert_eq!(log.append(vec![0; 101]).await.unwrap_err().code(), "log.too_large");
    log.append(vec![0; 100]).await.unwrap();
    let many = vec![Bytes::new(); 65_537];
    assert_eq!(log.append_all(many).await.unwrap_err().code(), "log.too_large");
    log.append_all(vec![Bytes::new(); 65_536]).await.unwrap();
    assert_eq!(log.stats().end.offset, 65_537);
    for wrong in [LogOptions::new().record_max(0), LogOptions::new().segment_bytes(1)] {
        let error = Log::open(&key(), dir.path().join("wrong"), wrong).await.unwrap_err();
        assert_eq!(error.code(), "store.setting");
    }
    assert!(!dir.path().join("wrong").exists());
    // A dead letter is longer than the record in it, whatever that may have.
    let largest = LogOptions::new().record_max(16 << 20);
    let log = Log::open(&key(), dir.path().join("largest"), largest).await.unwrap();
    log.dead_letters().await.unwrap();
}

fn on_sim(sim: &Sim, options: LogOptions) -> (Arc<Shared>, Writer) {
    let fs = Arc::new(sim.clone());
    let (shared, tail) = Shared::open(fs, Path::new("/log"), &key(), options).unwrap();
    let shared = Arc::new(shared);
    (shared.clone(), Writer::new(shared, tail).unwrap())
}

#[test]
fn old_records_go_by_age_and_nothing_younger_does() {
    const AGE: u64 = 8_000;
    let sim = Sim::new(Fault::Never);
    let options = LogOptions::default().keep_age(Duration::from_millis(AGE));
    let (shared, mut writer) = on_sim(&sim, options);
    for now in (0..100_000).step_by(500) {
        let offset = writer.append(&[Bytes::from_static(b"x")], now).unwrap();
        assert_eq!(offset, now / 500);
        shared.retain(now).unwrap();
        let oldest = shared.start_position().offset * 500;
        assert!(oldest <= now.saturating_sub(AGE) || oldest == 0, "{oldest} at {now}");
        // An eighth for the segment, and a step until the next record begins another.
        assert!(oldest + AGE + AGE / 8 + 1000 >= now, "{oldest} at {now}");
    }
}

#[test]
fn the_disk_holds_at_most_twice_what_is_kept_over_200_turnovers() {
    const KEEP: u64 = 1 << 20;
    let sim = Sim::new(Fault::Never);
    let options = LogOptions::default().segment_bytes(64 << 10).keep_bytes(KEEP);
    let (shared, mut writer) = on_sim(&sim, options);
    let record = Bytes::from(vec![1; 16 << 10]);
    for n in 0..600 {
        assert_eq!(writer.append(std::slice::from_ref(&record), 0).unwrap(), n);
        shared.retain(0).unwrap();
        let (start, end) = (shared.start_position().offset, shared.end());
        let live = (end - start) * record.len() as u64;
        let (_, bytes) = shared.usage();
        assert!(bytes <= 2 * live && bytes <= KEEP, "{bytes} for {live}");
        assert!(n < 100 || bytes > KEEP - (128 << 10), "{bytes} is too little");
    }
    assert!(shared.start_position().offset > 500, "{}", shared.start_position());
    let error = shared.check(Position::START).unwrap_err();
    assert!(matches!(error, LogError::Trimmed { asked: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let sim = Sim::new(Fault::Never);
    let fs = Arc::new(sim.clone());
    let log = Log::open_on(fs, &key(), Path::new("/log"), LogOptions::default()).await.unwrap();
    log.append("one").await.unwrap();
    // The write fails, and so that nothing of it is left, the file is cut: that works.
    sim.set_fault(Fault::Once { at: sim.done(), kind: std::io::ErrorKind::StorageFull });
    let error = log.append("two").await.unwrap_err();
    assert!(matches!(error, LogError::Store(StoreError::DiskFull { .. })), "{error}");
    log.append("three").await.unwrap();
    assert_eq!(all(&log).await, ["one", "three"]);
}

#[tokio::test]
async fn trimming_keeps_all_from_a_position_on() {
    let dir = TempDir::new().unwrap();
    let open = || async {
        let options = LogOptions::default().segment_bytes(64 << 10);
        Log::open(&key(), dir.path().join("log"), options).await.unwrap()
    };
    let log = open().await;
    let mut positions = Vec::new();
    for number in 0..60_u8 {
        positions.push(log.append(vec![number; 10_000]).await.unwrap());
    }
    let before = segments(&dir).len();
    assert!(before > 5);
    assert_eq!(log.trim(Position::START).await.unwrap(), 0);
    let removed = log.trim(positions[40]).await.unwrap();
    assert_eq!(segments(&dir).len() as u64 + removed, before as u64);
    assert!(removed >= 4, "{removed}");
    for _ in 0..2 {
        let records = log.read(positions[40], usize::MAX, usize::MAX).await.unwrap();
        assert_eq!(records.len(), 20);
        assert_eq!(records[0].data[0], 40);
    }
    let error = log.read(Position::START, 1, 1).await.unwrap_err();
    assert_eq!(error.code(), "log.trimmed");
    let (_, end) = log.bounds().await.unwrap();
    log.trim(end).await.unwrap();
    assert_eq!(segments(&dir).len(), 1, "the one that is written to stays");
    drop(log);
    let log = open().await;
    assert!(log.stats().start.offset > 40);
    assert_eq!(log.append("more").await.unwrap().offset, 60);
    let foreign = Position { epoch: 1, offset: 3 };
    assert_eq!(log.trim(foreign).await.unwrap_err().code(), "log.epoch_changed");
}
