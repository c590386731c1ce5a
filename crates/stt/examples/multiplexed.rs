//! Video, audio and chat at once on one session, each with its own limit, delivery and priority.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use std::time::Duration;

use stt::{Delivery, Priority, StreamError, StreamOptions};

#[tokio::main]
async fn main() -> Outcome {
    let (_client, _server, ours, theirs) = common::pair().await?;
    // A late video frame is worthless, audio may lose one in a hundred, chat must arrive.
    let video = ours.open_stream_with(
        &StreamOptions::new()
            .id(1)
            .max_frame_size(32_768)
            .delivery(Delivery::Deadline(Duration::from_secs(5)))
            .priority(Priority::new(300)?),
    )?;
    let audio = ours.open_stream_with(
        &StreamOptions::new().id(2).max_frame_size(8_192).delivery(Delivery::probabilistic(0.99)?),
    )?;
    let chat = ours.open_stream_with(&StreamOptions::new().id(3).priority(Priority::new(800)?))?;
    let (seen, heard, read) = (theirs.get_stream(1)?, theirs.get_stream(2)?, theirs.get_stream(3)?);

    assert!(matches!(video.send(&[0; 32_769]).await, Err(StreamError::FrameTooLarge { .. })));
    assert!(matches!(audio.send(&[0; 8_193]).await, Err(StreamError::FrameTooLarge { .. })));

    tokio::try_join!(
        async {
            for _ in 0..100 {
                video.send(&[1; 30_000]).await?;
            }
            Outcome::Ok(())
        },
        async {
            for _ in 0..200 {
                audio.send(&[2; 800]).await?;
            }
            Ok(())
        },
        async {
            for line in 0..20 {
                chat.send(format!("line {line}").as_bytes()).await?;
            }
            Ok(())
        },
        async {
            for _ in 0..100 {
                assert_eq!(seen.receive().await?.map(|frame| frame.len()), Some(30_000));
            }
            Ok(())
        },
        async {
            for _ in 0..200 {
                assert_eq!(heard.receive().await?.map(|frame| frame.len()), Some(800));
            }
            Ok(())
        },
        async {
            for line in 0..20 {
                let expected = format!("line {line}");
                assert_eq!(read.receive().await?.as_deref(), Some(expected.as_bytes()));
            }
            Ok(())
        },
    )?;
    let plan = audio.delivery_stats().last_plan.ok_or("audio was not coded")?;
    println!(
        "100 video frames in time, 200 audio frames with a chance of {:.4} each, 20 lines of chat \
         in order",
        plan.probability
    );
    Ok(())
}
