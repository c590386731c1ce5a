//! Chunks of streams and stream metadata.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stc::{ChunkHeader, Key, StreamingContext, streaming::StreamMetadata};

fuzz_target!(|data: &[u8]| {
    if let Ok(metadata) = StreamMetadata::from_bytes(data) {
        assert_eq!(metadata.to_bytes().as_slice(), data);
    }
    let mut stream = StreamingContext::new(Key::from_bytes([1; 32])).expect("a stream");
    assert!(stream.load_marks(data).is_err());
    let Some((head, sealed)) = data.split_at_checked(16) else { return };
    if let Ok(header) = ChunkHeader::from_bytes(head) {
        assert_eq!(header.to_bytes().as_slice(), head);
        assert!(stream.decrypt_chunk(&header, sealed).is_err());
    }
    // A good chunk whose header and body are changed where the input says.
    let (good, body) = stream.encrypt_chunk(&[5; 9000]).expect("a chunk");
    let mut packet = [good.to_bytes().as_slice(), &body].concat();
    for edit in data.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % packet.len();
        packet[at] ^= edit[2];
    }
    let changed = packet != [good.to_bytes().as_slice(), &body].concat();
    let outcome = ChunkHeader::from_bytes(&packet[..16])
        .and_then(|header| stream.decrypt_chunk(&header, &packet[16..]));
    assert_eq!(outcome.is_err(), changed);
    assert_eq!(stream.performance_stats().epochs_remembered, usize::from(!changed));
});
