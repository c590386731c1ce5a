//! Live video: frames are cut into sealed segments, travel over a session, and are put together at
//! the other end. What a codec would make is stood in for by bytes of the sizes that codecs make.
//!
//! The stream under it pushes back by itself, so the encoder needs no credit from the screen.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use stt::{
    StreamDecoder, StreamEncoder, StreamOptions,
    codec::{CodecConfig, CodecRole},
};

const FRAMES: u32 = 300;

/// A key frame of 150 kB each second, 8 kB in between.
fn video_frame(number: u32) -> Vec<u8> {
    let length = if number.is_multiple_of(30) { 150_000 } else { 8_000 };
    let mut frame = vec![number.to_be_bytes()[3]; length];
    frame.splice(..4, number.to_be_bytes());
    frame
}

#[tokio::main]
async fn main() -> Outcome {
    let (_client, _server, camera, screen) = common::pair().await?;
    let stream_id = 1;
    // Both ends of a session derive the same key, which nobody else has.
    let config = CodecConfig::new().role(CodecRole::Initiator).flow_control(false);
    let mut encoder = StreamEncoder::new(&camera.export("video"), camera.id(), stream_id, config)?;
    let mut decoder = StreamDecoder::new(&screen.export("video"), screen.id(), stream_id, config)?;

    let up = camera.open_stream_with(&StreamOptions::new().id(stream_id))?;
    let back = screen.get_stream(stream_id)?;
    let watching = tokio::spawn(async move {
        let (mut shown, mut bytes, mut expected) = (0, Vec::new(), video_frame(0));
        while !decoder.is_finished() {
            let Some(segment) = back.receive().await? else { break };
            decoder.receive_segment(segment)?;
            bytes.extend_from_slice(&decoder.receive_all());
            while bytes.len() >= expected.len() && shown < FRAMES {
                assert!(bytes.starts_with(&expected), "frame {shown} is not what was filmed");
                bytes.drain(..expected.len());
                shown += 1;
                expected = video_frame(shown);
            }
        }
        Outcome::Ok((shown, decoder.stats()))
    });

    for number in 0..FRAMES {
        for segment in encoder.send(video_frame(number))? {
            up.send(segment.bytes).await?;
        }
    }
    for segment in encoder.finish()? {
        up.send(segment.bytes).await?;
    }

    let (shown, stats) = watching.await??;
    assert_eq!(shown, FRAMES);
    println!(
        "{shown} frames shown, each as it was filmed: {} bytes in {} sealed segments",
        stats.bytes, stats.segments
    );
    Ok(())
}
