//! Several streams as one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use stt::Payload;

use crate::{ManagedStats, ManagedStream, StreamsError, frame::MAX_ID};

/// Most streams of a multiplexer.
const MOST: usize = 1_000_000;

/// Streams under names, for messages to all of them. Over an STT session they share its connection,
/// and one that stalls does not hold up the others.
#[derive(Debug, Default)]
pub struct StreamMultiplexer {
    streams: Mutex<BTreeMap<String, ManagedStream>>,
}

impl StreamMultiplexer {
    /// Without streams.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ManagedStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream.
    ///
    /// # Errors
    /// [`StreamsError::AlreadyExists`], [`StreamsError::Id`], or [`StreamsError::TooMany`].
    pub fn add_stream(&self, id: &str, stream: ManagedStream) -> Result<(), StreamsError> {
        if id.is_empty() || id.len() > MAX_ID {
            return Err(StreamsError::Id { got: id.len(), max: MAX_ID });
        }
        let mut streams = self.lock();
        if streams.contains_key(id) {
            return Err(StreamsError::AlreadyExists { id: id.to_owned() });
        }
        if streams.len() >= MOST {
            return Err(StreamsError::TooMany { max: MOST });
        }
        streams.insert(id.to_owned(), stream);
        Ok(())
    }

    /// Gives a stream back; it is not closed.
    ///
    /// # Errors
    /// [`StreamsError::NotFound`].
    pub fn remove_stream(&self, id: &str) -> Result<ManagedStream, StreamsError> {
        self.lock().remove(id).ok_or_else(|| StreamsError::NotFound { id: id.to_owned() })
    }

    /// The stream of that name.
    ///
    /// # Errors
    /// [`StreamsError::NotFound`].
    pub fn get_stream(&self, id: &str) -> Result<ManagedStream, StreamsError> {
        self.lock().get(id).cloned().ok_or_else(|| StreamsError::NotFound { id: id.to_owned() })
    }

    /// Queues a message on every stream and says for each what came of it. Never waits: one that is
    /// in backpressure has that for its result, and the others have the message.
    #[must_use]
    pub fn broadcast_message(
        &self,
        message: impl Payload,
    ) -> BTreeMap<String, Result<(), StreamsError>> {
        let message = message.into_bytes();
        let streams = self.lock().clone();
        let send = |stream: ManagedStream| stream.try_send_message(message.clone());
        streams.into_iter().map(|(id, stream)| (id, send(stream))).collect()
    }

    /// Each stream's statistics.
    #[must_use]
    pub fn get_stats(&self) -> BTreeMap<String, ManagedStats> {
        let streams = self.lock().clone();
        streams.into_iter().map(|(id, stream)| (id, stream.get_stats())).collect()
    }
}
