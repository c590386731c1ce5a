//! A store whose index went missing or was damaged: what comes back, and what is said of the rest.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it, and knows its sizes"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use stc::{Coded, Key};
use stt_store::{Chamber, ChamberKey, ChamberOptions, ContentId, DiskOptions, StoreError};

const LARGE: usize = 100_000;

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([2; 32]))
}

async fn open(dir: &Path) -> Result<Chamber, StoreError> {
    Chamber::open(&key(), dir, ChamberOptions::default()).await
}

fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Two large values, the second with a name, and a short one with a name; closed again.
async fn store(dir: &Path) -> [ContentId; 3] {
    let chamber = open(dir).await.unwrap();
    [
        chamber.put(value(1, LARGE)).await.unwrap(),
        chamber.put_named("large", value(2, LARGE)).await.unwrap(),
        chamber.put_named("short", value(3, 100)).await.unwrap(),
    ]
}

/// All files of values, with their bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let shards = fs::read_dir(dir.join("files")).unwrap();
    let inside = |shard: fs::DirEntry| fs::read_dir(shard.path()).unwrap();
    let paths = shards.flat_map(|shard| inside(shard.unwrap())).map(|file| file.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_index_has_its_code_for_readers_too() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path()).await;
    fs::remove_file(dir.path().join("index.redb")).unwrap();
    let reading = ChamberOptions::default().disk(DiskOptions::default().reading_only(true));
    for options in [ChamberOptions::default(), reading] {
        let error = Chamber::open(&key(), dir.path(), options).await.unwrap_err();
        assert_eq!(error.code(), "store.index_damaged", "{error}");
        assert!(error.hint().unwrap().contains("stt store rebuild"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_files_comes_back_without_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, short] = store(dir.path()).await;
    let before = files(dir.path());
    fs::remove_file(dir.path().join("index.redb")).unwrap();

    let report = Chamber::rebuild(&key(), dir.path()).await.unwrap();
    assert_eq!((report.files, report.small, report.names), (2, 0, 0), "{report:?}");
    assert_eq!((report.pinned, report.old_index), (2, None));
    assert_eq!(files(dir.path()), before, "no file was touched");

    let chamber = open(dir.path()).await.unwrap();
    assert!(chamber.verify(|_, _| {}).await.unwrap().is_sound());
    assert_eq!(chamber.collect(false).await.unwrap().contents, 0);
    assert!(chamber.get(&first).await.unwrap() == value(1, LARGE));
    assert!(chamber.get(&second).await.unwrap() == value(2, LARGE));
    let lost = chamber.get(&short).await.unwrap_err();
    assert_eq!(lost.code(), "store.not_found");
    assert_eq!(chamber.resolve("large").await.unwrap_err().code(), "store.not_found");
    // It is a store as any other.
    chamber.put_named("large", value(2, LARGE)).await.unwrap();
    assert_eq!(chamber.resolve("large").await.unwrap(), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_listed_as_they_were_before() {
    let dir = tempfile::tempdir().unwrap();
    let ids = store(dir.path()).await;
    let (path, mut bytes) = files(dir.path()).pop_first().unwrap();
    bytes[70_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(dir.path().join("index.redb")).unwrap();
    Chamber::rebuild(&key(), dir.path()).await.unwrap();
    let chamber = open(dir.path()).await.unwrap();
    let report = chamber.verify(|_, _| {}).await.unwrap();
    assert_eq!((report.contents, report.damaged), (2, 1));
    assert!(ids[..2].contains(&report.problems[0].id.unwrap()));
}

/// Mending a value writes a second file and then removes the first one.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_files_the_whole_one_is_taken() {
    for (damaged, whole) in [("00000000", "ffffffff"), ("ffffffff", "00000000")] {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path()).await;
        for (path, bytes) in files(dir.path()) {
            let mut wrong = bytes.clone();
            wrong[10] ^= 1;
            fs::write(path.with_extension(damaged), wrong).unwrap();
            fs::write(path.with_extension(whole), bytes).unwrap();
            fs::remove_file(path).unwrap();
        }
        fs::remove_file(dir.path().join("index.redb")).unwrap();
        assert_eq!(Chamber::rebuild(&key(), dir.path()).await.unwrap().files, 2);
        let chamber = open(dir.path()).await.unwrap();
        let report = chamber.verify(|_, _| {}).await.unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.leftovers.files, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_seed_and_a_sound_index_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [first, ..] = store(dir.path()).await;
    let sound = Chamber::rebuild(&key(), dir.path()).await.unwrap_err();
    assert_eq!(sound.code(), "store.index_sound");
    let chamber = open(dir.path()).await.unwrap();
    assert!(chamber.get_named("short").await.unwrap() == value(3, 100));
    assert_eq!(Chamber::rebuild(&key(), dir.path()).await.unwrap_err().code(), "store.in_use");
    drop(chamber);

    fs::remove_file(dir.path().join("index.redb")).unwrap();
    let other = ChamberKey::from_key(&Key::from_bytes([3; 32]));
    let wrong = Chamber::rebuild(&other, dir.path()).await.unwrap_err();
    assert_eq!(wrong.code(), "store.wrong_seed");
    assert!(!dir.path().join("index.redb").exists());
    Chamber::rebuild(&key(), dir.path()).await.unwrap();
    assert!(open(dir.path()).await.unwrap().contains(&first).await.unwrap());

    let none = tempfile::tempdir().unwrap();
    let error = Chamber::rebuild(&key(), none.path()).await.unwrap_err();
    assert_eq!(error.code(), "store.not_found");
    assert_eq!(fs::read_dir(none.path()).unwrap().count(), 0);
}

/// Wherever a page of the index is overwritten, what lies in files comes back, and nothing that the
/// rebuilt store has is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_gives_what_can_still_be_read_of_it() {
    const NAMES: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let chamber = open(dir.path()).await.unwrap();
    let mut large = Vec::new();
    for number in 0..3 {
        large.push(chamber.put(value(number, LARGE)).await.unwrap());
    }
    for number in 10..10 + NAMES {
        chamber.put_named(&format!("name {number}"), value(number, 3_000)).await.unwrap();
    }
    drop(chamber);
    let index = dir.path().join("index.redb");
    let whole = fs::read(&index).unwrap();
    let (mut most, mut rebuilt) = (0, 0);
    // Those that hold something; not all of them, since each costs a store.
    let pages = whole.chunks(4_096).enumerate().filter(|(_, page)| page.iter().any(|b| *b != 0));
    let pages: Vec<_> = pages.map(|(page, _)| page).collect();
    for page in pages.iter().copied().step_by(pages.len().div_ceil(40)) {
        let mut damaged = whole.clone();
        damaged[page * 4_096..][..4_096].fill(0x5a);
        fs::write(&index, &damaged).unwrap();
        let report = match Chamber::rebuild(&key(), dir.path()).await {
            // A page that is free.
            Err(StoreError::IndexSound { .. }) => continue,
            report => report.unwrap(),
        };
        rebuilt += 1;
        assert_eq!(report.files, 3, "page {page}");
        let old = dir.path().join(report.old_index.unwrap());
        assert!(fs::read(&old).unwrap() == damaged, "page {page}");
        fs::remove_file(old).unwrap();
        let chamber = open(dir.path()).await.unwrap();
        for id in &large {
            assert!(chamber.contains(id).await.unwrap(), "page {page}");
        }
        let found = chamber.verify(|_, _| {}).await.unwrap();
        assert_eq!(found.damaged, 0, "page {page}: {found:?}");
        assert_eq!(found.contents, 3 + report.small, "page {page}");
        assert_eq!(found.names, report.names, "page {page}");
        assert_eq!(chamber.collect(true).await.unwrap().contents, 0, "page {page}");
        most = most.max(report.names);
    }
    assert!(rebuilt > 3, "{rebuilt}");
    // One page of many holds but a few of them.
    assert!(most >= NAMES / 2, "{most}");
}
