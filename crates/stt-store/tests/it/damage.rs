//! Damage to the files of a store: the item is named, the others are unharmed, `verify` finds it.
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it, and knows its sizes"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use stc::{Coded, Key};
use stt_store::{
    Chamber, ChamberKey, ChamberOptions, ContentId, ContentInfo, Keep, Problem, StoreError,
};

const LARGE: usize = 200_000;

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([2; 32]))
}

async fn open(dir: &Path) -> Result<Chamber, StoreError> {
    Chamber::open(&key(), dir, ChamberOptions::default()).await
}

fn value(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

/// A store with two large values, of which the file of the first is returned, and a small one.
async fn store(dir: &Path) -> (PathBuf, Vec<ContentId>) {
    let chamber = open(dir).await.unwrap();
    let mut ids = vec![chamber.put(value(1, LARGE)).await.unwrap()];
    let files: Vec<_> = large_files(dir);
    ids.push(chamber.put(value(2, LARGE)).await.unwrap());
    ids.push(chamber.put_named("small", value(3, 100)).await.unwrap());
    assert_eq!(files.len(), 1);
    (files[0].clone(), ids)
}

fn large_files(dir: &Path) -> Vec<PathBuf> {
    let shards = fs::read_dir(dir.join("files")).unwrap();
    let inside = |shard: fs::DirEntry| fs::read_dir(shard.path()).unwrap();
    shards.flat_map(|shard| inside(shard.unwrap())).map(|file| file.unwrap().path()).collect()
}

/// The first value fails with an error that names it; everything else is as it was.
async fn only_the_first_is_damaged(dir: &Path, ids: &[ContentId], what: &str) {
    let chamber = open(dir).await.unwrap();
    let error = chamber.get(&ids[0]).await.unwrap_err();
    assert_eq!(error.code(), "store.damaged", "{what}: {error}");
    assert!(error.to_string().contains(&ids[0].to_string()), "{what}: {error}");
    assert!(chamber.get(&ids[1]).await.unwrap() == value(2, LARGE), "{what}");
    assert!(chamber.get_named("small").await.unwrap() == value(3, 100), "{what}");
    let report = chamber.verify(|_, _| {}).await.unwrap();
    let counted = (report.contents, report.damaged, report.bytes, report.problems_found);
    assert_eq!(counted, (3, 1, LARGE as u64 + 100, 1), "{what}: {report:?}");
    assert_eq!(chamber.stats().await.unwrap().contents, report.contents);
    // Removing the item and putting it again mends it.
    chamber.remove(&ids[0]).await.unwrap();
    assert_eq!(chamber.put(value(1, LARGE)).await.unwrap(), ids[0]);
    assert!(chamber.get(&ids[0]).await.unwrap() == value(1, LARGE));
    assert!(chamber.verify(|_, _| {}).await.unwrap().is_sound(), "{what}");
}

#[tokio::test]
async fn a_flipped_bit_in_a_large_value() {
    let sealed = 200_704 + 4 * 16 + 100;
    for at in [0, 70_000, LARGE + 100, 200_767, sealed - 100, sealed - 50, sealed - 12, sealed - 1]
    {
        let dir = tempfile::tempdir().unwrap();
        let (file, ids) = store(dir.path()).await;
        let mut bytes = fs::read(&file).unwrap();
        assert_eq!(bytes.len(), sealed);
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).unwrap();
        // Padding is not needed to read the value, and is looked at by `verify` only.
        if at == 200_767 {
            let chamber = open(dir.path()).await.unwrap();
            assert_eq!(chamber.verify(|_, _| {}).await.unwrap().problems_found, 1);
            continue;
        }
        only_the_first_is_damaged(dir.path(), &ids, &format!("bit in byte {at}")).await;
    }
}

#[tokio::test]
async fn a_truncated_an_extended_and_a_missing_file() {
    for len in [0, 1, 99, 100, 65_552, 200_867] {
        let dir = tempfile::tempdir().unwrap();
        let (file, ids) = store(dir.path()).await;
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(len).unwrap();
        only_the_first_is_damaged(dir.path(), &ids, &format!("cut to {len}")).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, ids) = store(dir.path()).await;
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(300_000).unwrap();
    only_the_first_is_damaged(dir.path(), &ids, "extended").await;
    let dir = tempfile::tempdir().unwrap();
    let (file, ids) = store(dir.path()).await;
    fs::remove_file(file).unwrap();
    only_the_first_is_damaged(dir.path(), &ids, "missing").await;
}

/// A damaged value is not there already.
#[tokio::test]
async fn putting_again_mends_what_is_damaged() {
    type Harm = fn(&Path, &Path);
    fn flip(file: &Path, at: usize) {
        let mut bytes = fs::read(file).unwrap();
        bytes[at] ^= 0x10;
        fs::write(file, bytes).unwrap();
    }
    let harms: [(&str, Harm); 7] = [
        ("flipped at the start", |file, _| flip(file, 0)),
        ("flipped in the middle", |file, _| flip(file, LARGE / 2)),
        ("flipped in the padding", |file, _| flip(file, 200_767)),
        ("missing", |file, _| fs::remove_file(file).unwrap()),
        ("cut", |file, _| {
            fs::OpenOptions::new().write(true).open(file).unwrap().set_len(LARGE as u64).unwrap();
        }),
        ("without a footer", |file, _| {
            let len = fs::metadata(file).unwrap().len() as usize;
            fs::write(file, vec![7; len]).unwrap();
        }),
        ("swapped", |file, other| assert!(fs::copy(other, file).is_ok())),
    ];
    for (what, harm) in harms {
        for streamed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (file, ids) = store(dir.path()).await;
            let other = large_files(dir.path()).into_iter().find(|other| *other != file).unwrap();
            harm(&file, &other);
            let chamber = open(dir.path()).await.unwrap();
            let put = if streamed {
                chamber.put_reader(&value(1, LARGE)[..], Keep::Pinned).await
            } else {
                chamber.put(value(1, LARGE)).await
            };
            assert_eq!(put.unwrap(), ids[0]);
            assert!(chamber.get(&ids[0]).await.unwrap() == value(1, LARGE), "{what}");
            assert!(chamber.get(&ids[1]).await.unwrap() == value(2, LARGE), "{what}");
            let report = chamber.verify(|_, _| {}).await.unwrap();
            assert!(report.is_sound() && report.leftovers.files == 0, "{what}: {report:?}");
        }
    }
}

/// A file manager leaves its files everywhere.
#[tokio::test]
async fn files_of_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_, ids) = store(dir.path()).await;
    let strange = ["files/.DS_Store", "files/notes", "files/00/.directory", "files/00/README.txt"];
    for path in strange {
        fs::write(dir.path().join(path), "x").unwrap();
    }
    let chamber = open(dir.path()).await.unwrap();
    assert_eq!(chamber.collect(false).await.unwrap().leftovers.files, 0);
    assert_eq!(chamber.stats().await.unwrap().leftovers.files, 0);
    assert!(chamber.verify(|_, _| {}).await.unwrap().is_sound());
    assert!(chamber.get(&ids[0]).await.is_ok());
    assert!(strange.iter().all(|path| dir.path().join(path).exists()));
}

/// A directory that cannot be read is one problem, and does not hide what else `verify` has to say.
#[tokio::test]
async fn a_directory_that_cannot_be_read_is_one_problem() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path()).await;
    let mut shards = fs::read_dir(dir.path().join("files")).unwrap().map(|shard| shard.unwrap());
    let empty = shards.find(|shard| fs::remove_dir(shard.path()).is_ok()).unwrap();
    fs::write(empty.path(), "no directory").unwrap();
    let report = open(dir.path()).await.unwrap().verify(|_, _| {}).await.unwrap();
    assert_eq!((report.contents, report.problems_found), (3, 1), "{report:?}");
    assert_eq!(report.problems[0].error.code(), "store.io");
}

/// A directory taken away under an open store is no "not found".
#[tokio::test]
async fn a_store_whose_directory_is_gone_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (_, ids) = store(dir.path()).await;
    let chamber = open(dir.path()).await.unwrap();
    fs::remove_dir_all(dir.path().join("files")).unwrap();
    fs::remove_dir_all(dir.path().join("tmp")).unwrap();
    assert_eq!(chamber.put(value(9, LARGE)).await.unwrap_err().code(), "store.io");
    assert_eq!(chamber.get(&ids[0]).await.unwrap_err().code(), "store.damaged");
    assert!(chamber.get_named("small").await.unwrap() == value(3, 100));
    drop(chamber);
    let chamber = open(dir.path()).await.unwrap();
    for (id, seed) in [(ids[0], 1), (ids[1], 2)] {
        assert_eq!(chamber.put(value(seed, LARGE)).await.unwrap(), id);
        assert!(chamber.get(&id).await.unwrap() == value(seed, LARGE));
    }
}

#[tokio::test]
async fn swapped_files_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (first, ids) = store(dir.path()).await;
    let second = large_files(dir.path()).into_iter().find(|file| *file != first).unwrap();
    fs::copy(second, first).unwrap();
    let chamber = open(dir.path()).await.unwrap();
    let (mut listed, mut refused) = (Vec::new(), 0);
    let list = |info: Result<ContentInfo, Problem>| {
        info.map_or_else(|_| refused += 1, |info| listed.push(info.id));
        true
    };
    chamber.contents(list).await.unwrap();
    assert!(listed.len() == 2 && refused == 1 && !listed.contains(&ids[0]), "{listed:?}");
    drop(chamber);
    only_the_first_is_damaged(dir.path(), &ids, "swapped").await;
}

#[tokio::test]
async fn a_missing_or_empty_index_is_an_error_and_no_new_store() {
    let dir = tempfile::tempdir().unwrap();
    let (_, ids) = store(dir.path()).await;
    let index = dir.path().join("index.redb");
    let saved = fs::read(&index).unwrap();
    fs::remove_file(&index).unwrap();
    let error = open(dir.path()).await.unwrap_err();
    assert_eq!(error.code(), "store.index_damaged");
    assert!(error.to_string().contains("missing"), "{error}");
    for content in [&b""[..], b"not an index", &[0; 4096]] {
        fs::write(&index, content).unwrap();
        let error = open(dir.path()).await.unwrap_err();
        assert_eq!(error.code(), "store.index_damaged", "{error}");
    }
    fs::write(&index, saved).unwrap();
    assert!(open(dir.path()).await.unwrap().get(&ids[0]).await.is_ok());
}

/// Whatever a bit in the index does, it is an error or nothing: no wrong bytes, no panic that
/// reaches the caller.
#[tokio::test]
async fn flipped_bits_in_the_index() {
    index_bits(40, 5).await;
}

#[tokio::test]
#[ignore = "heavy: thousands of damaged indexes"]
async fn flipped_bits_in_the_index_often() {
    index_bits(3000, 6).await;
}

async fn index_bits(rounds: usize, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (_, ids) = store(dir.path()).await;
    let index = dir.path().join("index.redb");
    let sound = fs::read(&index).unwrap();
    let used: Vec<_> = (0..sound.len()).filter(|at| sound[*at] != 0).collect();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut found = 0;
    for _ in 0..rounds {
        let mut bytes = sound.clone();
        let at = used[rng.usize(..used.len())];
        bytes[at] ^= 1 << rng.u8(..8);
        fs::write(&index, bytes).unwrap();
        let chamber = match open(dir.path()).await {
            Ok(chamber) => chamber,
            Err(error) => {
                let known = ["store.damaged", "store.version", "store.wrong_seed", "store.io"];
                assert!(known.contains(&error.code()), "byte {at}: {error}");
                found += 1;
                continue;
            }
        };
        let mut hurt = false;
        for (id, data) in ids.iter().zip([value(1, LARGE), value(2, LARGE), value(3, 100)]) {
            match chamber.get(id).await {
                Ok(got) => assert!(got == data, "byte {at}: wrong bytes"),
                Err(_) => hurt = true,
            }
        }
        let verified = chamber.verify(|_, _| {}).await;
        let sees = verified.is_err() || verified.is_ok_and(|report| !report.is_sound());
        assert!(sees || !hurt, "byte {at}: damage that verify does not see");
        found += usize::from(sees);
    }
    // Most of the file is old pages that nothing points to any more.
    assert!(found * 40 > rounds, "only {found} of {rounds} flipped bits did anything");
}

#[tokio::test]
async fn a_missing_record_is_not_taken_for_a_new_chamber() {
    // The record names the seed: without it, another seed could write into the same store.
    let provider = std::sync::Arc::new(stt_store::MemoryProvider::new());
    let chamber = Chamber::on(&key(), provider.clone(), ChamberOptions::default()).await.unwrap();
    chamber.put("x").await.unwrap();
    let record = stt_store::BlobName::new(&[b"mchamber"]).unwrap();
    stt_store::StorageProvider::delete(provider.as_ref(), record).await.unwrap();
    let error = Chamber::on(&key(), provider, ChamberOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "store.damaged");
}

/// What is below a directory, with its contents.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(everything(&path));
        }
        found.push((path.clone(), fs::read(&path).unwrap_or_default()));
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_directory_of_somebody_else_is_refused_and_stays_as_it_was() {
    for made in ["tmp/draft", "tmp/sub/draft", "notes", "files/song", "files/ab/song", "format"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(made).parent().unwrap()).unwrap();
        fs::write(dir.path().join(made), "precious").unwrap();
        let before = everything(dir.path());
        let error = open(dir.path()).await.unwrap_err();
        assert_eq!(error.code(), "store.not_a_store", "{made}: {error}");
        assert_eq!(everything(dir.path()), before, "{made}");
    }
}

#[tokio::test]
async fn only_our_own_files_are_removed_from_tmp() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).await.unwrap());
    let ours = dir.path().join("tmp").join("0123456789abcdef".repeat(2));
    let theirs = dir.path().join("tmp").join("draft");
    fs::write(&ours, "cut off").unwrap();
    fs::write(&theirs, "precious").unwrap();
    let chamber = open(dir.path()).await.unwrap();
    assert!(!ours.exists());
    chamber.collect(false).await.unwrap();
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
}

#[cfg(unix)]
#[tokio::test]
async fn a_linked_tmp_is_not_followed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let theirs = other.path().join("index.redb");
    fs::write(&theirs, "precious").unwrap();
    std::os::unix::fs::symlink(other.path(), dir.path().join("tmp")).unwrap();
    assert_eq!(open(dir.path()).await.unwrap_err().code(), "store.not_a_store");
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
}
