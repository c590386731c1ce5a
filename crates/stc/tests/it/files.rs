//! Files, streams and ranges.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{self, Cursor, Read, Write},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::common::{context, keyed};
use stc::{Context, FileOptions, Header, OpenError, OpenOptions, SealError, SealOptions};

const CHUNK: usize = 65_536;

/// Bytes that differ from one another everywhere.
fn pattern(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

fn small_chunks<'a>() -> FileOptions<'a> {
    FileOptions::new().chunk_len(65_536).durable(false)
}

fn encrypt(context: &Context, data: &[u8], options: &SealOptions<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let len = Some(data.len() as u64);
    context.encrypt_stream(data, len, &mut out, options, &small_chunks()).unwrap();
    out
}

fn decrypt(
    context: &Context,
    sealed: &[u8],
    options: &OpenOptions<'_>,
) -> Result<Vec<u8>, OpenError> {
    let mut out = Vec::new();
    context.decrypt_stream(sealed, None, &mut out, options, &small_chunks())?;
    Ok(out)
}

struct Place {
    _dir: tempfile::TempDir,
    dir: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir: dir.path().to_owned(), _dir: dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn with(&self, name: &str, data: &[u8]) -> PathBuf {
        fs::write(self.path(name), data).unwrap();
        self.path(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn every_interesting_length_comes_back() {
    let context = keyed();
    // Empty, one byte, and under, at and over the edge of one and of two chunks.
    let edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1];
    for len in edges {
        for decoys in [false, true] {
            let data = pattern(len);
            let sealed = encrypt(&context, &data, &SealOptions::new().use_decoys(decoys));
            let opened = decrypt(&context, &sealed, &OpenOptions::new()).unwrap();
            assert!(opened == data, "{len} bytes, decoys {decoys}");
            if !decoys {
                let chunks = len.div_ceil(CHUNK).max(1);
                assert_eq!(sealed.len(), 170 + len + 16 * chunks + 64);
            }
        }
    }
}

#[test]
fn files_cross_with_progress_and_report() {
    let place = Place::new();
    let data = pattern(300_000);
    let input = place.with("movie", &data);
    let context = context("large-file-seed");
    let (calls, last) = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = |done: u64, total: Option<u64>| {
        calls.fetch_add(1, Ordering::Relaxed);
        assert_eq!(total, Some(300_000));
        assert!(last.swap(done, Ordering::Relaxed) < done);
    };
    let made = context
        .encrypt_file(
            &input,
            place.path("movie.stc"),
            &SealOptions::new().password("pw"),
            &small_chunks().progress(&progress),
        )
        .unwrap();
    assert_eq!((made.chunks, made.bytes), (5, 300_000));
    assert_eq!((calls.into_inner(), last.into_inner()), (5, 300_000));
    assert!(made.peak_memory <= FileOptions::BUFFER_LIMIT as u64);

    let options = OpenOptions::new().password("pw");
    let opened = context
        .decrypt_file(place.path("movie.stc"), place.path("restored"), &options, &small_chunks())
        .unwrap();
    assert_eq!((opened.chunks, opened.bytes), (5, 300_000));
    assert_eq!(opened.slot.unwrap().index, 0);
    assert!(opened.throughput_mbps() > 0.0);
    assert!(fs::read(place.path("restored")).unwrap() == data);
    assert_eq!(place.names(), ["movie", "movie.stc", "restored"]);
}

#[test]
fn a_detached_header_is_needed_and_enough() {
    let context = keyed();
    let mut body = Vec::new();
    let options = SealOptions::new();
    let files = small_chunks().detached(true);
    let made = context.encrypt_stream(&b"data"[..], None, &mut body, &options, &files).unwrap();
    assert_eq!(body.len(), 4 + 16 + 64);
    let metadata = Header::parse_exact(&made.metadata.to_bytes()).unwrap();
    let open = OpenOptions::new().metadata(&metadata);
    assert_eq!(decrypt(&context, &body, &open).unwrap(), b"data");
    assert!(decrypt(&context, &body, &OpenOptions::new()).is_err());
    let mut part = Vec::new();
    context.decrypt_range(Cursor::new(&body), 1..3, &mut part, &open).unwrap();
    assert_eq!(part, b"at");
}

#[test]
fn nothing_is_overwritten_unasked_and_nothing_partial_is_left() {
    let place = Place::new();
    let context = keyed();
    let input = place.with("input", &pattern(CHUNK * 3));
    let taken = place.with("taken", b"precious");
    let error =
        context.encrypt_file(&input, &taken, &SealOptions::new(), &small_chunks()).unwrap_err();
    let SealError::Io { source, .. } = error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&taken).unwrap(), b"precious");

    let sealed = place.path("sealed");
    context.encrypt_file(&input, &sealed, &SealOptions::new(), &small_chunks()).unwrap();
    let mut bytes = fs::read(&sealed).unwrap();
    // The last chunk is bad: two good ones were already written to the temporary file.
    let last = bytes.len() - 64 - 20;
    bytes[last] ^= 1;
    fs::write(&sealed, &bytes).unwrap();
    let output = place.path("output");
    let error =
        context.decrypt_file(&sealed, &output, &OpenOptions::new(), &small_chunks()).unwrap_err();
    assert!(matches!(error, OpenError::Chunk { chunk: 2 }), "{error:?}");
    assert!(!output.exists());
    assert_eq!(place.names(), ["input", "sealed", "taken"]);

    let overwrite = small_chunks().overwrite(true);
    context.encrypt_file(&input, &taken, &SealOptions::new(), &overwrite).unwrap();
    context.decrypt_file(&taken, &taken, &OpenOptions::new(), &overwrite).unwrap();
    assert!(fs::read(&taken).unwrap() == pattern(CHUNK * 3), "a file may replace itself");
}

#[cfg(unix)]
#[test]
fn decrypted_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let context = keyed();
    let input = place.with("input", b"secret");
    let (sealed, output) = (place.path("sealed"), place.path("output"));
    context.encrypt_file(&input, &sealed, &SealOptions::new(), &FileOptions::new()).unwrap();
    context.decrypt_file(&sealed, &output, &OpenOptions::new(), &FileOptions::new()).unwrap();
    assert_eq!(fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn cut_off_at_every_edge_and_in_between() {
    let context = keyed();
    for decoys in [false, true] {
        let sealed =
            encrypt(&context, &pattern(CHUNK * 2 + 9), &SealOptions::new().use_decoys(decoys));
        let body = Header::parse(&sealed).unwrap().encoded_len();
        let edges =
            (0..).map(|chunk| body + chunk * (CHUNK + 16)).take_while(|at| *at <= sealed.len());
        for edge in edges {
            for cut in edge.saturating_sub(17)..=edge + 17 {
                if cut < sealed.len() {
                    assert!(
                        decrypt(&context, &sealed[..cut], &OpenOptions::new()).is_err(),
                        "{cut}"
                    );
                }
            }
        }
        for cut in sealed.len() - 300..sealed.len() {
            assert!(decrypt(&context, &sealed[..cut], &OpenOptions::new()).is_err(), "{cut}");
        }
    }
}

#[test]
fn chunks_swapped_repeated_dropped_and_appended() {
    let context = keyed();
    let sealed = encrypt(&context, &pattern(CHUNK * 4), &SealOptions::new());
    let chunk = |index: usize| &sealed[170 + index * (CHUNK + 16)..][..CHUNK + 16];
    let (head, trailers) = (&sealed[..170], &sealed[sealed.len() - 64..]);
    let build = |order: &[usize], extra: &[u8]| {
        let mut out = head.to_vec();
        order.iter().for_each(|index| out.extend(chunk(*index)));
        out.extend(trailers);
        out.extend(extra);
        decrypt(&context, &out, &OpenOptions::new())
    };
    assert!(build(&[0, 1, 2, 3], b"").is_ok());
    let orders: [&[usize]; 7] = [
        &[1, 0, 2, 3],
        &[0, 1, 3, 2],
        &[0, 0, 2, 3],
        &[0, 1, 2, 3, 3],
        &[0, 1, 2],
        &[0, 1, 3],
        &[3],
    ];
    for order in orders {
        assert!(build(order, b"").is_err(), "{order:?}");
    }
    assert!(build(&[0, 1, 2, 3], b"x").is_err());
    assert!(build(&[0, 1, 2, 3], trailers).is_err());
}

#[test]
fn one_flipped_bit_at_every_position_of_a_small_file() {
    let context = context("seed");
    let real = SealOptions::new().password("real").decoy("decoy", "harmless");
    for (options, password) in
        [(SealOptions::new(), None), (real.clone(), Some("real")), (real, Some("decoy"))]
    {
        let sealed = encrypt(&context, b"a small file", &options);
        let open = match password {
            Some(password) => OpenOptions::new().password(password),
            None => OpenOptions::new(),
        };
        assert!(decrypt(&context, &sealed, &open).is_ok());
        for at in 0..sealed.len() {
            for bit in 0..8 {
                if password.is_some() && bit != at % 8 {
                    continue;
                }
                // A header that asks for much memory is legal, and slow to refuse.
                if password.is_some() && (7..10).contains(&at) {
                    continue;
                }
                let mut bad = sealed.clone();
                bad[at] ^= 1 << bit;
                assert!(decrypt(&context, &bad, &open).is_err(), "byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_file_that_changes_while_it_is_encrypted_gives_nothing() {
    let place = Place::new();
    let context = keyed();
    let (input, output) = (place.with("log", &pattern(4 << 20)), place.path("out"));
    let changed = AtomicU64::new(0);
    // The first chunk is done long before the last one is read.
    let rewrite = |_: u64, _: Option<u64>| {
        if changed.fetch_add(1, Ordering::Relaxed) == 0 {
            fs::write(&input, pattern(4 << 20)).unwrap();
        }
    };
    let truncate = |_: u64, _: Option<u64>| {
        fs::File::options().write(true).open(&input).unwrap().set_len(1000).unwrap();
    };
    let changes: [&(dyn Fn(u64, Option<u64>) + Sync); 2] = [&rewrite, &truncate];
    for change in changes {
        for options in [SealOptions::new(), SealOptions::new().use_decoys(true)] {
            changed.store(0, Ordering::Relaxed);
            fs::write(&input, pattern(4 << 20)).unwrap();
            let made = context.encrypt_file(
                &input,
                &output,
                &options,
                &small_chunks().workers(1).progress(change),
            );
            assert!(matches!(made, Err(SealError::Changed)), "{made:?}");
            assert_eq!(place.names(), ["log"]);
        }
    }
}

#[test]
fn a_decoy_is_a_file() {
    let place = Place::new();
    let context = keyed();
    let input = place.with("a", b"real");
    let options = SealOptions::new().password("pw").decoy_file("other", &place.dir);
    let made = context.encrypt_file(&input, place.path("out"), &options, &small_chunks());
    assert!(matches!(made, Err(SealError::Io { what: "read a decoy", .. })), "{made:?}");
}

#[test]
fn ranges_read_what_they_name() {
    let context = context("seed");
    let data = pattern(CHUNK * 3 + 100);
    let len = data.len() as u64;
    let plain = encrypt(&context, &data, &SealOptions::new().password("pw"));
    let hidden = encrypt(&context, &data, &SealOptions::new().password("pw").decoy("other", "x"));
    let open = OpenOptions::new().password("pw");
    for sealed in [&plain, &hidden] {
        let read = |range: std::ops::Range<u64>| {
            let mut out = Vec::new();
            context.decrypt_range(Cursor::new(sealed), range, &mut out, &open).map(|_| out)
        };
        let edge = CHUNK as u64;
        for range in
            [0..0, 0..1, edge - 1..edge + 1, edge..2 * edge, 5..len, 0..len, len - 1..len, len..len]
        {
            let expected =
                &data[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            assert!(read(range.clone()).unwrap() == expected, "{range:?}");
        }
        for range in [0..len + 1, len + 1..len + 2, u64::MAX - 1..u64::MAX] {
            assert!(matches!(read(range), Err(OpenError::Range { .. })));
        }
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        let backwards = read(2..1);
        assert!(matches!(backwards, Err(OpenError::Range { .. })));
    }
    // Cut at a chunk's edge: even a range before the cut is refused, because the length is wrong.
    let mut cut = plain[..plain.len() - 64 - 116].to_vec();
    cut.extend(&plain[plain.len() - 64..]);
    let mut out = Vec::new();
    assert!(context.decrypt_range(Cursor::new(&cut), 0..10, &mut out, &open).is_err());
    assert!(out.is_empty());
}

#[test]
fn lengths_that_change_and_lengths_unknown() {
    let context = keyed();
    let hide = SealOptions::new().use_decoys(true);
    let attempt = |len: Option<u64>| {
        context.encrypt_stream(&[1; 100][..], len, io::sink(), &hide, &small_chunks()).map(|_| ())
    };
    assert!(attempt(Some(100)).is_ok());
    assert!(matches!(attempt(None), Err(SealError::UnknownLength)));
    assert!(matches!(attempt(Some(99)), Err(SealError::LengthChanged { expected: 99 })));
    assert!(matches!(attempt(Some(101)), Err(SealError::LengthChanged { expected: 101 })));
}

#[test]
fn chunk_lengths_have_bounds() {
    let context = keyed();
    for (chunk_len, fits) in
        [(65_535, false), (65_536, true), (1_000_000, true), (4_194_304, true), (4_194_305, false)]
    {
        let files = FileOptions::new().chunk_len(chunk_len);
        let outcome =
            context.encrypt_stream(&b"x"[..], None, io::sink(), &SealOptions::new(), &files);
        match outcome {
            Ok(report) => assert!(fits && report.peak_memory <= FileOptions::BUFFER_LIMIT as u64),
            Err(SealError::ChunkLen { got }) => assert!(!fits && got == chunk_len),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Gives little at a time, and is interrupted now and then.
struct Trickle<'a>(&'a [u8], u8);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = self.1.wrapping_add(1);
        if self.1.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = out.len().min(1 + usize::from(self.1) * 97).min(self.0.len());
        out[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

#[test]
fn readers_that_trickle_give_the_same() {
    let context = keyed();
    let data = pattern(CHUNK * 2 + 77);
    let mut sealed = Vec::new();
    context
        .encrypt_stream(Trickle(&data, 0), None, &mut sealed, &SealOptions::new(), &small_chunks())
        .unwrap();
    let mut opened = Vec::new();
    context
        .decrypt_stream(
            Trickle(&sealed, 3),
            None,
            &mut opened,
            &OpenOptions::new(),
            &small_chunks(),
        )
        .unwrap();
    assert!(opened == data);
}

/// Fails after so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(data.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_as_such() {
    let context = keyed();
    let data = pattern(CHUNK * 5);
    for room in [0, 100, 170, CHUNK * 2, CHUNK * 5 + 200] {
        let outcome = context.encrypt_stream(
            data.as_slice(),
            None,
            Full(room),
            &SealOptions::new(),
            &small_chunks(),
        );
        let Err(SealError::Io { source, .. }) = outcome else { panic!("room for {room}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }
}
