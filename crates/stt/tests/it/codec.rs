//! Encoder and decoder over carriers that reorder, repeat, lose and forge.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use bytes::Bytes;
use proptest::prelude::*;
use stc::Key;
use stt::{
    SessionId,
    codec::{
        Arrival, CodecConfig, CodecError, CodecMode, CodecRole, Credit, Segment, StreamDecoder,
        StreamEncoder,
    },
};

const STREAM: u32 = 7;

fn root() -> Key {
    Key::from_bytes([5; 32])
}

fn session() -> SessionId {
    SessionId::from_bytes([9; 8])
}

fn small() -> CodecConfig {
    CodecConfig::new().segment_size(16).window(8)
}

fn pair(config: CodecConfig) -> (StreamEncoder, StreamDecoder) {
    (
        StreamEncoder::new(&root(), session(), STREAM, config).unwrap(),
        StreamDecoder::new(&root(), session(), STREAM, config).unwrap(),
    )
}

fn feed(decoder: &mut StreamDecoder, segments: &[Segment]) {
    for segment in segments {
        decoder.receive_segment(segment.bytes.clone()).unwrap();
    }
}

/// All that may be made now.
fn ready(encoder: &mut StreamEncoder) -> Vec<Segment> {
    let mut segments = Vec::new();
    loop {
        match encoder.poll_segment() {
            Ok(Some(segment)) => segments.push(segment),
            Ok(None) | Err(CodecError::Blocked { .. }) => return segments,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn live_bytes_become_segments_at_once_and_the_end_is_marked() {
    let (mut encoder, mut decoder) = pair(small());
    let segments = encoder.send(&b"hello"[..]).unwrap();
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].bytes.len(), 5 + Segment::OVERHEAD);
    feed(&mut decoder, &segments);
    assert_eq!(decoder.receive_all(), "hello");
    feed(&mut decoder, &encoder.send(vec![1; 40]).unwrap());
    assert!(!decoder.is_finished());
    feed(&mut decoder, &encoder.finish().unwrap());
    assert_eq!(decoder.receive_all(), vec![1; 40]);
    assert!(decoder.is_finished() && encoder.is_finished());
    assert_eq!(encoder.push(&b"x"[..]), Err(CodecError::Finished));
    assert_eq!(decoder.stats().bytes, 45);
}

#[test]
fn a_stated_length_is_kept() {
    let config = small().mode(CodecMode::Bounded { length: 40 });
    let (mut encoder, mut decoder) = pair(config);
    assert!(encoder.send(vec![1; 10]).unwrap().is_empty(), "not a full segment yet");
    assert_eq!(encoder.finish(), Err(CodecError::Length { stated: 40, got: 10 }));
    assert_eq!(encoder.push(vec![1; 31]), Err(CodecError::Length { stated: 40, got: 41 }));
    let segments = encoder.send(vec![1; 30]).unwrap();
    let lengths: Vec<usize> =
        segments.iter().map(|it| it.bytes.len() - Segment::OVERHEAD).collect();
    assert_eq!(lengths, [16, 16, 8]);
    assert!(segments[2].last && encoder.is_finished());
    feed(&mut decoder, &segments);
    assert_eq!(decoder.receive_all(), vec![1; 40]);
    assert!(decoder.is_finished());
}

#[test]
fn credit_bounds_what_is_under_way_and_comes_back_as_bytes_are_taken() {
    let (mut encoder, mut decoder) = pair(small());
    encoder.push(vec![3; 16 * 20]).unwrap();
    let first = ready(&mut encoder);
    assert_eq!((first.len(), encoder.credit_left()), (8, 0));
    assert_eq!(encoder.stats().waiting, 16 * 12);
    feed(&mut decoder, &first);
    let mut got = decoder.receive_all().len();
    while encoder.stats().waiting > 0 {
        encoder.grant(decoder.credit());
        encoder.grant(Credit { generation: 0, limit: 1 });
        feed(&mut decoder, &ready(&mut encoder));
        got += decoder.receive_all().len();
    }
    assert_eq!(got, 16 * 20);
    // Without credit at most MAX_WAITING wait.
    let (mut encoder, _) = pair(small());
    encoder.push(vec![0; StreamEncoder::MAX_WAITING]).unwrap();
    assert!(matches!(encoder.push(&b"x"[..]), Err(CodecError::Full { .. })));
}

#[test]
fn without_credit_nothing_is_taken_and_the_error_says_so() {
    let (mut encoder, mut decoder) = pair(small());
    for _ in 0..8 {
        feed(&mut decoder, &encoder.send(vec![1; 16]).unwrap());
    }
    let blocked = |needed, credit| Err(CodecError::Blocked { needed, credit });
    assert!(!encoder.is_blocked(), "nothing is there to be sealed");
    assert_eq!(encoder.send(vec![1; 17]), blocked(2, 0));
    assert_eq!(encoder.stats().waiting, 0, "what was refused is not kept");
    assert_eq!(encoder.finish(), blocked(1, 0));
    assert!(decoder.next_bytes().is_some());
    encoder.grant(decoder.credit());
    assert_eq!(encoder.send(vec![1; 17]), blocked(2, 1));
    feed(&mut decoder, &encoder.send(vec![1; 16]).unwrap());
    // Piece by piece: what waits is said to wait, the end included.
    encoder.push(vec![1; 16]).unwrap();
    encoder.end().unwrap();
    let waits = Err(CodecError::Blocked { needed: 1, credit: 0 });
    assert_eq!(encoder.poll_segment(), waits);
    assert!(encoder.is_blocked());
    decoder.receive_all();
    encoder.grant(decoder.credit());
    feed(&mut decoder, &ready(&mut encoder));
    assert_eq!(decoder.receive_all().len(), 16);
    assert!(decoder.is_finished() && encoder.is_finished() && !encoder.is_blocked());
    assert_eq!(encoder.finish(), Ok(Vec::new()), "it has ended");
}

#[test]
fn without_flow_control_it_never_waits_for_credit() {
    let config = small().flow_control(false);
    let (mut encoder, mut decoder) = pair(config);
    for round in 0..2 {
        for _ in 0..10_000 {
            feed(&mut decoder, &encoder.send(vec![round; 16]).unwrap());
            assert_eq!(decoder.receive_all(), vec![round; 16]);
        }
        encoder.reset().unwrap();
    }
    // Who does not take what came is told; nothing is lost without a word.
    let segments = encoder.send(vec![3; 16 * 9]).unwrap();
    feed(&mut decoder, &segments[..8]);
    assert_eq!(
        decoder.receive_segment(segments[8].bytes.clone()),
        Err(CodecError::BeyondCredit { sequence: 8, limit: 8 })
    );
}

#[test]
fn credit_travels_as_bytes_and_knows_which_start_it_is_for() {
    let (mut encoder, mut decoder) = pair(small());
    for generation in 0..3 {
        feed(&mut decoder, &encoder.send(vec![1; 16 * 8]).unwrap());
        decoder.receive_all();
        let bytes = decoder.credit().to_bytes();
        let credit = Credit::from_bytes(&bytes).unwrap();
        assert_eq!(credit, Credit { generation, limit: 16 });
        encoder.grant(credit);
        assert_eq!(encoder.credit_left(), 8);
        encoder.reset().unwrap();
        encoder.grant(credit);
        assert_eq!(encoder.credit_left(), 8, "that of the start before adds nothing");
    }
    let bytes = Credit { generation: 0x0102_0304, limit: 5 }.to_bytes();
    assert_eq!(bytes, [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5]);
    for len in [0, 8, 11, 13] {
        assert_eq!(Credit::from_bytes(&vec![0; len]), Err(CodecError::Malformed));
    }
}

#[test]
fn small_pieces_wait_within_the_same_memory_as_large_ones() {
    let (mut encoder, _) = pair(small());
    let credit = encoder.credit_left();
    for _ in 0..credit {
        encoder.send(vec![7; 16]).unwrap();
    }
    let most = StreamEncoder::MAX_WAITING / (StreamEncoder::PIECE + 1);
    let bytes = Bytes::from(vec![7; 2]);
    let mut taken = 0;
    let full = loop {
        match encoder.push(bytes.slice(..1)) {
            Ok(()) => taken += 1,
            Err(full) => break full,
        }
        assert!(taken <= most, "{taken} pieces");
    };
    assert_eq!(taken, most);
    let limit = StreamEncoder::MAX_WAITING;
    assert_eq!(full, CodecError::Full { waiting: most * (StreamEncoder::PIECE + 1), limit });
    assert_eq!(encoder.stats().waiting, most);
    // Nothing more is refused than what would add to it.
    encoder.push(Bytes::new()).unwrap();
    encoder.grant(Credit { generation: 0, limit: credit + 1 });
    assert!(encoder.poll_segment().unwrap().is_some());
    encoder.push(bytes).unwrap();
}

#[test]
fn what_is_beyond_the_credit_is_refused() {
    let (mut encoder, mut decoder) = pair(small());
    encoder.grant(Credit { generation: 0, limit: 100 });
    let segments = encoder.send(vec![3; 16 * 10]).unwrap();
    assert_eq!(
        decoder.receive_segment(segments[8].bytes.clone()),
        Err(CodecError::BeyondCredit { sequence: 8, limit: 8 })
    );
    feed(&mut decoder, &segments[..1]);
    decoder.receive_all();
    feed(&mut decoder, &segments[8..9]);
}

#[test]
fn a_reset_begins_anew_and_the_past_stays_past() {
    let (mut encoder, mut decoder) = pair(small());
    let old = encoder.send(vec![1; 64]).unwrap();
    feed(&mut decoder, &old[1..3]);
    let before = decoder.credit();
    encoder.reset().unwrap();
    encoder.grant(Credit { limit: 1_000, ..before });
    assert_eq!(encoder.credit_left(), 8, "credit from before the reset");
    let new = encoder.send(&b"new"[..]).unwrap();
    assert_eq!(decoder.receive_segment(new[0].bytes.clone()), Ok(Arrival::Reset));
    assert_eq!(decoder.receive_segment(old[3].bytes.clone()), Err(CodecError::Stale));
    assert_eq!(decoder.receive_all(), "new");
    assert_eq!(decoder.stats().resets, 1);
    // An encoder that lost its memory shares no key with the first one, and does not pass as it.
    let (mut restarted, _) = pair(small());
    let again = restarted.send(vec![1; 16]).unwrap();
    assert_ne!(again[0].bytes, old[0].bytes);
    assert_eq!(decoder.receive_segment(again[0].bytes.clone()), Err(CodecError::Stale));
}

#[test]
fn another_key_session_stream_or_role_is_forged() {
    let (mut encoder, _) = pair(small().role(CodecRole::Initiator));
    let segment = encoder.send(&b"x"[..]).unwrap()[0].bytes.clone();
    let config = small().role(CodecRole::Initiator);
    let other_session = SessionId::from_bytes([8; 8]);
    let wrong = [
        StreamDecoder::new(&Key::from_bytes([6; 32]), session(), STREAM, config).unwrap(),
        StreamDecoder::new(&root(), other_session, STREAM, config).unwrap(),
        StreamDecoder::new(&root(), session(), STREAM + 1, config).unwrap(),
        StreamDecoder::new(&root(), session(), STREAM, config.role(CodecRole::Responder)).unwrap(),
        StreamDecoder::new(&root(), session(), STREAM, small()).unwrap(),
    ];
    for mut decoder in wrong {
        assert_eq!(decoder.receive_segment(segment.clone()), Err(CodecError::Forged));
    }
    let mut right = StreamDecoder::new(&root(), session(), STREAM, config).unwrap();
    for at in 0..segment.len() {
        let mut changed = segment.to_vec();
        changed[at] ^= 1;
        assert!(right.receive_segment(changed).is_err(), "byte {at}");
    }
    assert_eq!(right.receive_segment(segment), Ok(Arrival::New));
}

#[test]
fn missing_segments_can_be_skipped() {
    let (mut encoder, mut decoder) = pair(small());
    let segments = encoder.send(vec![1; 64]).unwrap();
    feed(&mut decoder, &segments[2..]);
    assert!(decoder.receive_all().is_empty());
    assert_eq!(decoder.skip_missing(), 2);
    assert_eq!(decoder.receive_all(), vec![1; 32]);
    assert_eq!(decoder.receive_segment(segments[0].bytes.clone()), Ok(Arrival::Duplicate));
    assert_eq!(decoder.skip_missing(), 0);
}

#[test]
fn settings_have_ranges() {
    for (config, named) in [
        (CodecConfig::new().segment_size(15), "segment_size"),
        (CodecConfig::new().segment_size((1 << 20) + 1), "segment_size"),
        (CodecConfig::new().window(0), "window"),
        (CodecConfig::new().window(65_537), "window"),
    ] {
        let refused = [
            StreamEncoder::new(&root(), session(), STREAM, config).err().unwrap(),
            StreamDecoder::new(&root(), session(), STREAM, config).err().unwrap(),
        ];
        for error in refused {
            assert!(matches!(error, CodecError::OutOfRange { what, .. } if what == named));
        }
    }
    let (mut encoder, _) = pair(small().segment_size(32));
    let (_, mut decoder) = pair(small());
    let segment = encoder.send(vec![0; 32]).unwrap()[0].bytes.clone();
    let refused = decoder.receive_segment(segment);
    assert_eq!(refused, Err(CodecError::TooLarge { got: 32, limit: 16 }));
}

proptest! {
    /// Whatever the carrier does, what comes out is a part of what went in, in order and without a
    /// wrong byte, and what is held stays within the window.
    #[test]
    fn any_order_repeats_and_losses(
        length in 1_usize..2_000, seed in any::<u64>(), loss in 0_u8..4, shared in any::<bool>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let sent: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        let (mut encoder, mut decoder) = pair(small());
        let mut unsent = Bytes::from(sent.clone());
        let mut carrier: Vec<Bytes> = Vec::new();
        let mut lost: Vec<Bytes> = Vec::new();
        let mut got = Vec::new();
        let mut steps = 0;
        while !decoder.is_finished() {
            steps += 1;
            prop_assert!(steps < 100_000, "no progress");
            if unsent.is_empty() {
                encoder.end().unwrap();
            } else {
                encoder.push(unsent.split_to(random.usize(1..=unsent.len().min(50)))).unwrap();
            }
            carrier.extend(ready(&mut encoder).into_iter().map(|it| it.bytes));
            random.shuffle(&mut carrier);
            for segment in carrier.drain(..) {
                if random.u8(..10) < loss {
                    lost.push(segment);
                    continue;
                }
                let copies = if random.bool() { 2 } else { 1 };
                for _ in 0..copies {
                    let bytes = if shared { segment.clone() } else { Bytes::from(segment.to_vec()) };
                    prop_assert!(decoder.receive_segment(bytes).is_ok());
                }
                let mut forged = segment.to_vec();
                let at = random.usize(..forged.len());
                forged[at] ^= 1 << random.u8(..8);
                let _ = decoder.receive_segment(forged);
                prop_assert!(decoder.stats().held <= 8 && decoder.stats().held_bytes <= 8 * 16);
            }
            got.extend_from_slice(&decoder.receive_all());
            prop_assert_eq!(&got[..], &sent[..got.len()]);
            carrier.append(&mut lost);
            encoder.grant(decoder.credit());
        }
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn foreign_bytes_never_get_in(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (_, mut decoder) = pair(small());
        prop_assert!(decoder.receive_segment(bytes).is_err());
        prop_assert_eq!(decoder.stats().held, 0);
    }
}
