//! Envelopes and files: a good one is damaged as the input says, and must not open.
//!
//! The input is a list of edits of four bytes: kind, position (2), value. The last of the bytes
//! chooses between one slot and many. Whatever was really changed is refused, by every way in.
#![no_main]

use std::{io::Cursor, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use stc::{Context, FileOptions, Key, OpenOptions, SealOptions};

static CONTEXT: LazyLock<Context> =
    LazyLock::new(|| Context::from_key(Key::from_bytes([1; 32])).expect("a context"));
static GOOD: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let seal = |content: &[u8], decoys| {
        CONTEXT.seal(content, &SealOptions::new().use_decoys(decoys)).expect("an envelope")
    };
    let mut file = Vec::new();
    let files = FileOptions::new().chunk_len(65_536);
    CONTEXT
        .encrypt_stream([7; 70_000].as_slice(), None, &mut file, &SealOptions::new(), &files)
        .expect("a file");
    [seal(b"content", false), seal(b"content", true), file]
});

fn damage(bytes: &mut Vec<u8>, edits: &[u8]) {
    for edit in edits.chunks_exact(4) {
        let size = bytes.len().max(1);
        let at = usize::from(u16::from_be_bytes([edit[1], edit[2]])) % size;
        match edit[0] % 5 {
            0 if !bytes.is_empty() => bytes[at] = edit[3],
            1 => bytes.truncate(at),
            2 => bytes.insert(at.min(bytes.len()), edit[3]),
            3 if bytes.len() < 200_000 => bytes.extend_from_within(at.min(bytes.len())..),
            3 => {}
            _ => {
                let end = (at + usize::from(edit[3])).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let options = OpenOptions::new();
    // As it is: hardly ever a header, but nothing may panic.
    let _ = CONTEXT.open(data, &options);
    let Some((which, edits)) = data.split_last() else { return };
    let good = &GOOD[usize::from(*which) % 3];
    let mut bad = good.clone();
    damage(&mut bad, edits);
    let changed = bad != *good;
    assert_eq!(CONTEXT.open(&bad, &options).is_err(), changed);
    let mut out = Vec::new();
    let files = FileOptions::new().workers(1);
    let stream = CONTEXT.decrypt_stream(bad.as_slice(), None, &mut out, &options, &files);
    assert_eq!(stream.is_err(), changed);
    let mut part = Vec::new();
    if CONTEXT.decrypt_range(Cursor::new(&bad), 2..5, &mut part, &options).is_ok() {
        assert!(part == b"nte" || part == [7; 3]);
    }
});
