//! Every example of the reference chapter "Advanced Usage", in its order, at a cost that suits
//! tests. Where the reference measured a time or a size, the benchmarks do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::common::{self, context};
use stc::{
    ChunkHeader, Context, ContextData, FileOptions, Header, OpenError, OpenOptions, SealOptions,
    State, StreamingConfig, StreamingContext, stretch::Cost,
};

/// A stream with the reference's settings on a small matrix.
fn stream(seed: &str) -> StreamingContext {
    StreamingContext::with_config(seed, StreamingConfig::new().lattice_size(16)).unwrap()
}

fn with_password<'a>() -> SealOptions<'a> {
    SealOptions::new().password("pw")
}

#[test]
fn basic_streaming() {
    let mut stream = stream("session_abc123");
    let (header, encrypted) = stream.encrypt_chunk(b"frame").unwrap();
    assert_eq!(header.to_bytes().len(), 16);
    assert_eq!(stream.decrypt_chunk(&header, &encrypted).unwrap(), b"frame");
}

#[test]
fn session_handshake() {
    let mut server = stream("shared_seed_abc123");
    assert_eq!(server.stream_metadata().to_bytes().len(), 9);
    let mut client = stream("shared_seed_abc123");
    let (header, encrypted) = server.encrypt_chunk(b"hello").unwrap();
    assert_eq!(client.decrypt_chunk(&header, &encrypted).unwrap(), b"hello");
}

#[test]
fn adaptive_chunking() {
    let mut stream = stream("seed");
    let (small, _) = stream.encrypt_chunk(&[b'X'; 4096]).unwrap();
    assert_eq!(small.flags, 0x00);
    let (large, _) = stream.encrypt_chunk(&[b'X'; 65_536]).unwrap();
    assert_eq!(large.flags, 0x01);
    assert_eq!(stream.performance_stats().subchunks_created, 8);
}

#[test]
fn performance_monitoring() {
    let mut stream = stream("seed");
    for _ in 0..40 {
        stream.encrypt_chunk(&[0; 5000]).unwrap();
    }
    let stats = stream.performance_stats();
    assert_eq!(stats.chunks_encrypted, 40);
    assert_eq!(stats.bytes_encrypted, 200_000);
    assert!(stats.encrypt_throughput_mbps > 0.0 && stats.avg_encrypt_ms > 0.0);
    assert_eq!((stats.subchunks_created, stats.cel_depth), (0, 2));
}

#[test]
fn configuration_options() {
    let config = StreamingConfig::new()
        .optimal_chunk_size(8192)
        .enable_adaptive_chunking(true)
        .initial_depth(2)
        .max_depth(6)
        .key_schedule_size(256)
        .entropy_pool_size(1024)
        .key_rotation_mb(10);
    let mut stream = StreamingContext::with_config("session_id", config).unwrap();
    let (header, encrypted) = stream.encrypt_chunk(b"x").unwrap();
    assert_eq!(stream.decrypt_chunk(&header, &encrypted).unwrap(), b"x");
}

#[test]
fn peer_to_peer_streaming() {
    let mut sender = stream("video_session_2024");
    let mut receiver = stream("video_session_2024");
    for frame in [&b"first"[..], &[7; 20_000], b""] {
        let (header, encrypted) = sender.encrypt_chunk(frame).unwrap();
        let packet = [header.to_bytes().as_slice(), &encrypted].concat();
        let header = ChunkHeader::from_bytes(&packet[..16]).unwrap();
        assert_eq!(receiver.decrypt_chunk(&header, &packet[16..]).unwrap(), frame);
    }
}

#[test]
fn large_files_with_progress_and_the_slot_found_beforehand() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("movie.mp4"), vec![9; 3_000_000]).unwrap();
    let context = context("large-file-seed");
    let shown = AtomicU64::new(0);
    let show_progress = |current: u64, total: Option<u64>| {
        assert!(current <= total.unwrap());
        shown.fetch_add(1, Ordering::Relaxed);
    };
    let files = FileOptions::new().chunk_len(1_048_576).durable(false).progress(&show_progress);
    let seal = SealOptions::new().password("strong_password");
    let made = context.encrypt_file(path("movie.mp4"), path("movie.bin"), &seal, &files).unwrap();
    assert_eq!(shown.load(Ordering::Relaxed), 3);
    fs::write(path("movie.bin.meta"), made.metadata.to_bytes()).unwrap();

    let metadata = Header::parse_exact(&fs::read(path("movie.bin.meta")).unwrap()).unwrap();
    let open = OpenOptions::new().password("strong_password");
    let first = &fs::read(path("movie.bin")).unwrap()[..65_536];
    let found = context.find_slot(first, &open.metadata(&metadata)).unwrap();
    assert_eq!((found.index, found.slots), (0, 1));

    let files = FileOptions::new().durable(false);
    let stats =
        context.decrypt_file(path("movie.bin"), path("restored.mp4"), &open, &files).unwrap();
    assert_eq!(fs::read(path("restored.mp4")).unwrap(), vec![9; 3_000_000]);
    assert!(stats.throughput_mbps() > 0.0);
    assert!(stats.peak_memory < 16 << 20);
    assert_eq!(stats.chunks, 3);
}

#[test]
fn the_same_message_differs_by_context() {
    let context = context("my-seed");
    let alice = ContextData::new().with("user", "alice");
    let bob = ContextData::new().with("user", "bob");
    let seal = |data| context.encrypt("Same message", &with_password().context_data(data)).unwrap();
    let ((one, meta_one), (two, _)) = (seal(&alice), seal(&bob));
    assert_ne!(one, two);
    let open = |data| {
        let options = OpenOptions::new().password("pw").context_data(data);
        context.decrypt(&one, &meta_one, &options)
    };
    assert_eq!(open(&alice).unwrap(), "Same message");
    assert!(matches!(open(&bob), Err(OpenError::NothingOpens)));
}

/// Per user, by time, by purpose, by session, by role: what was bound opens, anything else does not.
#[test]
fn context_data_of_every_kind() {
    let context = context("app-seed");
    let cases: [(ContextData, ContextData); 5] = [
        (
            ContextData::new().with("user_id", "alice@example.com"),
            ContextData::new().with("user_id", "bob@example.com"),
        ),
        (
            ContextData::new().with("timestamp", 1_700_000_000),
            ContextData::new().with("timestamp", 1_700_000_001),
        ),
        (
            ContextData::new().with("purpose", "backup"),
            ContextData::new().with("purpose", "sharing"),
        ),
        (
            ContextData::new().with("session_id", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"),
            ContextData::new().with("session_id", "00000000-0000-4000-8000-000000000000"),
        ),
        (
            ContextData::new().with("required_role", "admin").with("user", "alice"),
            ContextData::new().with("required_role", "user").with("user", "alice"),
        ),
    ];
    for (right, wrong) in &cases {
        let (encrypted, metadata) =
            context.encrypt("shared data", &with_password().context_data(right)).unwrap();
        let open = |data| {
            let options = OpenOptions::new().password("pw").context_data(data);
            context.decrypt(&encrypted, &metadata, &options)
        };
        assert_eq!(open(right).unwrap(), "shared data");
        let error = open(wrong).unwrap_err();
        assert!(matches!(error, OpenError::NothingOpens));
        assert!(!error.to_string().contains("slot"));
    }
}

#[test]
fn state_is_saved_and_loaded() {
    let context = context("my-seed");
    let _ = (context.hash(b"operation1", None), context.hash(b"operation2", None));
    context.encrypt("data", &with_password()).unwrap();
    let state = context.save_state().unwrap();
    let State { cel_state, phe_state, pcf_state } = &state;
    assert!([cel_state, phe_state, pcf_state].iter().all(|part| !part.is_empty()));
    let second = common::context("my-seed");
    second.load_state(&state).unwrap();
    assert_eq!(second.hash(b"next", None), context.hash(b"next", None));
}

#[test]
fn a_long_process_resumes_from_its_checkpoint() {
    let items: Vec<String> = (0..30).map(|number| format!("Item {number}")).collect();
    let seal = |context: &Context, item: &String| {
        context.seal(item, &with_password().use_decoys(false)).unwrap()
    };
    let mut checkpoint = None;
    let mut results = Vec::new();
    let context = context("checkpoint-seed");
    for (number, item) in items.iter().enumerate().take(17) {
        results.push(seal(&context, item));
        if number % 10 == 9 {
            checkpoint = Some((context.save_state().unwrap().to_bytes(), number + 1));
        }
    }
    drop(context);
    // The process died; what came after the checkpoint is done again.
    let (state, progress) = checkpoint.unwrap();
    results.truncate(progress);
    let resumed = common::context("checkpoint-seed");
    resumed.load_state(&State::from_bytes(&state).unwrap()).unwrap();
    results.extend(items[progress..].iter().map(|item| seal(&resumed, item)));
    for (item, blob) in items.iter().zip(&results) {
        assert_eq!(resumed.open(blob, &OpenOptions::new().password("pw")).unwrap(), item.as_str());
    }
}

#[test]
fn individual_messages_and_one_batch() {
    let context = context("seed");
    let items = ["item1", "item2", "item3"];
    let open = OpenOptions::new().password("pw");
    for item in items {
        let (encrypted, metadata) = context.encrypt(item, &with_password()).unwrap();
        assert_eq!(context.decrypt(&encrypted, &metadata, &open).unwrap(), item);
    }
    let batch = items.join("\n");
    let (encrypted, metadata) = context.encrypt(&batch, &with_password()).unwrap();
    let restored = context.decrypt(&encrypted, &metadata, &open).unwrap();
    assert_eq!(restored.as_text().unwrap().lines().collect::<Vec<_>>(), items);
}

#[test]
fn a_fast_lattice() {
    let fast = Context::builder("seed").lattice(64, 4).build().unwrap();
    assert_eq!(fast.cost(), Cost::FAST);
    let blob = fast.seal("x", &with_password()).unwrap();
    assert_eq!(fast.open(&blob, &OpenOptions::new().password("pw")).unwrap(), "x");
}

#[test]
#[ignore = "heavy: stretches with 96 and 512 MiB"]
fn balanced_and_strong_lattices() {
    let strong = Context::builder("seed").lattice(256, 8).build().unwrap();
    assert_eq!(strong.cost(), Cost::STRONG);
    let balanced = Context::new("seed").unwrap();
    assert_eq!(balanced.cost(), Cost::DEFAULT);
    let blob = strong.seal("x", &with_password()).unwrap();
    let open = OpenOptions::new().password("pw");
    assert_eq!(strong.open(&blob, &open).unwrap(), "x");
    assert!(matches!(balanced.open(&blob, &open), Err(OpenError::NothingOpens)));
}

#[test]
fn without_decoys() {
    let context = context("seed");
    let (encrypted, metadata) =
        context.encrypt("not sensitive", &with_password().use_decoys(false)).unwrap();
    assert_eq!(metadata.slot_count(), 1);
    let open = OpenOptions::new().password("pw");
    assert_eq!(context.decrypt(&encrypted, &metadata, &open).unwrap(), "not sensitive");
}

#[test]
fn entropy_is_watched_now_and_then() {
    let context = context("my-seed");
    for operations in 0..250 {
        if operations % 100 == 0 && context.entropy_health().quality_score < 0.7 {
            context.update();
        }
        context.encrypt("item", &with_password().use_decoys(false)).unwrap();
    }
    // The seed is weak, and no update mends that.
    assert_eq!(context.epoch(), 3);
    assert!(context.entropy_health().quality_score < 0.7);
}

#[test]
fn chunk_sizes_for_fast_and_slow_disks() {
    let context = context("seed");
    for chunk_len in [4_194_304, 524_288] {
        let files = FileOptions::new().chunk_len(chunk_len);
        let mut sealed = Vec::new();
        let content = vec![1; 600_000];
        context
            .encrypt_stream(content.as_slice(), None, &mut sealed, &with_password(), &files)
            .unwrap();
        let mut opened = Vec::new();
        let open = OpenOptions::new().password("pw");
        context.decrypt_stream(sealed.as_slice(), None, &mut opened, &open, &files).unwrap();
        assert_eq!(opened, content);
    }
}

#[test]
fn one_call_and_no_context() {
    let blob = stc::quick::encrypt("quick", "password").unwrap();
    assert_eq!(stc::quick::decrypt(&blob, "password").unwrap(), "quick");
    assert!(stc::quick::decrypt(&blob, "Password").is_err());
}
