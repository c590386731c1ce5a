//! Values of any length in constant memory, and range reads that touch only what they need.
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it, and knows its sizes"
)]

use std::{
    ops::Range,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use stc::Key;
use stt_store::{
    BlobName, BlobReader, BlobStat, BlobWriter, BoxFuture, Chamber, ChamberKey, ChamberOptions,
    Keep, MemoryProvider, Op, Source, StorageProvider, StoreError, Swept, Usage,
};
use tokio::io::{AsyncRead, ReadBuf};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What a chunk and a footer take in a blob (`docs/storage.md`, "Sealed blobs").
const SEALED_CHUNK: u64 = (64 << 10) + 16;
const FOOTER: u64 = 100;

fn key() -> ChamberKey {
    ChamberKey::from_key(&Key::from_bytes([5; 32]))
}

/// A value in which each block of 4 KiB says its number, so that no two places look alike.
struct Numbered {
    at: u64,
    len: u64,
    block: Vec<u8>,
}

const BLOCK: u64 = 4096;

impl Numbered {
    fn new(len: u64) -> Self {
        let mut block = vec![0; BLOCK as usize];
        blake3::Hasher::new().update(b"block").finalize_xof().fill(&mut block);
        Self { at: 0, len, block }
    }

    /// Bytes from `at` to the end of its block, or of the value.
    fn piece(&mut self, at: u64) -> &[u8] {
        self.block[..8].copy_from_slice(&(at / BLOCK).to_le_bytes());
        let start = at % BLOCK;
        let end = BLOCK.min(start + (self.len - at));
        &self.block[start as usize..end as usize]
    }

    fn range(&mut self, range: Range<u64>) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), range.start);
        while at < range.end {
            let piece = self.piece(at);
            out.extend_from_slice(&piece[..piece.len().min((range.end - at) as usize)]);
            at = range.start + out.len() as u64;
        }
        out
    }
}

impl AsyncRead for Numbered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while buf.remaining() > 0 && self.at < self.len {
            let at = self.at;
            let piece = self.piece(at);
            let take = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..take]);
            self.at += take as u64;
        }
        Poll::Ready(Ok(()))
    }
}

/// Most memory that this process ever had, in bytes; 0 where that cannot be found out.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// More than this on top of what there was before a value of any length is not constant: four
/// pieces of 1 MiB, the index, and what the allocator keeps.
const MEMORY: u64 = 64 * MIB;

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    largest_write: AtomicU64,
    read: AtomicU64,
}

/// Counts the bytes of streamed blobs and keeps only those of `window` and of the end.
#[derive(Clone, Debug)]
struct Counting {
    below: MemoryProvider,
    counts: Arc<Counts>,
    window: Range<u64>,
    streamed: Arc<Mutex<Option<Streamed>>>,
}

type Streamed = (BlobName, Arc<Kept>);

/// What is left of a blob: pieces, each with its offset.
#[derive(Debug, Default)]
struct Kept {
    len: u64,
    pieces: Vec<(u64, Bytes)>,
}

impl Counting {
    fn new(window: Range<u64>) -> Self {
        Self {
            below: MemoryProvider::new(),
            counts: Arc::default(),
            window,
            streamed: Arc::default(),
        }
    }

    fn kept(&self, name: &BlobName) -> Option<Arc<Kept>> {
        let streamed = self.streamed.lock().unwrap();
        streamed.as_ref().filter(|(at, _)| at == name).map(|(_, kept)| kept.clone())
    }
}

struct CountingWriter {
    provider: Counting,
    kept: Kept,
}

impl BlobWriter for CountingWriter {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        let (counts, window) = (&self.provider.counts, &self.provider.window);
        let (start, len) = (self.kept.len, data.len() as u64);
        counts.written.fetch_add(len, Relaxed);
        counts.largest_write.fetch_max(len, Relaxed);
        self.kept.len += len;
        self.kept.pieces.push((start, data));
        let end = self.kept.len;
        self.kept.pieces.retain(|(at, piece)| {
            let until = at + piece.len() as u64;
            (*at < window.end && until > window.start) || until + 2 * MIB > end
        });
        Box::pin(std::future::ready(Ok(())))
    }

    fn write_all(
        self: Box<Self>,
        _: Source,
    ) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, StoreError>> {
        panic!("only values in memory are written like this")
    }

    fn commit(
        self: Box<Self>,
        name: BlobName,
        also: Vec<Op>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(async move {
            let Self { provider, kept } = *self;
            *provider.streamed.lock().unwrap() = Some((name, Arc::new(kept)));
            provider.below.apply(also).await
        })
    }
}

struct CountingReader {
    kept: Arc<Kept>,
    counts: Arc<Counts>,
}

impl BlobReader for CountingReader {
    fn len(&self) -> u64 {
        self.kept.len
    }

    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, Result<Vec<u8>, StoreError>> {
        self.counts.read.fetch_add(len as u64, Relaxed);
        let (mut out, end) = (Vec::new(), offset + len as u64);
        for (at, piece) in &self.kept.pieces {
            let from = offset.max(*at);
            let to = end.min(at + piece.len() as u64);
            if from < to {
                assert_eq!(from, offset + out.len() as u64, "a piece that was not kept");
                out.extend_from_slice(&piece[(from - at) as usize..(to - at) as usize]);
            }
        }
        assert_eq!(out.len(), len, "bytes that were not kept");
        Box::pin(std::future::ready(Ok(out)))
    }
}

impl StorageProvider for Counting {
    fn apply(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.below.apply(ops)
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, StoreError>> {
        let writer = CountingWriter { provider: self.clone(), kept: Kept::default() };
        Box::pin(std::future::ready(Ok(Box::new(writer) as Box<dyn BlobWriter>)))
    }

    fn reader(&self, name: BlobName) -> BoxFuture<'_, Result<Box<dyn BlobReader>, StoreError>> {
        match self.kept(&name) {
            Some(kept) => {
                let reader = CountingReader { kept, counts: self.counts.clone() };
                Box::pin(std::future::ready(Ok(Box::new(reader) as Box<dyn BlobReader>)))
            }
            None => self.below.reader(name),
        }
    }

    fn stat(&self, name: BlobName) -> BoxFuture<'_, Result<Option<BlobStat>, StoreError>> {
        match self.kept(&name) {
            Some(kept) => Box::pin(std::future::ready(Ok(Some(BlobStat { len: kept.len })))),
            None => self.below.stat(name),
        }
    }

    fn list<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<BlobName>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(BlobName, BlobStat)>, StoreError>> {
        self.below.list(prefix, after, limit)
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.below.usage()
    }

    fn sweep(&self, dry_run: bool) -> BoxFuture<'_, Result<Swept, StoreError>> {
        self.below.sweep(dry_run)
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<StoreError>, StoreError>> {
        self.below.check()
    }

    fn place(&self) -> String {
        "a counter".to_owned()
    }
}

/// Streams `len` bytes to a backend that counts, and reads ranges in the middle.
async fn counted(len: u64) {
    let middle = len / 2;
    // Where the plaintext of the middle lies in the blob.
    let sealed_middle = middle / (64 << 10) * SEALED_CHUNK;
    let provider = Counting::new(sealed_middle.saturating_sub(MIB)..sealed_middle + 4 * MIB);
    let counts = provider.counts.clone();
    let options = ChamberOptions::default();
    let chamber = Chamber::on(&key(), Arc::new(provider), options).await.unwrap();
    let id = chamber.put_reader(Numbered::new(len), Keep::Pinned).await.unwrap();
    // `len` is a power of two, which is not padded.
    let chunks = len / (64 << 10);
    assert_eq!(counts.written.load(Relaxed), chunks * SEALED_CHUNK + FOOTER);
    assert!(counts.largest_write.load(Relaxed) < 2 * MIB, "a piece grows with the value");
    for (range, touched) in [
        (middle..middle + 1, 1),
        (middle + 10..middle + 60_000, 1),
        (middle - 1..middle + 1, 2),
        (middle..middle + 3 * MIB, 48),
        (len - 1..len, 1),
    ] {
        counts.read.store(0, Relaxed);
        let read = chamber.get_range(&id, range.clone()).await.unwrap();
        assert!(read == Numbered::new(len).range(range.clone()), "{range:?}");
        let bytes = counts.read.load(Relaxed);
        assert_eq!(bytes, touched * SEALED_CHUNK + FOOTER, "{range:?} read too much or too little");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_read_touches_only_its_chunks() {
    counted(32 * MIB).await;
}

/// One after the other, because the peak is that of the process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: 8 GiB on disk, 64 GiB through a backend that counts"]
async fn gigabytes_in_constant_memory() {
    counted(GIB).await;
    let before = peak_memory();
    let start = Instant::now();
    counted(64 * GIB).await;
    let grown = peak_memory() - before;
    println!("64 GiB counted: {:.0?}, {} KiB more than for 1 GiB", start.elapsed(), grown >> 10);
    assert!(grown < MEMORY, "{grown}");

    let start = Instant::now();
    let len = 8 * GIB;
    let dir = tempfile::tempdir().unwrap();
    let chamber = Chamber::open(&key(), dir.path(), ChamberOptions::default()).await.unwrap();
    let id = chamber.put_reader(Numbered::new(len), Keep::Pinned).await.unwrap();
    let put = start.elapsed();
    let mut reader = chamber.reader(&id).await.unwrap();
    let (mut hasher, mut read) = (blake3::Hasher::new(), 0);
    while let Some(piece) = reader.next().await.unwrap() {
        read += piece.len() as u64;
        hasher.update(&piece);
    }
    assert_eq!((read, *hasher.finalize().as_bytes()), (len, *id.as_bytes()));
    let range = len / 2 - 7..len / 2 + 100_000;
    let middle = chamber.get_range(&id, range.clone()).await.unwrap();
    assert!(middle == Numbered::new(len).range(range));
    let grown = peak_memory() - before;
    println!(
        "8 GiB on disk: put in {put:.0?}, read after {:.0?}, {} KiB more than for 1 GiB",
        start.elapsed(),
        grown >> 10
    );
    assert!(grown < MEMORY, "{grown}");
}
