//! A stream in both directions, with its window in view.

use bytes::Bytes;
use stt::Payload;

use crate::{FlowController, ManagedStats, ManagedStream, StreamsError};

/// A managed stream that sends and receives under flow control.
///
/// The window starts at `buffer_size`, shrinks with each message sent and grows with each
/// acknowledgement. Receiving acknowledges by itself, unless
/// [`auto_acknowledge`](crate::StreamConfig::auto_acknowledge) is off.
#[derive(Clone, Debug)]
pub struct BidirectionalStream(ManagedStream);

/// The same stream, with its window in view.
impl From<ManagedStream> for BidirectionalStream {
    fn from(stream: ManagedStream) -> Self {
        Self(stream)
    }
}

impl BidirectionalStream {
    pub(crate) fn new(stream: ManagedStream) -> Self {
        Self(stream)
    }

    /// The stream itself, with everything else it can do.
    #[must_use]
    pub fn stream(&self) -> &ManagedStream {
        &self.0
    }

    /// As [`ManagedStream::send_message`].
    ///
    /// # Errors
    /// As [`ManagedStream::send_message`].
    pub async fn send(&self, message: impl Payload) -> Result<(), StreamsError> {
        self.0.send_message(message).await
    }

    /// As [`ManagedStream::try_send_message`].
    ///
    /// # Errors
    /// As [`ManagedStream::try_send_message`].
    pub fn try_send(&self, message: impl Payload) -> Result<(), StreamsError> {
        self.0.try_send_message(message)
    }

    /// As [`ManagedStream::receive_message`].
    ///
    /// # Errors
    /// As [`ManagedStream::receive_message`].
    pub async fn receive(&self) -> Result<Bytes, StreamsError> {
        self.0.receive_message().await
    }

    /// Acknowledges the oldest message that was received and is not acknowledged yet. False if
    /// there is none, as always while acknowledging is automatic.
    #[allow(clippy::must_use_candidate, reason = "an extra call is harmless")]
    pub fn acknowledge(&self) -> bool {
        self.0.shared.with(|machine, now| machine.acknowledge(now))
    }

    /// The window as it is now.
    #[must_use]
    pub fn flow_control(&self) -> FlowController {
        self.0.flow_control()
    }

    /// As [`ManagedStream::close`].
    ///
    /// # Errors
    /// As [`ManagedStream::close`].
    pub async fn close(&self) -> Result<(), StreamsError> {
        self.0.close().await
    }

    /// As [`ManagedStream::get_stats`].
    #[must_use]
    pub fn get_stats(&self) -> ManagedStats {
        self.0.get_stats()
    }
}
