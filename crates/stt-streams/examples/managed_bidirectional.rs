//! A stream in both directions with flow control, acknowledged by hand.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use stt_streams::{StreamConfig, StreamManager, channel};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = StreamConfig::new().auto_acknowledge(false);
    let (ours, theirs) = (StreamManager::new(config.clone())?, StreamManager::new(config)?);
    let (here, there) = channel::pair();
    let client = ours.new_bidirectional_stream("bidirectional-stream", here)?;
    let server = theirs.new_bidirectional_stream("bidirectional-stream", there)?;

    client.send("Hello, Server!").await?;
    assert_eq!(server.receive().await?, "Hello, Server!");
    let before = client.flow_control().current_window();
    assert!(server.acknowledge());
    server.send("Hello, Client!").await?;
    assert_eq!(client.receive().await?, "Hello, Client!");
    assert!(client.acknowledge());
    let window = client.flow_control().window_size();
    client.close().await?;
    println!("both said hello; {before} of {window} places were free until the acknowledgement");
    Ok(())
}
