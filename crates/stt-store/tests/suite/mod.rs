//! The conformance suite: one function per promise of `StorageProvider`.
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it"
)]

use std::sync::Arc;

use bytes::Bytes;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use stc::Coded;
use stt_store::{BlobName, Op, StorageProvider, StoreError};

type Provider = Arc<dyn StorageProvider>;

/// Checks an empty `provider`, and leaves it empty.
pub(crate) async fn run(provider: Provider) {
    what_was_stored_comes_back(&provider).await;
    absent_blobs_are_absent(&provider).await;
    ranges_are_exact_and_bounded(&provider).await;
    listing_is_ordered_and_paged(&provider).await;
    streams_appear_when_committed(&provider).await;
    given_up_streams_leave_nothing(&provider).await;
    readers_never_mix_two_values(&provider).await;
    changes_apply_in_their_order(&provider).await;
    many_at_once(&provider).await;
    a_random_history_matches_a_map(&provider).await;
    assert_eq!(provider.usage().await.unwrap().bytes(), 0);
    assert_eq!(provider.sweep(true).await.unwrap().files, 0);
    assert_eq!(provider.check().await.unwrap(), []);
}

fn name(text: &str) -> BlobName {
    BlobName::new(&[text.as_bytes()]).unwrap()
}

fn value(seed: u64, len: usize) -> Bytes {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out.into()
}

/// Around every limit: nothing, the index's limit, a piece.
const SIZES: [usize; 9] =
    [0, 1, 4095, 40 << 10, (40 << 10) + 1, 65_536, 1 << 20, (1 << 20) + 1, 3_000_001];

async fn what_was_stored_comes_back(provider: &Provider) {
    for (i, len) in SIZES.into_iter().enumerate() {
        let data = value(i as u64, len);
        provider.store(name("back"), data.clone()).await.unwrap();
        assert_eq!(provider.retrieve(name("back")).await.unwrap(), data, "{len}");
        assert_eq!(provider.stat(name("back")).await.unwrap().unwrap().len, len as u64);
        assert!(provider.exists(name("back")).await.unwrap());
        let usage = provider.usage().await.unwrap();
        assert_eq!((usage.kind(b'b').blobs, usage.bytes()), (1, len as u64));
    }
    provider.delete(name("back")).await.unwrap();
}

async fn absent_blobs_are_absent(provider: &Provider) {
    let absent = name("absent");
    assert_eq!(provider.stat(absent).await.unwrap(), None);
    assert!(!provider.exists(absent).await.unwrap());
    let error = provider.reader(absent).await.err().unwrap();
    assert_eq!(error.code(), "store.not_found");
    assert!(error.to_string().contains(&absent.to_hex()), "{error}");
    provider.delete(absent).await.unwrap();
}

async fn ranges_are_exact_and_bounded(provider: &Provider) {
    for len in [10, 200_000] {
        let data = value(7, len);
        provider.store(name("range"), data.clone()).await.unwrap();
        let reader = provider.reader(name("range")).await.unwrap();
        assert_eq!(reader.len(), len as u64);
        for (offset, take) in [(0, 0), (0, 1), (3, 4), (len - 1, 1), (len, 0), (0, len)] {
            let read = reader.read_at(offset as u64, take).await.unwrap();
            assert_eq!(read, data[offset..offset + take]);
        }
        for (offset, take) in [(0, len + 1), (len as u64, 1), (u64::MAX, 1)] {
            let error = reader.read_at(offset, take).await.unwrap_err();
            assert!(matches!(error, StoreError::Range { .. }), "{error}");
        }
    }
    provider.delete(name("range")).await.unwrap();
}

async fn listing_is_ordered_and_paged(provider: &Provider) {
    let names: Vec<_> = ["la", "laa", "lab", "lb", "lb0", "lc"].map(name).into();
    for name in names.iter().rev() {
        provider.store(*name, Bytes::from_static(b"x")).await.unwrap();
    }
    provider.store(name("k"), Bytes::new()).await.unwrap();
    provider.store(name("m"), Bytes::new()).await.unwrap();
    for limit in 1..8 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = provider.list(b"l", after, limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            seen.extend(page.iter().map(|(name, stat)| (*name, stat.len)));
        }
        assert_eq!(seen, names.iter().map(|name| (*name, 1)).collect::<Vec<_>>(), "{limit}");
    }
    let some = provider.list(b"lb", None, 10).await.unwrap();
    assert_eq!(some.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [name("lb"), name("lb0")]);
    let early = provider.list(b"lb", Some(name("k")), 10).await.unwrap();
    assert_eq!(early.len(), 2, "what comes after a name before the prefix is the whole of it");
    assert_eq!(provider.list(b"lb", Some(name("lc")), 10).await.unwrap(), []);
    let mut ops: Vec<_> = names.iter().map(|name| Op::Delete { name: *name }).collect();
    ops.extend([name("k"), name("m")].map(|name| Op::Delete { name }));
    provider.apply(ops).await.unwrap();
}

async fn streams_appear_when_committed(provider: &Provider) {
    for pieces in [vec![], vec![0], vec![5], vec![1 << 20, 1 << 20, 17]] {
        let mut writer = provider.writer().await.unwrap();
        let mut whole = Vec::new();
        for (i, len) in pieces.into_iter().enumerate() {
            let piece = value(i as u64, len);
            whole.extend_from_slice(&piece);
            writer.write(piece).await.unwrap();
        }
        assert!(!provider.exists(name("stream")).await.unwrap());
        let also = Op::Put { name: name("also"), data: Bytes::from_static(b"also") };
        writer.commit(name("stream"), vec![also]).await.unwrap();
        assert_eq!(provider.retrieve(name("stream")).await.unwrap(), whole);
        assert_eq!(&provider.retrieve(name("also")).await.unwrap()[..], b"also");
        let ops = ["stream", "also"].map(|text| Op::Delete { name: name(text) });
        provider.apply(ops.into()).await.unwrap();
    }
}

async fn given_up_streams_leave_nothing(provider: &Provider) {
    let mut writer = provider.writer().await.unwrap();
    writer.write(value(1, 100_000)).await.unwrap();
    // Being written, it is no leftover.
    assert_eq!(provider.sweep(false).await.unwrap().files, 0);
    drop(writer);
    assert_eq!(provider.usage().await.unwrap().bytes(), 0);
    assert_eq!(provider.sweep(true).await.unwrap().files, 0);
}

async fn readers_never_mix_two_values(provider: &Provider) {
    for len in [1000, 300_000] {
        let old = value(1, len);
        provider.store(name("mix"), old.clone()).await.unwrap();
        let reader = provider.reader(name("mix")).await.unwrap();
        assert_eq!(reader.read_at(0, 10).await.unwrap(), old[..10]);
        provider.store(name("mix"), value(2, len)).await.unwrap();
        if let Ok(rest) = reader.read_at(10, len - 10).await {
            assert_eq!(rest, old[10..], "a mixture");
        }
        assert_eq!(provider.retrieve(name("mix")).await.unwrap(), value(2, len));
        let reader = provider.reader(name("mix")).await.unwrap();
        provider.delete(name("mix")).await.unwrap();
        if let Ok(all) = reader.read_at(0, len).await {
            assert_eq!(all, value(2, len));
        }
        assert!(provider.reader(name("mix")).await.is_err());
    }
}

async fn changes_apply_in_their_order(provider: &Provider) {
    let put = |text: &'static str, len| Op::Put { name: name(text), data: value(3, len) };
    let delete = |text: &'static str| Op::Delete { name: name(text) };
    provider
        .apply(vec![
            put("o1", 5),
            put("o2", 100_000),
            delete("o1"),
            put("o2", 7),
            put("o1", 70_000),
        ])
        .await
        .unwrap();
    assert_eq!(provider.retrieve(name("o1")).await.unwrap(), value(3, 70_000));
    assert_eq!(provider.retrieve(name("o2")).await.unwrap(), value(3, 7));
    assert_eq!(provider.usage().await.unwrap().bytes(), 70_007);
    provider.apply(vec![delete("o1"), delete("o2"), put("o2", 9), delete("o2")]).await.unwrap();
    assert_eq!(provider.usage().await.unwrap().bytes(), 0);
}

async fn many_at_once(provider: &Provider) {
    let tasks: Vec<_> = (0..24u64)
        .map(|i| {
            let provider = provider.clone();
            tokio::spawn(async move {
                let name = name(&format!("t{i}"));
                let data = value(i, if i % 3 == 0 { 90_000 } else { 100 });
                provider.store(name, data.clone()).await.unwrap();
                assert_eq!(provider.retrieve(name).await.unwrap(), data);
                provider.delete(name).await.unwrap();
                assert!(!provider.exists(name).await.unwrap());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize),
    Delete(u8),
    Read(u8),
    List,
}

async fn a_random_history_matches_a_map(provider: &Provider) {
    let step = prop_oneof![
        (0u8..6, prop_oneof![0usize..200, 40_000usize..90_000])
            .prop_map(|(n, len)| Step::Put(n, len)),
        (0u8..6).prop_map(Step::Delete),
        (0u8..6).prop_map(Step::Read),
        Just(Step::List),
    ];
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let steps = prop::collection::vec(step, 150).new_tree(&mut runner).unwrap().current();
    let named = |n: u8| name(&format!("h{n}"));
    let mut map = std::collections::BTreeMap::new();
    for (i, step) in steps.into_iter().enumerate() {
        match step {
            Step::Put(n, len) => {
                let data = value(i as u64, len);
                provider.store(named(n), data.clone()).await.unwrap();
                map.insert(named(n), data);
            }
            Step::Delete(n) => {
                provider.delete(named(n)).await.unwrap();
                map.remove(&named(n));
            }
            Step::Read(n) => match map.get(&named(n)) {
                Some(data) => assert_eq!(&provider.retrieve(named(n)).await.unwrap(), data),
                None => assert!(provider.retrieve(named(n)).await.is_err()),
            },
            Step::List => {
                let listed = provider.list(b"h", None, 100).await.unwrap();
                let listed: Vec<_> = listed.into_iter().map(|(n, stat)| (n, stat.len)).collect();
                let known: Vec<_> = map.iter().map(|(n, data)| (*n, data.len() as u64)).collect();
                assert_eq!(listed, known);
                let bytes: u64 = known.iter().map(|(_, len)| len).sum();
                assert_eq!(provider.usage().await.unwrap().bytes(), bytes);
            }
        }
    }
    for name in map.into_keys() {
        provider.delete(name).await.unwrap();
    }
}
