//! Live streams as chapter 10 of the reference has them: the encoder gives segments for as long as
//! there are frames, and nothing comes back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use crate::common;
use std::sync::{Arc, Mutex};

use stt::{
    Fields, SessionId, StreamDecoder, StreamEncoder, Value,
    codec::CodecConfig,
    endpoints::{EndpointId, EndpointManager, Outgoing},
};

const SEGMENTS: u32 = 10_000;
const CONFIG: CodecConfig = CodecConfig::new().flow_control(false);

fn frame(number: u32) -> Vec<u8> {
    let len = 4 + usize::try_from(number % 300).unwrap();
    number.to_be_bytes().into_iter().cycle().take(len).collect()
}

/// Pattern 1: over a stream of a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_video_runs_without_a_way_back() {
    let (_server, _client, camera, screen) = common::session().await;
    let (id, stream) = (camera.id(), 1);
    let mut encoder = StreamEncoder::new(&camera.export("video"), id, stream, CONFIG).unwrap();
    let mut decoder = StreamDecoder::new(&screen.export("video"), id, stream, CONFIG).unwrap();
    let (up, down) = (camera.get_stream(stream).unwrap(), screen.get_stream(stream).unwrap());
    let showing = tokio::spawn(async move {
        for number in 0..SEGMENTS {
            let segment = down.receive().await.unwrap().unwrap();
            decoder.receive_segment(segment).unwrap();
            assert_eq!(decoder.receive_all(), frame(number));
        }
        assert_eq!(down.stats().messages_sent, 0);
    });
    for number in 0..SEGMENTS {
        let segments = encoder.send(frame(number)).unwrap();
        assert_eq!(segments.len(), 1);
        up.send(&segments[0].bytes).await.unwrap();
    }
    showing.await.unwrap();
}

/// Pattern 3: sealed once, routed to viewers by name.
#[tokio::test]
async fn one_stream_fans_out_to_many_without_a_way_back() {
    const VIEWERS: [&str; 3] = ["viewer_alice", "viewer_bob", "viewer_charlie"];
    let (key, group) = (stc::Key::from_bytes([3; 32]), SessionId::from_bytes(*b"tv-group"));
    let decoders: Vec<(EndpointId, StreamDecoder)> = VIEWERS
        .iter()
        .enumerate()
        .map(|(at, _)| EndpointId::try_from(format!("node {at}").as_str()).unwrap())
        .map(|id| (id, StreamDecoder::new(&key, group, 5, CONFIG).unwrap()))
        .collect();
    let shown = Arc::new(Mutex::new((decoders, [0_u32; 3])));
    let at_viewers = Arc::clone(&shown);
    let manager = EndpointManager::new(move |outgoing: Outgoing| {
        let mut viewers = at_viewers.lock().unwrap();
        let (decoders, frames) = &mut *viewers;
        let at = decoders.iter().position(|(id, _)| *id == outgoing.id).unwrap();
        decoders[at].1.receive_segment(outgoing.data).unwrap();
        assert_eq!(decoders[at].1.receive_all(), frame(frames[at]));
        frames[at] += 1;
        std::future::ready(Ok(()))
    });
    for (at, name) in VIEWERS.iter().enumerate() {
        let id = EndpointId::try_from(format!("node {at}").as_str()).unwrap();
        let metadata = Fields::from([("name".into(), Value::from(*name))]);
        manager.add_endpoint(id, ("127.0.0.1", 1), metadata).unwrap();
    }
    let mut encoder = StreamEncoder::new(&key, group, 5, CONFIG).unwrap();
    for number in 0..SEGMENTS {
        for segment in encoder.send(frame(number)).unwrap() {
            for name in VIEWERS {
                manager.route_to_endpoint(name, segment.bytes.clone()).await.unwrap();
            }
        }
    }
    assert_eq!(shown.lock().unwrap().1, [SEGMENTS; 3]);
}
