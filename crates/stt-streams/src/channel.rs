//! A transport inside one process.
//!
//! ```
//! use stt_streams::{StreamConfig, StreamManager, channel};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (here, there) = channel::pair();
//! let manager = StreamManager::new(StreamConfig::new())?;
//! let worker = StreamManager::new(StreamConfig::new())?;
//! let tasks = manager.new_bidirectional_stream("tasks", here.clone())?;
//! let results = worker.new_bidirectional_stream("tasks", there)?;
//! tasks.send("resize").await?;
//! assert_eq!(results.receive().await?, "resize");
//! here.cut(); // For tests: as when a network breaks.
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, watch};

use crate::transport::{Pending, Transport, TransportError};

/// Frames that a channel holds in each direction.
const CAPACITY: usize = 16;

/// One end of an in-process transport, made by [`pair`].
#[derive(Debug)]
pub struct ChannelTransport {
    to: mpsc::Sender<Bytes>,
    from: Mutex<mpsc::Receiver<Bytes>>,
    open: Arc<watch::Sender<bool>>,
}

/// Two connected ends. Each holds at most 16 frames that the other has not taken yet.
#[must_use]
pub fn pair() -> (Arc<ChannelTransport>, Arc<ChannelTransport>) {
    let (left_to, right_from) = mpsc::channel(CAPACITY);
    let (right_to, left_from) = mpsc::channel(CAPACITY);
    let open = Arc::new(watch::Sender::new(true));
    let end = |to, from, open| Arc::new(ChannelTransport { to, from: Mutex::new(from), open });
    (end(left_to, left_from, Arc::clone(&open)), end(right_to, right_from, open))
}

impl ChannelTransport {
    /// Breaks both directions at once; frames under way are lost.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    async fn is_cut(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.open.subscribe().wait_for(|open| !open).await;
    }
}

impl Transport for ChannelTransport {
    fn send(&self, frame: Bytes) -> Pending<'_, Result<(), TransportError>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = self.is_cut() => Err(TransportError::ended()),
                sent = self.to.send(frame) => sent.map_err(|_| TransportError::ended()),
            }
        })
    }

    fn receive(&self) -> Pending<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = self.is_cut() => Err(TransportError::ended()),
                frame = async { self.from.lock().await.recv().await } => Ok(frame),
            }
        })
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            // What was sent must still arrive: the peer's end of the queue outlives this one.
            let empty = self.to.max_capacity();
            tokio::select! {
                () = self.is_cut() => {}
                _ = self.to.reserve_many(empty) => {}
            }
            self.cut();
        })
    }
}
