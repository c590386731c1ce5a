//! Laws over random input: what parses writes the same bytes, and nothing changed opens.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::Cursor;

use crate::common::keyed;
use proptest::prelude::*;
use stc::{
    ChunkHeader, FileOptions, Header, OpenOptions, SealOptions, State, streaming::StreamMetadata,
};

/// One way to damage bytes.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Move { from: prop::sample::Index, to: prop::sample::Index, len: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    use prop::sample::Index;
    prop_oneof![
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), any::<Index>(), 1..300_usize).prop_map(|(from, to, len)| Damage::Move {
            from,
            to,
            len
        }),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let size = bytes.len();
    match damage {
        Damage::Flip(at, bit) => bytes[at.index(size)] ^= 1 << bit,
        Damage::Cut(at) => bytes.truncate(at.index(size)),
        Damage::Insert(at, new) => {
            let at = at.index(size);
            bytes.splice(at..at, new.iter().copied());
        }
        Damage::Move { from, to, len } => {
            let (from, to) = (from.index(size), to.index(size));
            let len = (*len).min(size - from.max(to));
            bytes.copy_within(from..from + len, to);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_parses_writes_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert!(header.to_bytes() == bytes[..header.encoded_len()]);
        }
        if let Ok(state) = State::from_bytes(&bytes) {
            prop_assert!(state.to_bytes() == bytes);
        }
        for window in bytes.windows(16).take(8) {
            if let Ok(header) = ChunkHeader::from_bytes(window) {
                prop_assert!(header.to_bytes() == window);
            }
        }
        for window in bytes.windows(9).take(8) {
            if let Ok(metadata) = StreamMetadata::from_bytes(window) {
                prop_assert!(metadata.to_bytes() == window);
            }
        }
    }

    #[test]
    fn damaged_headers_write_what_they_parsed(edits in prop::collection::vec(damage(), 1..4)) {
        let context = keyed();
        let mut bytes = context.seal("x", &SealOptions::new()).unwrap();
        edits.iter().for_each(|edit| apply(&mut bytes, edit));
        if let Ok(header) = Header::parse(&bytes) {
            prop_assert!(header.to_bytes() == bytes[..header.encoded_len()]);
        }
    }

    /// The password is empty, so no header can ask for a stretch.
    #[test]
    fn nothing_damaged_opens(
        len in 0..2000_usize,
        decoys in any::<bool>(),
        edits in prop::collection::vec(damage(), 1..4),
    ) {
        let context = keyed();
        let content = vec![3; len];
        let good = context.seal(&content, &SealOptions::new().use_decoys(decoys)).unwrap();
        let mut bad = good.clone();
        edits.iter().for_each(|edit| apply(&mut bad, edit));
        if bad == good {
            prop_assert!(context.open(&bad, &OpenOptions::new()).is_ok());
        } else {
            prop_assert!(context.open(&bad, &OpenOptions::new()).is_err());
            let mut out = Vec::new();
            let (options, files) = (OpenOptions::new(), FileOptions::new());
            let stream = context.decrypt_stream(bad.as_slice(), None, &mut out, &options, &files);
            prop_assert!(stream.is_err());
            // A range may open where the damage is elsewhere; what it gives is then right.
            let mut part = Vec::new();
            let half = 0..(len as u64) / 2;
            if context.decrypt_range(Cursor::new(&bad), half, &mut part, &options).is_ok() {
                prop_assert_eq!(&part[..], &content[..len / 2]);
            }
        }
    }

    #[test]
    fn any_range_is_that_part_of_the_content(
        len in 0..200_000_usize,
        decoys in any::<bool>(),
        ends in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let context = keyed();
        let mut content = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        let files = FileOptions::new().chunk_len(65_536).workers(1);
        let options = SealOptions::new().use_decoys(decoys);
        let mut sealed = Vec::new();
        context
            .encrypt_stream(content.as_slice(), Some(len as u64), &mut sealed, &options, &files)
            .unwrap();
        let (one, two) = (ends.0.index(len + 1), ends.1.index(len + 1));
        let (start, end) = (one.min(two), one.max(two));
        let mut part = Vec::new();
        let range = start as u64..end as u64;
        context.decrypt_range(Cursor::new(&sealed), range, &mut part, &OpenOptions::new()).unwrap();
        prop_assert!(part == content[start..end]);
    }
}
