//! What a managed stream runs over.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use stc::Cause;

use crate::{ErrorClass, StreamConfig};

/// A boxed future, so that transports can be told apart at run time.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries frames between the two ends of a managed stream, in order.
///
/// Frames have at most [`max_frame_size`] bytes. A transport may fail at any time and lose what is
/// under way; the stream sends it again over the next one.
pub trait Transport: Send + Sync + 'static {
    /// Sends one frame; waits while the transport is full.
    fn send(&self, frame: Bytes) -> Pending<'_, Result<(), TransportError>>;

    /// The next frame, or `None` when the peer ended the transport. A dropped future has taken
    /// nothing.
    fn receive(&self) -> Pending<'_, Result<Option<Bytes>, TransportError>>;

    /// Ends the transport, after what was sent.
    fn close(&self) -> Pending<'_, ()>;
}

/// Makes a new transport when the last one failed.
///
/// Connecting is retried, so it must be harmless to do it twice.
pub trait Connector: Send + Sync + 'static {
    /// Whom it calls. Streams with the same destination share a circuit breaker.
    fn destination(&self) -> &str;

    /// One attempt.
    fn connect(&self) -> Pending<'_, Result<Arc<dyn Transport>, TransportError>>;
}

/// Why a transport failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
#[non_exhaustive]
pub struct TransportError {
    /// How the failure is treated.
    pub class: ErrorClass,
    /// What happened.
    #[source]
    pub cause: Cause,
}

impl TransportError {
    /// A failure of a class, described in one line.
    #[must_use]
    pub fn new(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, cause: Cause::text(text) }
    }

    /// A failure of a class that an error tells of.
    #[must_use]
    pub fn caused(class: ErrorClass, error: impl Into<Cause>) -> Self {
        Self { class, cause: error.into() }
    }

    /// The transport ended, and another one may work.
    pub(crate) fn ended() -> Self {
        Self::new(ErrorClass::Transient, "the transport ended")
    }
}

/// Bytes of the longest frame of a stream with this configuration.
#[must_use]
pub fn max_frame_size(config: &StreamConfig) -> usize {
    config.max_message_size.saturating_add(crate::frame::DATA_HEADER).max(crate::frame::MAX_CONTROL)
}
