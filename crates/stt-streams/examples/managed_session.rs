//! A managed stream between two nodes: the session ends in between, and nothing is lost.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use stt::{Key, Mode, Node, SharedSeed};
use stt_streams::{StreamConfig, StreamManager, SttConnector, SttTransport};

const MESSAGES: u32 = 500;

async fn node(seed: &SharedSeed, mode: Mode) -> Result<Node, Box<dyn Error>> {
    Ok(Node::builder(seed.clone()).host("127.0.0.1").start(mode).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let seed = SharedSeed::from_key(Key::generate()?);
    let (server, client) = (node(&seed, Mode::Server).await?, node(&seed, Mode::Client).await?);
    // A small window: when the session ends, messages are on their way and more have yet to go.
    let config = StreamConfig::new().buffer_size(100);
    let ours = StreamManager::new(config)?;
    let theirs = StreamManager::new(ours.config().clone())?;
    let to_server = SttConnector::new(client.clone(), server.local_addr().to_string());
    let sender = ours.connect_stream("orders", to_server)?;
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            sender.send_message(number.to_string()).await?;
        }
        sender.close().await
    });

    let first = server.accept().await.ok_or("the node ended")?;
    let transport = SttTransport::new(first.accept_stream().await?);
    let receiver = theirs.accept(transport).await?.ok_or("not a new stream")?;
    for number in 0..MESSAGES {
        if number == MESSAGES / 2 {
            first.close("the network changed").await;
            let second = server.accept().await.ok_or("the node ended")?;
            let transport = SttTransport::new(second.accept_stream().await?);
            // It goes on where it was.
            assert!(theirs.accept(transport).await?.is_none());
        }
        assert_eq!(receiver.receive().await?, number.to_string());
    }
    sending.await??;
    println!("{MESSAGES} messages over two sessions, each once and in order");
    Ok(())
}
