//! Streams whose pieces come in any order: bytes, messages, control records; and
//! headers of protocols' streams as they come.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    stt::fuzz::reassembly(data);
    stt::fuzz::inbound(data);
    stt::fuzz::control(data);
    stt::fuzz::labels(data);
});
