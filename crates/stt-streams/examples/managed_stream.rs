//! One managed stream: settings, sending, backpressure, statistics.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use stt_streams::{StreamConfig, StreamManager, StreamsError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let manager = StreamManager::new(StreamConfig::new())?;
    let stream = manager.create_stream("my-stream-id")?;
    stream.send_message("Hello, World!").await?;
    assert_eq!(stream.receive_message().await?, "Hello, World!");

    // Nobody receives: after backpressure_limit messages, the sender is told to wait.
    let mut sent = 0;
    let refused = loop {
        match stream.try_send_message(format!("message {sent}")) {
            Ok(()) => sent += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, StreamsError::Backpressure { .. }));
    let stats = stream.get_stats();
    assert_eq!((stats.buffer_size, stats.max_buffer, stats.backpressure), (100, 1_000, true));
    println!("{}", serde_json::to_string(&stats)?);

    let received = stream.receive_many(sent).await?.len();
    assert!(!stream.get_stats().backpressure);
    let orderly = manager.shutdown(std::time::Duration::from_secs(5)).await;
    println!("{sent} messages waited, then \"{refused}\"; {received} received; closed: {orderly}");
    Ok(())
}
