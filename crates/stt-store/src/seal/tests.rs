use proptest::prelude::*;
use stc::Key;

use super::*;
use crate::{ContentId, Damage, DamagedPart};

fn root() -> Key {
    Key::from_bytes([5; 32])
}

/// Not compressible, not constant: a chunk in the wrong place shows.
fn value(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&len.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

const CHUNK: usize = 1 << CHUNK_LOG2;
/// Under, at and over every edge of the format.
const SIZES: [usize; 12] =
    [0, 1, 255, 256, 257, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 7, 5 * CHUNK];

#[test]
fn what_was_sealed_opens_at_every_edge() {
    for size in SIZES {
        let plain = value(size);
        let id = ContentId::of(&plain);
        let blob = seal_small(&root(), id, &plain).unwrap();
        assert_eq!(blob.len() as u64, sealed_len(size as u64), "{size}");
        assert_eq!(open_small(&root(), blob).unwrap(), (id, plain), "{size}");
    }
}

#[test]
fn pieces_make_the_same_chunks_as_the_whole() {
    let plain = value(3 * CHUNK + 5);
    for piece in [1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3] {
        let mut blob = Vec::new();
        let mut sealer = Sealer::begin(&root()).unwrap();
        for part in plain.chunks(piece) {
            sealer.update(part, &mut blob).unwrap();
        }
        sealer.finish(ContentId::of(&plain), &mut blob).unwrap();
        assert_eq!(open_small(&root(), blob).unwrap().1, plain, "{piece}");
    }
}

#[test]
fn two_blobs_of_one_value_have_nothing_in_common() {
    let plain = value(100);
    let id = ContentId::of(&plain);
    let one = seal_small(&root(), id, &plain).unwrap();
    let two = seal_small(&root(), id, &plain).unwrap();
    let same = one.iter().zip(&two).take(one.len() - 12).filter(|(a, b)| a == b).count();
    assert!(same < 20, "{same} bytes agree, where chance explains about 2");
}

#[test]
fn another_key_opens_nothing() {
    let blob = seal_small(&root(), ContentId::of(b"x"), b"x").unwrap();
    let error = open_small(&Key::from_bytes([6; 32]), blob).unwrap_err();
    assert_eq!(error, Damage::Unverified(DamagedPart::Footer));
}

#[test]
fn every_flipped_bit_is_found() {
    let plain = value(300);
    let blob = seal_small(&root(), ContentId::of(&plain), &plain).unwrap();
    for at in 0..blob.len() {
        for bit in 0..8 {
            let mut changed = blob.clone();
            changed[at] ^= 1 << bit;
            assert!(open_small(&root(), changed).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn cut_extended_and_rearranged_blobs_are_found() {
    let plain = value(4 * CHUNK);
    let blob = seal_small(&root(), ContentId::of(&plain), &plain).unwrap();
    let stride = CHUNK + 16;
    for cut in [1, 16, 100, stride, blob.len() - 100, blob.len() - 1, blob.len()] {
        assert!(open_small(&root(), blob[cut..].to_vec()).is_err(), "head {cut}");
        assert!(open_small(&root(), blob[..blob.len() - cut].to_vec()).is_err(), "tail {cut}");
    }
    let mut longer = blob.clone();
    longer.splice(0..0, blob[..stride].iter().copied());
    assert!(open_small(&root(), longer).is_err());
    let mut swapped = blob.clone();
    swapped[..2 * stride].rotate_left(stride);
    assert_eq!(open_small(&root(), swapped).unwrap_err(), Damage::Unverified(DamagedPart::Whole));
}

#[test]
fn a_range_needs_only_its_chunks() {
    let plain = value(5 * CHUNK);
    let blob = seal_small(&root(), ContentId::of(&plain), &plain).unwrap();
    let (body, footer) = blob.split_at(blob.len() - FOOTER_LEN);
    let opened = Opened::new(&root(), footer, blob.len() as u64).unwrap();
    let range = CHUNK as u64 + 10..2 * CHUNK as u64 + 1;
    let chunks = opened.chunks_of(&range);
    assert_eq!(chunks, 1..3);
    let at = opened.blob_range(&chunks);
    assert_eq!(at.end - at.start, 2 * (CHUNK as u64 + 16));
    let at = usize::try_from(at.start).unwrap()..usize::try_from(at.end).unwrap();
    let mut sealed = body[at].to_vec();
    opened.open_chunks(chunks.start, &mut sealed).unwrap();
    assert_eq!(sealed, &plain[CHUNK..3 * CHUNK]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), fit in any::<bool>()) {
        let mut bytes = bytes;
        // Half of the cases look right at the end, so that the parser is entered deeper.
        if fit && bytes.len() >= 12 {
            let at = bytes.len() - 12;
            bytes[at..].copy_from_slice(b"\x01\x10\0\0STTBLOB\x01");
        }
        prop_assert!(open_small(&root(), bytes).is_err());
    }

    #[test]
    fn any_value_comes_back(len in 0usize..200_000, piece in 1usize..100_000) {
        let plain = value(len);
        let mut blob = Vec::new();
        let mut sealer = Sealer::begin(&root()).unwrap();
        for part in plain.chunks(piece) {
            sealer.update(part, &mut blob).unwrap();
        }
        sealer.finish(ContentId::of(&plain), &mut blob).unwrap();
        prop_assert_eq!(blob.len() as u64, sealed_len(len as u64));
        prop_assert_eq!(open_small(&root(), blob).unwrap().1, plain);
    }
}
