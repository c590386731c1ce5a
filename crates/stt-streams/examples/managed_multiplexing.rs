//! One message to many streams, of which one has stalled.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use stt_streams::{StreamConfig, StreamManager, StreamMultiplexer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let manager = StreamManager::new(StreamConfig::new())?;
    let multiplexer = StreamMultiplexer::new();
    for id in ["stream1", "stream2", "stalled"] {
        multiplexer.add_stream(id, manager.create_stream(id)?)?;
    }
    let (mut delivered, mut refused) = (0, 0);
    for _ in 0..150 {
        let results = multiplexer.broadcast_message("Broadcast message");
        refused += results.values().filter(|result| result.is_err()).count();
        for id in ["stream1", "stream2"] {
            multiplexer.get_stream(id)?.receive_message().await?;
            delivered += 1;
        }
    }
    let stats = multiplexer.get_stats();
    let stalled = stats.get("stalled").ok_or("no statistics")?;
    assert!(stalled.backpressure);
    println!("{delivered} messages delivered to two streams, {refused} refused by the stalled one");
    Ok(())
}
