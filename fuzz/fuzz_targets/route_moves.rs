//! Datagrams about routes, and both ends of a session that agree about where to send.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    stt::fuzz::route_datagram(data);
    stt::fuzz::routes(data);
});
