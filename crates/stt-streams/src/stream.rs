//! The handle of a managed stream.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use stt::Payload;
use tokio::time::timeout;

use crate::{
    BreakerState, ErrorClass, FlowController, ManagedStats, StreamConfig, StreamMetrics,
    StreamsError,
    frame::Kind,
    outbound::Item,
    recovery::Recovery,
    shared::{Shared, wait},
    stats,
    transport::TransportError,
};

/// Longest text of [`ManagedStream::send_error`] in bytes; the rest is cut off.
const MAX_ERROR: usize = 1_024;

/// A stream of messages that outlives its transports. Clones are the same stream, and dropping one
/// closes nothing.
///
/// Messages arrive once and in order while both processes live, whatever happens to the transports
/// between them, unless the stream is [`lossy`](StreamConfig::lossy).
#[derive(Clone)]
pub struct ManagedStream {
    pub(crate) shared: Arc<Shared>,
    pub(crate) recovery: Arc<Recovery>,
}

impl ManagedStream {
    /// A closing peer has so long to confirm.
    pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &StreamConfig {
        &self.shared.config
    }

    /// Queues a message; waits while there is backpressure.
    ///
    /// # Cancel safety
    /// A dropped future has queued the message or nothing.
    ///
    /// # Errors
    /// [`StreamsError::TooLarge`], [`StreamsError::Closed`], or what ended the stream.
    pub async fn send_message(&self, message: impl Payload) -> Result<(), StreamsError> {
        self.send_item(Item { kind: Kind::Message, payload: message.into_bytes() }).await
    }

    async fn send_item(&self, item: Item) -> Result<(), StreamsError> {
        wait(&self.shared.writable, || match self.offer(item.clone()) {
            Err(StreamsError::Backpressure { .. }) => None,
            done => Some(done),
        })
        .await
    }

    /// As [`send_message`](Self::send_message), but never waits.
    ///
    /// # Errors
    /// [`StreamsError::Backpressure`] as well.
    pub fn try_send_message(&self, message: impl Payload) -> Result<(), StreamsError> {
        self.offer(Item { kind: Kind::Message, payload: message.into_bytes() })
    }

    fn offer(&self, item: Item) -> Result<(), StreamsError> {
        self.shared.with(|machine, now| machine.offer(now, item, true))
    }

    /// Sends an error in a message's place: the peer's receive fails with [`StreamsError::Peer`],
    /// once, and the stream goes on. At most 1,024 bytes of the text are sent.
    ///
    /// # Errors
    /// As [`send_message`](Self::send_message).
    pub async fn send_error(&self, text: &str) -> Result<(), StreamsError> {
        let most = MAX_ERROR.min(self.shared.config.max_message_size);
        let end = text.floor_char_boundary(most);
        let payload = Bytes::copy_from_slice(text.as_bytes().get(..end).unwrap_or_default());
        self.send_item(Item { kind: Kind::Error, payload }).await
    }

    /// Queues as many of `messages` as there is room for, and gives their number: all or nothing is
    /// let in by the pending limit, and the places up to `buffer_size` are used. Call again with
    /// the rest.
    ///
    /// # Errors
    /// As [`try_send_message`](Self::try_send_message), when not even the first was taken.
    pub fn try_send_batch(&self, messages: &[Bytes]) -> Result<usize, StreamsError> {
        self.shared.with(|machine, now| {
            for (at, message) in messages.iter().enumerate() {
                let item = Item { kind: Kind::Message, payload: message.clone() };
                match machine.offer(now, item, at == 0) {
                    Ok(()) => {}
                    Err(error) if at == 0 => return Err(error),
                    Err(_) => return Ok(at),
                }
            }
            Ok(messages.len())
        })
    }

    /// Queues all of `messages`, in order; waits while there is backpressure.
    ///
    /// # Cancel safety
    /// A dropped future has queued the first few.
    ///
    /// # Errors
    /// As [`send_message`](Self::send_message); the messages before were queued.
    pub async fn send_batch(&self, messages: &[Bytes]) -> Result<(), StreamsError> {
        let mut rest = messages;
        while !rest.is_empty() {
            let sent = wait(&self.shared.writable, || match self.try_send_batch(rest) {
                Err(StreamsError::Backpressure { .. }) => None,
                done => Some(done),
            })
            .await?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// The next message.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    ///
    /// # Errors
    /// [`StreamsError::Peer`] for an error that the peer sent; [`StreamsError::Closed`] at the end;
    /// or what ended the stream. Messages that arrived before come first, unless this side closed.
    pub async fn receive_message(&self) -> Result<Bytes, StreamsError> {
        wait(&self.shared.readable, || self.try_receive_message().transpose()).await
    }

    /// As [`receive_message`](Self::receive_message), but never waits: `None` if there is none.
    ///
    /// # Errors
    /// As [`receive_message`](Self::receive_message).
    pub fn try_receive_message(&self) -> Result<Option<Bytes>, StreamsError> {
        match self.shared.with(|machine, now| machine.take(now))? {
            None => Ok(None),
            Some(Item { kind: Kind::Message, payload }) => Ok(Some(payload)),
            Some(Item { kind: Kind::Error, payload }) => {
                Err(StreamsError::Peer { text: String::from_utf8_lossy(&payload).into_owned() })
            }
        }
    }

    /// Waits for a message, then takes up to `most` that are there.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    ///
    /// # Errors
    /// As [`receive_message`](Self::receive_message), when there is nothing before the error.
    pub async fn receive_many(&self, most: usize) -> Result<Vec<Bytes>, StreamsError> {
        let mut messages = Vec::new();
        if most == 0 {
            return Ok(messages);
        }
        messages.push(self.receive_message().await?);
        while messages.len() < most {
            // An error in a message's place is left for the next call.
            let next = self.shared.with(|machine, now| machine.take_message(now));
            match next {
                Some(message) => messages.push(message),
                None => break,
            }
        }
        Ok(messages)
    }

    /// Closes both directions once the peer has everything that was sent; nothing more is sent or
    /// received here from now on.
    ///
    /// # Errors
    /// What ended the stream otherwise; [`StreamsError::Transport`] of the class timeout if the
    /// peer did not confirm within [`ManagedStream::CLOSE_TIMEOUT`]. It is closed in any case.
    pub async fn close(&self) -> Result<(), StreamsError> {
        self.shared.with(|machine, _| machine.close());
        match timeout(Self::CLOSE_TIMEOUT, self.shared.wait_ended()).await {
            Ok(StreamsError::Closed) => Ok(()),
            Ok(error) => Err(error),
            Err(_) => {
                self.abort();
                let text = "the peer did not confirm the close in time";
                Err(StreamsError::Transport(TransportError::new(ErrorClass::Timeout, text)))
            }
        }
    }

    /// Ends at once; what was sent may be lost.
    pub fn abort(&self) {
        self.shared.with(|machine, _| {
            machine.end(StreamsError::Closed);
            machine.close();
        });
    }

    /// Why it ended, if it did; [`StreamsError::Closed`] after an orderly close.
    #[must_use]
    pub fn ended(&self) -> Option<StreamsError> {
        self.shared.ended()
    }

    /// Whether it has not ended and its peer answers.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.shared.with(|machine, _| machine.is_healthy())
    }

    /// Its statistics.
    #[must_use]
    pub fn get_stats(&self) -> ManagedStats {
        self.shared.with(|machine, now| ManagedStats {
            id: self.id().to_owned(),
            buffer_size: machine.waiting(),
            max_buffer: self.config().buffer_size,
            retry_count: self.shared.retries.load(std::sync::atomic::Ordering::Relaxed),
            last_activity: stats::timestamp(Shared::wall(machine.last_activity)),
            backpressure: machine.trigger().is_some(),
            healthy: machine.is_healthy(),
            uptime: stats::uptime(now.saturating_duration_since(machine.created)),
        })
    }

    /// What it counts beyond that.
    #[must_use]
    pub fn metrics(&self) -> StreamMetrics {
        let breaker = self.breaker();
        self.shared.with(|machine, now| {
            let [transient, permanent, timeout, resource] = machine.errors;
            StreamMetrics {
                sent: machine.outbound.sent(),
                received: machine.inbound.received(),
                consumed: machine.inbound.consumed(),
                dropped: machine.outbound.dropped(),
                outbound_bytes: machine.outbound.held(),
                inbound_bytes: machine.inbound.held(),
                backpressure: machine.trigger(),
                backpressure_time: machine.pressure_time(now),
                transient_errors: transient,
                permanent_errors: permanent,
                timeout_errors: timeout,
                resource_errors: resource,
                breaker,
            }
        })
    }

    fn breaker(&self) -> Option<BreakerState> {
        self.shared.destination.as_deref().map(|destination| self.recovery.state(destination))
    }

    /// The window as it is now.
    #[must_use]
    pub fn flow_control(&self) -> FlowController {
        self.shared.with(|machine, _| machine.outbound.window())
    }
}

impl fmt::Debug for ManagedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedStream").field("id", &self.shared.id).finish_non_exhaustive()
    }
}
