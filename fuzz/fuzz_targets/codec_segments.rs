//! Sealed segments in any order, some of them changed: what comes out is the beginning of what was
//! put in, whatever was done to them.
//!
//! Each step of the input has three bytes: which segment, where it is changed, and how (0: not).
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stc::Key;
use stt::{SessionId, StreamDecoder, StreamEncoder, codec::CodecConfig};

const SESSION: SessionId = SessionId::from_bytes([4; 8]);

fn key() -> Key {
    Key::from_bytes([1; 32])
}

static GENUINE: LazyLock<(Vec<u8>, Vec<Bytes>)> = LazyLock::new(|| {
    let config = CodecConfig::default().segment_size(1_024);
    let mut encoder = StreamEncoder::new(&key(), SESSION, 3, config).expect("an encoder");
    let data: Vec<u8> = (0..=u8::MAX).cycle().take(9_000).collect();
    let mut segments = encoder.send(data.clone()).expect("segments");
    segments.extend(encoder.finish().expect("the end"));
    (data, segments.into_iter().map(|segment| segment.bytes).collect())
});

fuzz_target!(|data: &[u8]| {
    let (stream, segments) = &*GENUINE;
    let config = CodecConfig::default().segment_size(1_024);
    let mut decoder = StreamDecoder::new(&key(), SESSION, 3, config).expect("a decoder");
    assert!(decoder.receive_segment(data.to_vec()).is_err());
    let mut out = Vec::new();
    for step in data.chunks_exact(3) {
        let mut segment = segments[usize::from(step[0]) % segments.len()].to_vec();
        let at = usize::from(step[1]) * segment.len() / 256;
        segment[at] ^= step[2];
        let taken = decoder.receive_segment(segment);
        // The head of a segment that was there already is not looked at twice.
        assert!(step[2] == 0 || !matches!(taken, Ok(stt::codec::Arrival::New)));
        out.extend(decoder.receive_all());
    }
    assert!(stream.starts_with(&out));
    assert!(!decoder.is_finished() || out == *stream);
});
