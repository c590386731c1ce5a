//! A protocol of one's own: handshake, data and acknowledgement as frame types 0x80 to 0x82.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use stt::{FrameDispatcher, dispatch::Frame};
use tokio::sync::mpsc;

const MY_HANDSHAKE: u8 = 0x80;
const MY_DATA: u8 = 0x81;
const MY_ACK: u8 = 0x82;

#[tokio::main]
async fn main() -> Outcome {
    let (_client, _server, ours, theirs) = common::pair().await?;

    // The server greets, and acknowledges every frame of data with its length.
    let server = FrameDispatcher::new();
    let (greeted, mut greetings) = mpsc::unbounded_channel();
    server.register_handler(MY_HANDSHAKE, move |frame: Frame| {
        let (version, name) = frame.payload.split_at_checked(4).unwrap_or_default();
        let _ = greeted.send((version.to_vec(), String::from_utf8_lossy(name).into_owned()));
        async {}
    })?;
    let back = theirs.clone();
    server.register_handler(MY_DATA, move |frame: Frame| {
        let back = back.clone();
        async move {
            let length = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
            let _ = back.send_frame(MY_ACK, &length.to_be_bytes()).await;
        }
    })?;
    let _serving = theirs.dispatch_frames(&server)?;

    let client = FrameDispatcher::new();
    let (acknowledged, mut acks) = mpsc::unbounded_channel();
    client.register_handler(MY_ACK, move |frame: Frame| {
        let _ = acknowledged.send(frame.payload);
        async {}
    })?;
    let _hearing = ours.dispatch_frames(&client)?;

    ours.send_frame(MY_HANDSHAKE, [&1_u32.to_be_bytes()[..], b"alice"].concat()).await?;
    ours.send_frame(0xfe, b"a type that the server does not know").await?;
    for length in 0..100_u32 {
        ours.send_frame(MY_DATA, vec![7; usize::try_from(length)?]).await?;
    }
    let (version, name) = greetings.recv().await.ok_or("no greeting")?;
    assert_eq!((&version[..], name.as_str()), (&1_u32.to_be_bytes()[..], "alice"));
    for length in 0..100_u32 {
        assert_eq!(acks.recv().await.as_deref(), Some(&length.to_be_bytes()[..]));
    }
    assert_eq!(server.stats().unknown, 1);
    assert!(ours.send_frame(0x7f, b"").await.is_err(), "STT's own types are refused");
    println!("handshake of {name}, 100 frames acknowledged in order, 1 unknown frame counted");
    Ok(())
}
