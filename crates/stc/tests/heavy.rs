//! What takes minutes: `cargo test -p stc --release -- --ignored`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::{
    fs::File,
    io::{self, Read, Write},
};

use common::keyed;
use stc::{FileOptions, OpenError, OpenOptions, SealOptions};

/// So many zeros.
struct Zeros(u64);

impl Read for Zeros {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.0).unwrap_or(usize::MAX).min(out.len());
        out[..len].fill(0);
        self.0 -= len as u64;
        Ok(len)
    }
}

/// Counts, and keeps nothing.
#[derive(Default)]
struct Counter(u64);

impl Write for &mut Counter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0 += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
#[ignore = "heavy: seals 101 GB"]
fn more_than_a_hundred_gigabytes_in_constant_memory() {
    const LEN: u64 = 101_000_000_000;
    let mut counter = Counter::default();
    let files = FileOptions::new().chunk_len(4_194_304);
    let report = keyed()
        .encrypt_stream(Zeros(LEN), Some(LEN), &mut counter, &SealOptions::new(), &files)
        .unwrap();
    assert_eq!(report.chunks, LEN.div_ceil(4_194_304));
    assert_eq!(counter.0, 170 + LEN + 16 * report.chunks + 64);
    assert!(report.peak_memory <= 16 << 20);
    assert_eq!(report.metadata.content_len(Some(counter.0)), Some(LEN));
}

#[test]
#[ignore = "heavy: writes two files of 8 GiB"]
fn eight_gibibytes_on_disk() {
    const LEN: u64 = 8 << 30;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (sealed, opened) = (dir.path().join("sealed"), dir.path().join("opened"));
    let context = keyed();
    let files = FileOptions::new();
    context.encrypt_into(Zeros(LEN), Some(LEN), &sealed, &SealOptions::new(), &files).unwrap();
    let open = OpenOptions::new();
    let report = context.decrypt_file(&sealed, &opened, &open, &files).unwrap();
    assert_eq!((report.bytes, opened.metadata().unwrap().len()), (LEN, LEN));
    assert!(report.peak_memory <= 16 << 20);

    let mut part = Vec::new();
    context.decrypt_range(File::open(&sealed).unwrap(), LEN - 9..LEN, &mut part, &open).unwrap();
    assert_eq!(part, [0; 9]);

    // Cut at a chunk's edge.
    let body = report.metadata.encoded_len() as u64;
    let cut = File::options().write(true).open(&sealed).unwrap();
    cut.set_len(body + 4000 * (1_048_576 + 16)).unwrap();
    let error = context.decrypt_file(&sealed, dir.path().join("cut"), &open, &files).unwrap_err();
    assert!(matches!(error, OpenError::Chunk { chunk: 3999 }), "{error:?}");
    assert!(!dir.path().join("cut").exists());
}
