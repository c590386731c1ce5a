//! The four issues of `docs/managed-streams.md`, each provoked and seen where the page says.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use stt_streams::{
    BreakerState, Coded, Connector, ErrorClass, Pending, StreamConfig, StreamEventKind,
    StreamManager, StreamsError, Transport, TransportError, Trigger, channel,
};
use tokio::time::sleep;

fn manager(set: impl FnOnce(StreamConfig) -> StreamConfig) -> StreamManager {
    StreamManager::new(set(StreamConfig::new())).unwrap()
}

#[tokio::test(start_paused = true)]
async fn high_memory_usage() {
    let manager = manager(|config| config.memory_limit(16 << 10).max_message_size(1 << 10));
    let stream = manager.create_stream("s").unwrap();
    let refused = loop {
        match stream.try_send_message(vec![0; 1 << 10]) {
            Ok(()) => {}
            Err(error) => break error,
        }
        assert!(manager.memory() <= 16 << 10, "{}", manager.memory());
    };
    assert_eq!(refused, StreamsError::Backpressure { trigger: Trigger::Memory });
    assert_eq!(stream.metrics().backpressure, Some(Trigger::Memory));
    assert!(stream.metrics().outbound_bytes <= 8 << 10);
    let last = Bytes::from(vec![0; 2 << 10]);
    assert!(matches!(stream.try_send_message(last), Err(StreamsError::Backpressure { .. })));
}

#[tokio::test(start_paused = true)]
async fn slow_performance() {
    let small = |config: StreamConfig| config.buffer_size(8).backpressure_limit(4);
    let (left, right) = (manager(small), manager(small));
    let (here, there) = channel::pair();
    let ours = left.new_bidirectional_stream("s", here).unwrap();
    let theirs = right.new_bidirectional_stream("s", there).unwrap();
    let sender = ours.clone();
    let sending = tokio::spawn(async move {
        for at in 0..100_u32 {
            sender.send(at.to_string()).await.unwrap();
        }
    });
    sleep(Duration::from_secs(10)).await;
    assert_eq!(ours.flow_control().current_window(), 0);
    assert!(ours.stream().metrics().backpressure.is_some());
    assert!(ours.stream().metrics().backpressure_time > Duration::from_secs(5));
    for at in 0..100_u32 {
        assert_eq!(theirs.receive().await.unwrap(), at.to_string());
    }
    sending.await.unwrap();
}

/// A transport on which nothing is heard any more once it is told to be silent.
struct Muted(Arc<channel::ChannelTransport>, Arc<AtomicBool>);

impl Transport for Muted {
    fn send(&self, frame: Bytes) -> Pending<'_, Result<(), TransportError>> {
        self.0.send(frame)
    }

    fn receive(&self) -> Pending<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async {
            let frame = self.0.receive().await;
            if self.1.load(Relaxed) {
                std::future::pending::<()>().await;
            }
            frame
        })
    }

    fn close(&self) -> Pending<'_, ()> {
        self.0.close()
    }
}

#[tokio::test(start_paused = true)]
async fn connection_drops() {
    let beating = |config: StreamConfig| {
        config.heartbeat_interval(Duration::from_secs(1)).timeout(Duration::from_secs(60))
    };
    let (left, right) = (manager(beating), manager(beating));
    let mut events = left.events();
    let (here, there) = channel::pair();
    let silent = Arc::new(AtomicBool::new(false));
    let ours = left.create_stream_over("s", Arc::new(Muted(here, Arc::clone(&silent)))).unwrap();
    let theirs = right.create_stream_over("s", there).unwrap();
    ours.send_message("x").await.unwrap();
    assert_eq!(theirs.receive_message().await.unwrap(), "x");
    sleep(Duration::from_secs(30)).await;
    assert!(ours.is_healthy(), "heartbeats are enough to be healthy");

    silent.store(true, Relaxed);
    sleep(Duration::from_secs(10)).await;
    let ended = ours.ended().unwrap();
    assert_eq!(ended.code(), "streams.transport");
    assert_eq!(ended.class(), ErrorClass::Timeout);
    let (mut missed, mut unhealthy) = (0, false);
    while let Ok(event) = events.try_recv() {
        match event.kind {
            StreamEventKind::HeartbeatMissed { .. } => missed += 1,
            StreamEventKind::Health { healthy } => unhealthy |= !healthy,
            _ => {}
        }
    }
    assert!(missed >= 3 && unhealthy, "{missed} missed, unhealthy: {unhealthy}");

    // Heartbeats keep no stream alive that nobody uses.
    let idle = left.create_stream("idle").unwrap();
    sleep(Duration::from_secs(61)).await;
    assert_eq!(idle.ended().unwrap(), StreamsError::Idle { after: Duration::from_secs(60) });
}

/// Nobody is there.
struct Nowhere;

impl Connector for Nowhere {
    fn destination(&self) -> &'static str {
        "nowhere"
    }

    fn connect(&self) -> Pending<'_, Result<Arc<dyn Transport>, TransportError>> {
        Box::pin(async { Err(TransportError::new(ErrorClass::Transient, "nobody answers")) })
    }
}

#[tokio::test(start_paused = true)]
async fn error_loops() {
    let manager = manager(|config| config);
    let mut codes = Vec::new();
    for at in 0..4 {
        let stream = manager.connect_stream(&format!("s{at}"), Arc::new(Nowhere)).unwrap();
        let error = stream.receive_message().await.unwrap_err();
        if at == 0 {
            // No more than the retries that were asked for.
            assert_eq!(stream.get_stats().retry_count, 3);
            assert!(matches!(error, StreamsError::RetriesExhausted { retries: 3, .. }), "{error}");
            assert!(stream.metrics().transient_errors >= 3);
        }
        codes.push(error.code());
    }
    // The destination has failed often enough to be left alone, but for a probe now and then.
    assert_eq!((codes[0], codes[1]), ("streams.retries_exhausted", "streams.circuit_open"));
    assert_ne!(manager.recovery().state("nowhere"), BreakerState::Closed);
    sleep(Duration::from_secs(11)).await;
    assert_ne!(manager.recovery().state("nowhere"), BreakerState::Closed);
}
