//! One sealed stream fanned out to several endpoints by their names. The segments are sealed once,
//! under a key that all viewers share, whatever their number.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use stc::Cause;
use stt::{
    Fields, Mode, SessionId, StreamDecoder, StreamEncoder, Value,
    codec::CodecConfig,
    endpoints::{EndpointManager, Outgoing, SendFailure},
};

const STREAM: u32 = 5;

/// No viewer's credit holds back the others.
const CONFIG: CodecConfig = CodecConfig::new().flow_control(false);

#[tokio::main]
async fn main() -> Outcome {
    let seed = common::seed()?;
    let source = common::node(&seed, Mode::Client).await?;
    let group_key = stc::Key::generate()?;
    let group = SessionId::from_bytes(*b"tv-group");
    let frame = vec![42_u8; 200_000];

    let sender = source.clone();
    let endpoints = EndpointManager::new(move |outgoing: Outgoing| {
        let node = sender.clone();
        async move {
            let viewer = node
                .sessions()
                .into_iter()
                .find(|session| session.peer_node_id().as_bytes()[..] == *outgoing.id.as_bytes());
            let gone = || SendFailure::new(Cause::text("the viewer is gone"), true);
            let viewer = viewer.ok_or_else(gone)?;
            viewer.get_stream(STREAM)?.send(outgoing.data).await?;
            Ok(())
        }
    });

    let mut watching = Vec::new();
    let names = ["viewer_alice", "viewer_bob", "viewer_charlie"];
    for name in names {
        let viewer = common::node(&seed, Mode::Server).await?;
        let (ours, theirs) = common::connect(&source, &viewer).await?;
        let metadata = Fields::from([("name".into(), Value::from(name))]);
        endpoints.add_endpoint(ours.peer_node_id(), ours.remote_address(), metadata)?;
        let (key, expected) = (group_key.clone(), frame.clone());
        watching.push(tokio::spawn(async move {
            let mut decoder = StreamDecoder::new(&key, group, STREAM, CONFIG)?;
            let stream = theirs.get_stream(STREAM)?;
            let mut seen = Vec::new();
            while !decoder.is_finished() {
                let segment = stream.receive().await?.ok_or("the stream ended early")?;
                decoder.receive_segment(segment)?;
                seen.extend_from_slice(&decoder.receive_all());
            }
            assert_eq!(seen, expected);
            drop(viewer);
            Outcome::Ok(())
        }));
    }

    let mut encoder = StreamEncoder::new(&group_key, group, STREAM, CONFIG)?;
    let mut segments = encoder.send(frame)?;
    segments.extend(encoder.finish()?);
    for segment in &segments {
        for name in names {
            endpoints.route_to_endpoint(name, segment.bytes.clone()).await?;
        }
    }
    for viewer in watching {
        viewer.await??;
    }
    println!("{} segments, sealed once, reached {} viewers by name", segments.len(), names.len());
    Ok(())
}
