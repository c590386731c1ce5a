//! Headers of envelopes: what parses writes the same bytes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stc::Header;

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = Header::parse(data) {
        assert_eq!(header.to_bytes(), data[..header.encoded_len()]);
        let _ = (header.capacity(), header.envelope_len(), header.content_len(Some(u64::MAX)));
        assert_eq!(Header::parse_exact(data).is_ok(), data.len() == header.encoded_len());
    }
});
