//! Datagrams from anybody: masks taken off, knocks checked.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    stt::fuzz::datagram(data);
    stt::fuzz::knock(data);
});
