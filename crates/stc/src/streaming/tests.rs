use proptest::prelude::*;

use super::*;
use crate::{Coded, aead::Suite};

fn key() -> Key {
    Key::from_bytes([5; 32])
}

fn stream(config: StreamingConfig) -> StreamingContext {
    StreamingContext::with_config(key(), config).unwrap()
}

fn pair() -> (StreamingContext, StreamingContext) {
    (stream(StreamingConfig::new()), stream(StreamingConfig::new()))
}

#[test]
fn frames_of_every_interesting_size() {
    let (mut sender, mut receiver) = pair();
    for len in [0, 1, 8191, 8192, 8193, 16_384, 65_536, (1 << 24) - 1] {
        let data = vec![7; len];
        let (header, sealed) = sender.encrypt_chunk(&data).unwrap();
        let pieces = if len > 8192 { len.div_ceil(8192) } else { 1 };
        assert_eq!(sealed.len(), len + 16 * pieces);
        assert_eq!(header.flags & 1, u8::from(len > 8192));
        let header = ChunkHeader::from_bytes(&header.to_bytes()).unwrap();
        assert!(receiver.decrypt_chunk(&header, &sealed).unwrap() == data, "{len}");
        let mut in_place = data.clone();
        let header = sender.encrypt_in_place(&mut in_place).unwrap();
        let mut bad = in_place.clone();
        bad[len / 2] ^= 1;
        assert_eq!(receiver.decrypt_in_place(&header, &mut bad), Err(ChunkError::Forged));
        assert!(bad.is_empty());
        receiver.decrypt_in_place(&header, &mut in_place).unwrap();
        assert!(in_place == data, "{len} in place");
    }
    let refused = sender.encrypt_chunk(&vec![0; 1 << 24]).unwrap_err();
    assert_eq!(refused, ChunkError::TooLarge { got: 1 << 24 });
}

#[test]
fn each_chunk_opens_once() {
    let (mut sender, mut receiver) = pair();
    let (header, sealed) = sender.encrypt_chunk(b"once").unwrap();
    assert_eq!(receiver.decrypt_chunk(&header, &sealed).unwrap(), b"once");
    let again = receiver.decrypt_chunk(&header, &sealed).unwrap_err();
    assert_eq!(again, ChunkError::Replayed { sequence: 0 });
    assert_eq!(receiver.performance_stats().replayed, 1);
}

#[test]
fn any_flipped_bit_is_refused_and_does_no_harm() {
    let (mut sender, mut receiver) = pair();
    for len in [0, 5, 8200] {
        let (header, sealed) = sender.encrypt_chunk(&vec![1; len]).unwrap();
        let header_bytes = header.to_bytes();
        for bit in 0..16 * 8 {
            let mut bad = header_bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            let outcome = ChunkHeader::from_bytes(&bad)
                .and_then(|header| receiver.decrypt_chunk(&header, &sealed));
            assert!(outcome.is_err(), "header bit {bit}");
        }
        for at in (0..sealed.len()).step_by(if len > 100 { 97 } else { 1 }) {
            let mut bad = sealed.clone();
            bad[at] ^= 0x40;
            let mut out = b"kept".to_vec();
            assert!(receiver.decrypt_into(&header, &bad, &mut out).is_err(), "byte {at}");
            assert_eq!(out, b"kept");
        }
        assert_eq!(receiver.decrypt_chunk(&header, &sealed).unwrap(), vec![1; len]);
    }
}

#[test]
fn forged_epochs_take_no_memory() {
    let (_, mut receiver) = pair();
    for number in 0..2000_u32 {
        let header = ChunkHeader {
            sequence: number << 16,
            nonce: u64::from(number) * 7,
            data_length: 4,
            flags: 0,
        };
        assert_eq!(receiver.decrypt_chunk(&header, &[0; 20]), Err(ChunkError::Forged));
    }
    let stats = receiver.performance_stats();
    assert_eq!((stats.epochs_remembered, stats.forged), (0, 2000));
}

#[test]
fn a_forged_split_chunk_costs_one_piece() {
    let (mut sender, mut receiver) = pair();
    let (header, mut sealed) = sender.encrypt_chunk(&vec![0; 1 << 20]).unwrap();
    sealed[0] ^= 1;
    let mut out = Vec::new();
    assert!(receiver.decrypt_into(&header, &sealed, &mut out).is_err());
    assert!(out.capacity() <= 16_384, "{}", out.capacity());
}

#[test]
fn two_senders_and_a_restarted_one_do_not_meet() {
    let (mut first, mut receiver) = pair();
    let (mut second, mut restarted) = pair();
    let mut headers = Vec::new();
    for sender in [&mut first, &mut second, &mut restarted] {
        for number in 0..5_u8 {
            let (header, sealed) = sender.encrypt_chunk(&[number]).unwrap();
            headers.push((header.nonce, header.sequence));
            assert_eq!(receiver.decrypt_chunk(&header, &sealed).unwrap(), [number]);
        }
    }
    headers.sort_unstable();
    headers.dedup();
    assert_eq!(headers.len(), 15);
}

#[test]
fn roles_stop_reflection() {
    let mut left = stream(StreamingConfig::new().role(StreamRole::Initiator));
    let mut right = stream(StreamingConfig::new().role(StreamRole::Responder));
    let (header, sealed) = left.encrypt_chunk(b"hello").unwrap();
    assert_eq!(left.decrypt_chunk(&header, &sealed), Err(ChunkError::Forged));
    assert_eq!(right.decrypt_chunk(&header, &sealed).unwrap(), b"hello");
    let mut neutral = stream(StreamingConfig::new());
    assert_eq!(neutral.decrypt_chunk(&header, &sealed), Err(ChunkError::Forged));
}

#[test]
fn keys_rotate_by_bytes_and_on_demand() {
    let config = StreamingConfig::new().key_rotation_mb(1);
    let mut sender = stream(config);
    let mut receiver = stream(StreamingConfig::new());
    let mut epochs = Vec::new();
    for _ in 0..30 {
        let (header, sealed) = sender.encrypt_chunk(&vec![0; 100_000]).unwrap();
        epochs.push(header.epoch());
        receiver.decrypt_chunk(&header, &sealed).unwrap();
    }
    assert_eq!(epochs, [vec![0; 10], vec![1; 10], vec![2; 10]].concat());
    sender.rotate_key();
    let (header, sealed) = sender.encrypt_chunk(b"").unwrap();
    assert_eq!(header.sequence, 3 << 16);
    receiver.decrypt_chunk(&header, &sealed).unwrap();
    assert_eq!(sender.performance_stats().key_rotations, 3);
    assert_eq!(receiver.performance_stats().epochs_remembered, 4);
}

#[test]
fn the_end_of_an_epoch_and_of_the_sequence() {
    let (mut sender, mut receiver) = pair();
    let before = sender.stream_metadata().nonce;
    sender.sender.jump(65_535);
    for expected in [65_535, 65_536] {
        let (header, sealed) = sender.encrypt_chunk(b"x").unwrap();
        assert_eq!(header.sequence, expected);
        receiver.decrypt_chunk(&header, &sealed).unwrap();
    }
    sender.sender.jump(u64::from(u32::MAX));
    let (header, sealed) = sender.encrypt_chunk(b"last").unwrap();
    assert_eq!((header.sequence, header.nonce), (u32::MAX, before));
    assert_eq!(receiver.decrypt_chunk(&header, &sealed).unwrap(), b"last");
    let (header, sealed) = sender.encrypt_chunk(b"first").unwrap();
    assert_eq!(header.sequence, 0);
    assert_ne!(header.nonce, before);
    assert_eq!(receiver.decrypt_chunk(&header, &sealed).unwrap(), b"first");
}

#[test]
fn what_is_older_than_the_table_is_refused_as_such() {
    let mut sender = stream(StreamingConfig::new());
    let mut receiver = stream(StreamingConfig::new().key_schedule_size(3));
    let mut chunks = Vec::new();
    for _ in 0..5 {
        chunks.push(sender.encrypt_chunk(b"a").unwrap());
        chunks.push(sender.encrypt_chunk(b"b").unwrap());
        sender.rotate_key();
    }
    // The first chunk of each of five epochs; the table holds three.
    for (header, sealed) in chunks.iter().step_by(2) {
        receiver.decrypt_chunk(header, sealed).unwrap();
    }
    for (header, sealed) in &chunks {
        let outcome = receiver.decrypt_chunk(header, sealed);
        let sequence = header.sequence;
        match (header.epoch(), sequence & 1) {
            (0 | 1, _) => assert_eq!(outcome, Err(ChunkError::TooOld { sequence })),
            (_, 0) => assert_eq!(outcome, Err(ChunkError::Replayed { sequence })),
            _ => assert_eq!(outcome.unwrap(), b"b"),
        }
    }
    assert_eq!(receiver.performance_stats().epochs_remembered, 3);
}

#[test]
fn many_senders_are_bounded() {
    let mut receiver = stream(StreamingConfig::new().key_schedule_size(2));
    for _ in 0..epochs::MAX_SENDERS + 50 {
        let (header, sealed) = stream(StreamingConfig::new()).encrypt_chunk(b"x").unwrap();
        receiver.decrypt_chunk(&header, &sealed).unwrap();
    }
    assert_eq!(receiver.performance_stats().epochs_remembered, 2);
    assert_eq!(receiver.epochs.marks().count(), epochs::MAX_SENDERS);
}

#[test]
fn saved_marks_refuse_after_a_restart_what_was_opened_before_it() {
    let (mut sender, mut receiver) = pair();
    let chunks: Vec<_> = (0..200_u8).map(|n| sender.encrypt_chunk(&[n]).unwrap()).collect();
    for (header, sealed) in &chunks[..100] {
        receiver.decrypt_chunk(header, sealed).unwrap();
    }
    let marks = receiver.save_marks().unwrap();
    let mut restarted = stream(StreamingConfig::new());
    restarted.load_marks(&marks).unwrap();
    for (number, (header, sealed)) in chunks.iter().enumerate().rev() {
        let outcome = restarted.decrypt_chunk(header, sealed);
        assert_eq!(outcome.is_ok(), number >= 100, "chunk {number}");
    }
    // Loading over what is known forgets nothing.
    restarted.load_marks(&marks).unwrap();
    for (header, sealed) in &chunks {
        assert!(restarted.decrypt_chunk(header, sealed).is_err());
    }
    let mut other = StreamingContext::new(Key::from_bytes([6; 32])).unwrap();
    assert_eq!(other.load_marks(&marks), Err(ChunkError::Marks(RecordError::Forged)));
    let mut role = stream(StreamingConfig::new().role(StreamRole::Initiator));
    assert_eq!(role.load_marks(&marks), Err(ChunkError::Marks(RecordError::Content)));
}

#[test]
fn metadata_is_nine_bytes_and_pins_the_sender() {
    let mut sender = stream(StreamingConfig::new().initial_depth(3));
    let bytes = sender.stream_metadata().to_bytes();
    assert_eq!(bytes.len(), 9);
    let metadata = StreamMetadata::from_bytes(&bytes).unwrap();
    assert_eq!(metadata.depth, 3);
    let mut receiver = StreamingContext::join(key(), &metadata, StreamingConfig::new()).unwrap();
    let (header, sealed) = sender.encrypt_chunk(b"mine").unwrap();
    assert_eq!(receiver.decrypt_chunk(&header, &sealed).unwrap(), b"mine");
    let (header, sealed) = stream(StreamingConfig::new()).encrypt_chunk(b"other").unwrap();
    assert_eq!(receiver.decrypt_chunk(&header, &sealed), Err(ChunkError::OtherSender));
    let greedy = StreamMetadata { depth: 7, nonce: 1 };
    let refused = StreamingContext::join(key(), &greedy, StreamingConfig::new()).unwrap_err();
    assert_eq!(refused.code(), "chunk.setting");
    for bad in [&bytes[..8], &[0; 9], &[0x10; 9], &[0x21; 9]] {
        assert_eq!(StreamMetadata::from_bytes(bad), Err(ChunkError::Metadata));
    }
}

#[test]
fn the_depth_of_a_phrase_matters_and_metadata_settles_it() {
    let config = |depth| StreamingConfig::new().lattice_size(16).initial_depth(depth);
    let mut sender = StreamingContext::with_config("phrase", config(3)).unwrap();
    let (header, sealed) = sender.encrypt_chunk(b"x").unwrap();
    let mut other = StreamingContext::with_config("phrase", config(2)).unwrap();
    assert_eq!(other.decrypt_chunk(&header, &sealed), Err(ChunkError::Forged));
    let metadata = sender.stream_metadata();
    let mut joined = StreamingContext::join("phrase", &metadata, config(2)).unwrap();
    assert_eq!(joined.decrypt_chunk(&header, &sealed).unwrap(), b"x");
    assert_eq!(joined.performance_stats().cel_depth, 3);
}

#[test]
fn settings_work_and_are_refused_out_of_range_only() {
    let config = StreamingConfig::new;
    let refused = |config| {
        let made = StreamingContext::with_config(key(), config);
        matches!(made, Err(ChunkError::OutOfRange { .. }))
    };
    assert!(refused(config().optimal_chunk_size(1023)));
    assert!(refused(config().optimal_chunk_size((1 << 20) + 1)));
    assert!(refused(config().lattice_size(15)) && refused(config().lattice_size(1025)));
    assert!(refused(config().initial_depth(0)) && refused(config().initial_depth(16)));
    assert!(refused(config().max_depth(0)) && refused(config().max_depth(16)));
    assert!(refused(config().key_schedule_size(0)) && refused(config().key_schedule_size(4097)));
    assert!(refused(config().entropy_pool_size(63)) && refused(config().entropy_pool_size(65_537)));
    assert!(refused(config().key_rotation_mb(0)) && refused(config().key_rotation_mb(60_001)));
    let crossed = config().initial_depth(7);
    assert!(StreamingContext::with_config(key(), crossed).is_err(), "above max_depth");

    for (size, pieces) in [(1024, 98), (10_000, 13), (65_536, 2), (1 << 20, 1)] {
        let mut sender = stream(config().optimal_chunk_size(size));
        let (header, sealed) = sender.encrypt_chunk(&vec![3; 100_000]).unwrap();
        assert_eq!(sealed.len(), 100_000 + 16 * pieces, "{size}");
        let split = if pieces == 1 { 0 } else { pieces as u64 };
        assert_eq!(sender.performance_stats().subchunks_created, split);
        let opened = stream(config()).decrypt_chunk(&header, &sealed).unwrap();
        assert_eq!(opened.len(), 100_000);
    }
    let mut whole = stream(config().enable_adaptive_chunking(false));
    let (header, sealed) = whole.encrypt_chunk(&vec![3; 100_000]).unwrap();
    assert_eq!((header.flags, sealed.len()), (0, 100_016));
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let (header, sealed) = stream(config().suite(suite)).encrypt_chunk(b"x").unwrap();
        assert_eq!(stream(config()).decrypt_chunk(&header, &sealed).unwrap(), b"x");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Within the epochs that the table holds, any subset in any order opens to exactly those
    /// plaintexts, each once.
    #[test]
    fn any_subset_in_any_order_each_once(
        lengths in prop::collection::vec((0..3000_usize, prop::bool::weighted(0.1)), 1..40),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
    ) {
        let (mut sender, _) = pair();
        let mut receiver = stream(StreamingConfig::new().key_schedule_size(40));
        let mut chunks = Vec::new();
        for ((len, rotate), number) in lengths.iter().zip(0_u8..) {
            let data = vec![number; *len];
            if *rotate {
                sender.rotate_key();
            }
            let (header, sealed) = sender.encrypt_chunk(&data).unwrap();
            chunks.push((header, sealed, data, false));
        }
        for pick in picks {
            let at = pick.index(chunks.len());
            let (header, sealed, data, opened) = &mut chunks[at];
            let outcome = receiver.decrypt_chunk(header, sealed);
            if *opened {
                prop_assert_eq!(outcome, Err(ChunkError::Replayed { sequence: header.sequence }));
            } else {
                prop_assert_eq!(outcome.as_ref(), Ok(&*data));
                *opened = true;
            }
        }
    }

    /// Whatever the table's size, nothing opens twice and nothing opens wrong.
    #[test]
    fn nothing_opens_twice_whatever_was_forgotten(
        capacity in 1..4_usize,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..100),
    ) {
        let (mut sender, _) = pair();
        let mut receiver = stream(StreamingConfig::new().key_schedule_size(capacity));
        let mut chunks = Vec::new();
        for number in 0..24_u8 {
            let (header, sealed) = sender.encrypt_chunk(&[number]).unwrap();
            chunks.push((header, sealed, number, false));
            if number % 3 == 2 {
                sender.rotate_key();
            }
        }
        for pick in picks {
            let at = pick.index(chunks.len());
            let (header, sealed, number, opened) = &mut chunks[at];
            match receiver.decrypt_chunk(header, sealed) {
                Ok(data) => {
                    prop_assert!(!*opened && data == [*number]);
                    *opened = true;
                }
                Err(ChunkError::Replayed { .. }) => prop_assert!(*opened),
                Err(ChunkError::TooOld { .. }) => {}
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
