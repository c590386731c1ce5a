//! Managed streams over in-process channels.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use stt_streams::{
    BidirectionalStream, Connector, Pending, StreamConfig, StreamManager, StreamsError, Transport,
    TransportError, Trigger,
    channel::{self, ChannelTransport},
};

fn pair(
    config: &StreamConfig,
) -> (StreamManager, StreamManager, BidirectionalStream, BidirectionalStream) {
    let (here, there) = channel::pair();
    let (left, right) =
        (StreamManager::new(config.clone()).unwrap(), StreamManager::new(config.clone()).unwrap());
    let ours = left.new_bidirectional_stream("s", here).unwrap();
    let theirs = right.new_bidirectional_stream("s", there).unwrap();
    (left, right, ours, theirs)
}

#[tokio::test(start_paused = true)]
async fn a_local_stream_gives_back_what_was_sent() {
    let manager = StreamManager::new(StreamConfig::default()).unwrap();
    let stream = manager.create_stream("s").unwrap();
    assert!(matches!(manager.create_stream("s"), Err(StreamsError::AlreadyExists { .. })));
    for _ in 0..100 {
        stream.try_send_message("x").unwrap();
    }
    let full = stream.try_send_message("x");
    assert_eq!(full, Err(StreamsError::Backpressure { trigger: Trigger::Pending }));
    assert!(stream.get_stats().backpressure);
    for _ in 0..51 {
        assert_eq!(stream.receive_message().await.unwrap(), "x");
    }
    assert!(!stream.get_stats().backpressure);
    stream.close().await.unwrap();
    assert_eq!(stream.try_send_message("x"), Err(StreamsError::Closed));
    assert_eq!(stream.receive_message().await, Err(StreamsError::Closed));
}

#[tokio::test(start_paused = true)]
async fn messages_and_errors_arrive_in_order_and_the_window_returns() {
    let (_left, _right, ours, theirs) = pair(&StreamConfig::default());
    let sender = ours.clone();
    let sending = tokio::spawn(async move {
        for at in 0..5_000_u32 {
            sender.send(at.to_string()).await.unwrap();
        }
        sender.stream().send_error("enough").await.unwrap();
    });
    for at in 0..5_000_u32 {
        assert_eq!(theirs.receive().await.unwrap(), at.to_string());
    }
    assert_eq!(theirs.receive().await, Err(StreamsError::Peer { text: "enough".to_owned() }));
    sending.await.unwrap();
    ours.close().await.unwrap();
    assert_eq!(theirs.receive().await, Err(StreamsError::Closed));
}

/// Connects to a manager over channels, and keeps the last one so that it can be cut.
struct Dial {
    to: StreamManager,
    streams: tokio::sync::mpsc::UnboundedSender<BidirectionalStream>,
    last: Mutex<Option<Arc<ChannelTransport>>>,
    dials: AtomicU32,
}

impl Connector for Dial {
    fn destination(&self) -> &str {
        "there"
    }

    fn connect(&self) -> Pending<'_, Result<Arc<dyn Transport>, TransportError>> {
        Box::pin(async move {
            self.dials.fetch_add(1, Relaxed);
            let (here, there) = channel::pair();
            *self.last.lock().unwrap() = Some(Arc::clone(&here));
            let (to, streams) = (self.to.clone(), self.streams.clone());
            tokio::spawn(async move {
                if let Ok(Some(stream)) = to.accept(there).await {
                    streams.send(stream).unwrap();
                }
            });
            let here: Arc<dyn Transport> = here;
            Ok(here)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_doubled_when_transports_are_cut() {
    let left = StreamManager::new(StreamConfig::default()).unwrap();
    let right = StreamManager::new(StreamConfig::default()).unwrap();
    let (streams, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    let dial = Arc::new(Dial {
        to: right.clone(),
        streams,
        last: Mutex::default(),
        dials: AtomicU32::new(0),
    });
    let ours = left.connect_stream("s", dial.clone()).unwrap();
    let sender = ours.clone();
    let sending = tokio::spawn(async move {
        for at in 0..3_000_u32 {
            sender.send_message(at.to_string()).await.unwrap();
        }
    });
    let theirs = accepted.recv().await.unwrap();
    for at in 0..3_000_u32 {
        if at % 300 == 150 {
            dial.last.lock().unwrap().as_ref().unwrap().cut();
        }
        assert_eq!(theirs.receive().await.unwrap(), at.to_string());
    }
    sending.await.unwrap();
    assert!(dial.dials.load(Relaxed) > 3);
    ours.close().await.unwrap();
    assert_eq!((left.memory(), right.memory()), (0, 0));
}
