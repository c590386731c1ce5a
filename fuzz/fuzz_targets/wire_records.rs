//! Everything short that is read in one go: handshake messages, headers of streams, records of
//! transfers, requests and frames of WebSockets, places, frames, reports of loss.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stt::{
    delivery::{LossCounts, RepairPlanner},
    dispatch::{Carrier, Frame},
};

fuzz_target!(|data: &[u8]| {
    stt::fuzz::messages(data);
    stt::fuzz::places(data);
    stt::fuzz::header(data);
    stt::fuzz::record(data);
    stt::fuzz::file_list(data);
    stt::fuzz::request(data);
    for of_client in [false, true] {
        stt::fuzz::frames(of_client, usize::from(data.len() as u8), data);
    }
    if let Ok(frame) = Frame::decode(data.to_vec().into(), None, Carrier::Datagram) {
        assert_eq!(Frame::encode(frame.frame_type, &frame.payload), data);
    }
    if let Ok(counts) = LossCounts::decode(data) {
        assert_eq!(counts.encode(), data);
        RepairPlanner::new().report(counts);
    }
});
