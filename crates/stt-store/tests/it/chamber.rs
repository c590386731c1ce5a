//! What a chamber promises.
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it, and knows its sizes"
)]

use std::sync::Arc;

use futures_util::TryStreamExt;
use stc::{Coded, Key};
use stt_store::{
    BinaryStorage, Chamber, ChamberKey, ChamberOptions, ContentId, ContentInfo, DiskOptions,
    DiskProvider, FileSource, Keep, MemoryProvider, Problem, StoreError,
};

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([7; 32]))
}

async fn open(dir: &std::path::Path) -> Chamber {
    Chamber::open(&key(), dir, ChamberOptions::default()).await.unwrap()
}

fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Around every limit: padding, inline work, index, chunk, piece, whole.
const SIZES: [usize; 10] =
    [0, 1, 257, 40 << 10, 65_535, 65_537, 1 << 20, 2_500_000, 8 << 20, 9_000_001];

#[tokio::test(flavor = "multi_thread")]
async fn values_of_all_sizes_come_back_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let chamber = open(dir.path()).await;
    for size in SIZES {
        let data = value(1, size);
        let id = chamber.put(data.clone()).await.unwrap();
        assert_eq!(id, ContentId::of(&data));
        assert!(chamber.get(&id).await.unwrap() == data, "{size}");
        let streamed = value(2, size);
        let id = chamber.put_reader(&streamed[..], Keep::Pinned).await.unwrap();
        assert_eq!(id, ContentId::of(&streamed));
        assert!(chamber.get(&id).await.unwrap() == streamed, "{size}");
        let pieces = chamber.reader(&id).await.unwrap().into_stream();
        let pieces: Vec<_> = pieces.try_collect().await.unwrap();
        assert!(pieces.concat() == streamed, "{size}");
    }
    drop(chamber);
    let chamber = open(dir.path()).await;
    for size in SIZES {
        for seed in [1, 2] {
            let data = value(seed, size);
            assert!(chamber.get(&ContentId::of(&data)).await.unwrap() == data);
        }
    }
    let report = chamber.verify(|_, _| {}).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.contents, 2 * SIZES.len() as u64 - 1, "the empty value is one value");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_read_the_right_bytes() {
    let chamber = Chamber::in_memory(&key()).await.unwrap();
    let data = value(3, 3_000_000);
    let id = chamber.put(data.clone()).await.unwrap();
    for range in
        [0..0, 0..1, 65_535..65_537, 100_000..2_900_000, 2_999_999..3_000_000, 0..3_000_000]
    {
        let read = chamber.get_range(&id, range.clone()).await.unwrap();
        assert!(read == data[range.start as usize..range.end as usize], "{range:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "one that is refused")]
    for range in [0..3_000_001, 5..4, u64::MAX..u64::MAX] {
        let error = chamber.get_range(&id, range).await.unwrap_err();
        assert_eq!(error.code(), "store.range");
    }
}

#[tokio::test]
async fn the_same_value_is_stored_once() {
    let chamber = Chamber::in_memory(&key()).await.unwrap();
    let data = value(4, 100_000);
    chamber.put(data.clone()).await.unwrap();
    let before = chamber.stats().await.unwrap();
    chamber.put(data.clone()).await.unwrap();
    chamber.put_reader(&data[..], Keep::Pinned).await.unwrap();
    assert_eq!(chamber.stats().await.unwrap(), before);
    assert_eq!(before.contents, 1);
}

#[tokio::test]
async fn a_wrong_seed_opens_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let id = open(dir.path()).await.put("x").await.unwrap();
    let wrong = ChamberKey::from_key(&Key::from_bytes([8; 32]));
    let error = Chamber::open(&wrong, dir.path(), ChamberOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "store.wrong_seed");
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    assert_eq!(open(dir.path()).await.get(&id).await.unwrap(), "x");
}

#[tokio::test]
async fn a_second_opening_names_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let error = Chamber::open(&key(), dir.path(), ChamberOptions::default()).await.unwrap_err();
    let StoreError::InUse { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(holder.pid, Some(std::process::id()));
    assert!(holder.since.is_some());
    drop(first);
    open(dir.path()).await;
}

#[tokio::test]
async fn names_point_and_keep() {
    let chamber = Chamber::in_memory(&key()).await.unwrap();
    let one = chamber.put_named("a", "one").await.unwrap();
    assert_eq!(chamber.resolve("a").await.unwrap(), one);
    assert_eq!(chamber.get_named("a").await.unwrap(), "one");
    assert_eq!(chamber.remove(&one).await.unwrap_err().code(), "store.still_named");
    chamber.set_name("b", &one).await.unwrap();
    let two = chamber.put_named("a", "two").await.unwrap();
    assert_eq!(chamber.collect(false).await.unwrap().contents, 0, "b still keeps it");
    assert!(chamber.remove_name("b").await.unwrap());
    assert!(!chamber.remove_name("b").await.unwrap());
    assert_eq!(chamber.collect(false).await.unwrap().contents, 1);
    assert!(!chamber.contains(&one).await.unwrap());
    assert!(chamber.contains(&two).await.unwrap());
    let mut names = Vec::new();
    chamber
        .names(|entry| {
            names.push(entry.unwrap().name);
            true
        })
        .await
        .unwrap();
    assert_eq!(names, ["a"]);
    assert_eq!(chamber.resolve("b").await.unwrap_err().code(), "store.not_found");
    assert_eq!(chamber.set_name("c", &one).await.unwrap_err().code(), "store.not_found");
    assert_eq!(chamber.put_named("", "x").await.unwrap_err().code(), "store.entry_name");
    assert_eq!(chamber.resolve(&"x".repeat(1025)).await.unwrap_err().code(), "store.entry_name");
    assert!(chamber.verify(|_, _| {}).await.unwrap().is_sound());
}

#[tokio::test]
async fn only_what_nothing_keeps_is_collected() {
    let chamber = Chamber::in_memory(&key()).await.unwrap();
    let kept = chamber.put("kept").await.unwrap();
    let cached = chamber.put_with("cached", Keep::Cached).await.unwrap();
    let pinned = chamber.put_with("pinned later", Keep::Cached).await.unwrap();
    chamber.pin(&pinned).await.unwrap();
    let unpinned = chamber.put("unpinned").await.unwrap();
    chamber.unpin(&unpinned).await.unwrap();
    let held = chamber.put_with("held", Keep::Cached).await.unwrap();
    let protection = chamber.protect(&held).await.unwrap();
    let read = chamber.put_with("read", Keep::Cached).await.unwrap();
    let reader = chamber.reader(&read).await.unwrap();

    let planned = chamber.collect(true).await.unwrap();
    assert_eq!(planned.contents, 2);
    assert!(chamber.contains(&cached).await.unwrap(), "a dry run removes nothing");
    assert_eq!(chamber.stats().await.unwrap().collectable, 4, "protections are not counted");
    assert_eq!(chamber.collect(false).await.unwrap(), planned);
    for (id, stays) in [
        (kept, true),
        (cached, false),
        (pinned, true),
        (unpinned, false),
        (held, true),
        (read, true),
    ] {
        assert_eq!(chamber.contains(&id).await.unwrap(), stays);
    }
    drop((protection, reader));
    assert_eq!(chamber.collect(false).await.unwrap().contents, 2);
    assert_eq!(chamber.pin(&held).await.unwrap_err().code(), "store.not_found");
}

#[tokio::test]
async fn removing_removes() {
    let chamber = Chamber::in_memory(&key()).await.unwrap();
    let id = chamber.put("x").await.unwrap();
    chamber.remove(&id).await.unwrap();
    assert_eq!(chamber.get(&id).await.unwrap_err().code(), "store.not_found");
    assert_eq!(chamber.remove(&id).await.unwrap_err().code(), "store.not_found");
    assert!(chamber.verify(|_, _| {}).await.unwrap().is_sound());
    assert_eq!(chamber.put("x").await.unwrap(), id);
    assert_eq!(chamber.get(&id).await.unwrap(), "x");
}

/// Puts, pins and reads of the same few values, while collections run all the time: whatever was
/// acknowledged as kept is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collection_never_takes_what_is_being_kept() {
    let dir = tempfile::tempdir().unwrap();
    let chamber = open(dir.path()).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let collector = tokio::spawn({
        let (chamber, stop) = (chamber.clone(), stop.clone());
        async move {
            let mut taken = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                taken += chamber.collect(false).await.unwrap().contents;
                tokio::task::yield_now().await;
            }
            taken
        }
    });
    let keepers: Vec<_> = (0..4u64)
        .map(|who| {
            let chamber = chamber.clone();
            tokio::spawn(async move {
                for round in 0..60u64 {
                    // Each keeper has its own three values, so that nobody unpins another's.
                    let data = value(who * 3 + round % 3, 500);
                    let id = ContentId::of(&data);
                    match round % 4 {
                        0 => {
                            chamber.put(data.clone()).await.unwrap();
                        }
                        1 => {
                            chamber.put_named(&format!("k{who}"), data.clone()).await.unwrap();
                        }
                        2 => {
                            chamber.put_with(data.clone(), Keep::Cached).await.unwrap();
                            // Collected in between, or pinned: never both.
                            match chamber.pin(&id).await {
                                Ok(()) => {}
                                Err(StoreError::NotFound { .. }) => continue,
                                Err(error) => panic!("{error}"),
                            }
                        }
                        _ => {
                            let _protection = chamber.protect(&id).await.unwrap();
                            chamber.put_with(data.clone(), Keep::Cached).await.unwrap();
                            assert_eq!(chamber.get(&id).await.unwrap(), data);
                            continue;
                        }
                    }
                    for _ in 0..3 {
                        assert_eq!(
                            chamber.get(&id).await.unwrap(),
                            data,
                            "who {who} round {round}"
                        );
                    }
                    chamber.remove_name(&format!("k{who}")).await.unwrap();
                    chamber.unpin(&id).await.unwrap();
                }
            })
        })
        .collect();
    for keeper in keepers {
        keeper.await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(collector.await.unwrap() > 0, "the collector had nothing to do, so nothing was tested");
    chamber.collect(false).await.unwrap();
    let report = chamber.verify(|_, _| {}).await.unwrap();
    assert!(report.is_sound() && report.contents == 0, "{report:?}");
}

#[tokio::test]
async fn a_listing_shows_64_names_at_most() {
    let chamber = Chamber::in_memory(&key()).await.unwrap();
    let id = chamber.put_with("x", Keep::Cached).await.unwrap();
    for pinned in [false, true] {
        for name in 0..66 {
            chamber.set_name(&name.to_string(), &id).await.unwrap();
        }
        let mut listed = Vec::new();
        let list = |info: Result<ContentInfo, Problem>| {
            listed.push(info.unwrap());
            true
        };
        chamber.contents(list).await.unwrap();
        assert_eq!((listed[0].pinned, listed[0].names.len()), (pinned, 64));
        chamber.pin(&id).await.unwrap();
    }
}

#[tokio::test]
async fn the_quota_holds() {
    let options = ChamberOptions::default().quota(Some(100_000));
    let provider = Arc::new(MemoryProvider::new());
    let chamber = Chamber::on(&key(), provider, options).await.unwrap();
    let id = chamber.put(value(1, 60_000)).await.unwrap();
    let error = chamber.put(value(2, 60_000)).await.unwrap_err();
    assert!(matches!(error, StoreError::Quota { limit: 100_000, .. }), "{error}");
    let streamed = value(3, 60_000);
    let error = chamber.put_reader(&streamed[..], Keep::Pinned).await.unwrap_err();
    assert_eq!(error.code(), "store.quota");
    assert_eq!(chamber.put(value(1, 60_000)).await.unwrap(), id, "what is there costs nothing");
    chamber.put(value(4, 1000)).await.unwrap();
    chamber.remove(&id).await.unwrap();
    chamber.put(value(2, 60_000)).await.unwrap();
    chamber.set_quota(None);
    chamber.put(value(5, 1_000_000)).await.unwrap();
    assert!(chamber.stats().await.unwrap().quota.is_none());
}

/// What a value took without a limit is enough as the limit, and one byte less is not.
#[tokio::test]
async fn the_quota_is_exact() {
    for len in [0, 1, 65_537, 300_000, (4 << 20) + 1] {
        for way in 0..3 {
            let put = async |quota| {
                let options = ChamberOptions::default().quota(quota);
                let provider = Arc::new(MemoryProvider::new());
                let chamber = Chamber::on(&key(), provider, options).await.unwrap();
                let data = value(1, len);
                let done = match way {
                    0 => chamber.put(data).await,
                    1 => chamber.put_reader(&data[..], Keep::Pinned).await,
                    _ => chamber.put_named("name", data).await,
                };
                (done, chamber.stored_bytes().await.unwrap())
            };
            let (done, stored) = put(None).await;
            done.unwrap();
            let (done, again) = put(Some(stored)).await;
            assert!(done.is_ok() && again == stored, "{len} by way {way}: {done:?}");
            let (done, stored) = put(Some(stored - 1)).await;
            assert_eq!(done.unwrap_err().code(), "store.quota", "{len} by way {way}");
            assert!(stored < 100, "{len} by way {way}: {stored} bytes stayed");
        }
    }
}

#[tokio::test]
async fn a_failing_source_stores_nothing() {
    struct Broken(usize);
    impl tokio::io::AsyncRead for Broken {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if self.0 == 0 {
                return std::task::Poll::Ready(Err(std::io::Error::other("unplugged")));
            }
            self.0 -= 1;
            let n = buf.remaining().min(100_000);
            buf.put_slice(&vec![1; n]);
            std::task::Poll::Ready(Ok(()))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let chamber = open(dir.path()).await;
    let error = chamber.put_reader(Broken(30), Keep::Pinned).await.unwrap_err();
    assert_eq!(error.code(), "store.source");
    assert!(error.to_string().contains("unplugged"));
    let stats = chamber.stats().await.unwrap();
    assert_eq!((stats.contents, stats.leftovers.files), (0, 0));
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_stored_is_not_stored() {
    use tokio::io::AsyncReadExt;
    let dir = tempfile::tempdir().unwrap();
    let chamber = open(dir.path().join("store").as_path()).await;
    let path = dir.path().join("log");
    for change in [
        |file: &std::fs::File| file.set_len(1_000).unwrap(),
        |mut file: &std::fs::File| {
            std::io::Write::write_all(&mut file, b"other").unwrap();
        },
    ] {
        std::fs::write(&path, vec![7; 3 << 20]).unwrap();
        let mut source = FileSource::open(&path).await.unwrap();
        assert_eq!(source.known_len(), Some(3 << 20));
        source.read_exact(&mut [0; 1_000]).await.unwrap();
        change(&std::fs::File::options().write(true).open(&path).unwrap());
        let error = chamber.put_reader(source, Keep::Pinned).await.unwrap_err();
        assert_eq!(error.code(), "store.source");
        assert!(error.to_string().contains("changed while it was read"), "{error}");
    }
    assert_eq!(chamber.stats().await.unwrap().contents, 0);
    let id = chamber.put_file(&path, Keep::Pinned).await.unwrap();
    assert_eq!(chamber.get(&id).await.unwrap(), std::fs::read(&path).unwrap());
}

#[tokio::test]
async fn nothing_on_disk_shows_content_id_or_name() {
    let dir = tempfile::tempdir().unwrap();
    let chamber = open(dir.path()).await;
    let small = b"a very recognisable small value".repeat(3);
    let large = b"a very recognisable large value".repeat(10_000);
    let ids = [
        chamber.put_named("recognisable-name", small).await.unwrap(),
        chamber.put(large).await.unwrap(),
    ];
    drop(chamber);
    let mut needles: Vec<Vec<u8>> = vec![b"recognisable".to_vec()];
    for id in ids {
        needles.push(id.as_bytes().to_vec());
        needles.push(id.to_string().into_bytes());
    }
    let mut stack = vec![dir.path().to_owned()];
    while let Some(path) = stack.pop() {
        let mut haystack = path.to_string_lossy().into_owned().into_bytes();
        if path.is_dir() {
            stack.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            haystack.extend(std::fs::read(&path).unwrap());
        }
        for needle in &needles {
            let found = haystack.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{} shows {:?}", path.display(), String::from_utf8_lossy(needle));
        }
    }
}

/// Pattern 2 of the reference documents: the sensor keeps its own index of addresses.
#[tokio::test]
async fn the_sensor_pattern() {
    let storage = BinaryStorage::in_memory(&key()).await.unwrap();
    let reading = r#"{"temp": 25.3, "humidity": 60, "time": 1234567890}"#;
    let address = storage.store(reading).await.unwrap();
    assert_eq!(storage.retrieve(&address).await.unwrap(), reading);
    assert!(storage.exists(&address).await.unwrap());
    storage.remove(&address).await.unwrap();
    assert_eq!(storage.retrieve(&address).await.unwrap_err().code(), "store.not_found");
}

#[tokio::test]
async fn options_out_of_range_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    let disk = DiskOptions::new().small_max(2 << 20);
    let options = ChamberOptions::new().disk(disk);
    for error in [
        DiskProvider::open(&place, disk).await.unwrap_err(),
        Chamber::open(&key(), &place, options).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "store.setting");
    }
    assert!(!place.exists());
}
