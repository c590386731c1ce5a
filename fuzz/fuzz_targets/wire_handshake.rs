//! The handshake, and the exchange of fresh keys, between two members, with somebody in between who changes what they say.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    stt::fuzz::handshake(data);
    stt::fuzz::renewal(data);
});
