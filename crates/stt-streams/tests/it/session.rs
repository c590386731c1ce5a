//! Managed streams over the sessions of two nodes on 127.0.0.1.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use stt::{Mode, Node, SharedSeed};
use stt_streams::{StreamConfig, StreamManager, StreamsError, SttConnector, SttTransport};

async fn node(mode: Mode) -> Node {
    let seed = SharedSeed::from_bytes(&[7; 32]).unwrap();
    Node::builder(seed).host("127.0.0.1").start(mode).await.unwrap()
}

#[tokio::test]
async fn messages_arrive_over_a_session_and_go_on_over_the_next_one() {
    let (server, client) = (node(Mode::Server).await, node(Mode::Client).await);
    let left = StreamManager::new(StreamConfig::default()).unwrap();
    let right = StreamManager::new(StreamConfig::default()).unwrap();
    let address = server.local_addr().to_string();
    let ours =
        left.connect_bidirectional_stream("s", SttConnector::new(client.clone(), address)).unwrap();
    let sender = ours.clone();
    let sending = tokio::spawn(async move {
        for at in 0..2_000_u32 {
            sender.send(at.to_string()).await.unwrap();
        }
    });

    let first = server.accept().await.unwrap();
    let stream = first.accept_stream().await.unwrap();
    let theirs = right.accept(SttTransport::new(stream)).await.unwrap().unwrap();
    for at in 0..1_000_u32 {
        assert_eq!(theirs.receive().await.unwrap(), at.to_string());
    }
    // The session ends; the client dials again and both sides go on where they were.
    first.close("moved").await;
    let second = server.accept().await.unwrap();
    let stream = second.accept_stream().await.unwrap();
    assert!(right.accept(SttTransport::new(stream)).await.unwrap().is_none());
    for at in 1_000..2_000_u32 {
        assert_eq!(theirs.receive().await.unwrap(), at.to_string());
    }
    sending.await.unwrap();

    theirs.send("and back").await.unwrap();
    assert_eq!(ours.receive().await.unwrap(), "and back");
    ours.close().await.unwrap();
    assert_eq!(theirs.receive().await, Err(StreamsError::Closed));
}
