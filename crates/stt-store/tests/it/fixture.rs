//! A store that the first version wrote opens, for ever.
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

use stc::Key;
use stt_store::{Chamber, ChamberKey, ChamberOptions, ContentId, Keep};

const SECTOR: usize = 512;

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([42; 32]))
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn large() -> Vec<u8> {
    (0..50_000u32).map(|i| ((i * i) >> 7) as u8).collect()
}

/// The index is mostly zeros: of it only the sectors with something in them are kept, each after
/// its offset, and the length in front.
fn pack(index: &[u8]) -> Vec<u8> {
    let mut out = (index.len() as u64).to_le_bytes().to_vec();
    for (number, sector) in index.chunks(SECTOR).enumerate() {
        if sector.iter().any(|byte| *byte != 0) {
            out.extend(((number * SECTOR) as u64).to_le_bytes());
            out.extend(sector);
            out.resize(out.len() + SECTOR - sector.len(), 0);
        }
    }
    out
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap()) as usize;
    let mut out = vec![0; number(&packed[..8])];
    for row in packed[8..].chunks(8 + SECTOR) {
        let at = number(&row[..8]);
        let end = (at + SECTOR).min(out.len());
        out[at..end].copy_from_slice(&row[8..8 + end - at]);
    }
    out
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to);
        } else if entry.file_name() == "index.sectors" {
            fs::write(to.with_file_name("index.redb"), unpack(&fs::read(entry.path()).unwrap()))
                .unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn the_first_format_opens() {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture(), dir.path());
    let chamber = Chamber::open(&key(), dir.path(), ChamberOptions::default()).await.unwrap();
    assert_eq!(chamber.get_named("greeting").await.unwrap(), "hello from format 1");
    assert!(chamber.get(&ContentId::of(&large())).await.unwrap() == large());
    assert_eq!(chamber.get(&ContentId::of(b"")).await.unwrap(), "");
    let mut seen = Vec::new();
    let list = |info: Result<stt_store::ContentInfo, _>| {
        let info = info.unwrap();
        seen.push((info.len, info.pinned, info.names));
        true
    };
    chamber.contents(list).await.unwrap();
    seen.sort();
    let expected =
        [(0, false, vec![]), (19, false, vec!["greeting".to_owned()]), (50_000, true, vec![])];
    assert_eq!(seen, expected);
    assert!(chamber.verify(|_, _| {}).await.unwrap().is_sound());
    // What is written now lies beside it.
    chamber.put_named("greeting", "hello again").await.unwrap();
    assert_eq!(chamber.collect(false).await.unwrap().contents, 2);
    assert_eq!(chamber.get_named("greeting").await.unwrap(), "hello again");
    // The first version made directories when it needed them, so these are not all there.
    for seed in 0..8 {
        let id = chamber.put(vec![seed; 100_000]).await.unwrap();
        assert!(chamber.get(&id).await.unwrap()[..] == [seed; 100_000]);
    }
}

/// The default directory, and the key that a phrase gives, must never change either.
#[test]
fn ids_stay() {
    assert_eq!(key().id(), include_str!("../fixtures/v1.id").trim());
    let phrase = ChamberKey::from_seed(&"my_node_secret_32bytes_minimum!".into()).unwrap();
    assert_eq!(phrase.id(), include_str!("../fixtures/v1.phrase.id").trim());
}

/// How the fixture was made. It is not made again: a new format gets a new fixture.
#[tokio::test]
#[ignore = "heavy: writes a new fixture when STT_WRITE_FIXTURE names a directory; does nothing else"]
async fn write_fixture() {
    let Some(dir) = std::env::var_os("STT_WRITE_FIXTURE").map(PathBuf::from) else { return };
    let chamber = Chamber::open(&key(), &dir, ChamberOptions::default()).await.unwrap();
    chamber.put_named("greeting", "hello from format 1").await.unwrap();
    chamber.put(large()).await.unwrap();
    chamber.put_with("", Keep::Cached).await.unwrap();
    drop(chamber);
    let index = dir.join("index.redb");
    let bytes = fs::read(&index).unwrap();
    assert!(unpack(&pack(&bytes)) == bytes);
    fs::write(dir.join("index.sectors"), pack(&bytes)).unwrap();
    for leftover in ["index.redb", "lock", "holder"] {
        fs::remove_file(dir.join(leftover)).unwrap();
    }
    fs::write(dir.with_extension("id"), key().id()).unwrap();
    let phrase = ChamberKey::from_seed(&"my_node_secret_32bytes_minimum!".into()).unwrap();
    fs::write(dir.with_extension("phrase.id"), phrase.id()).unwrap();
}
