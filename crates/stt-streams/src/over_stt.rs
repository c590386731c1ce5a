//! Managed streams over the streams of an STT session.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    ErrorClass, StreamConfig,
    transport::{Connector, Pending, Transport, TransportError, max_frame_size},
};

/// The label under which managed streams travel beside others of a session
/// ([`stt::Session::open_protocol`]).
pub const PROTOCOL_LABEL: &str = "stt.streams/1";

/// Frames as the messages of an STT stream. The session seals them, so nothing here does.
#[derive(Clone, Debug)]
pub struct SttTransport(stt::Stream);

impl SttTransport {
    /// Uses a stream of a session, which must carry nothing else.
    #[must_use]
    pub fn new(stream: stt::Stream) -> Arc<Self> {
        Arc::new(Self(stream))
    }
}

impl From<stt::StreamError> for TransportError {
    fn from(error: stt::StreamError) -> Self {
        let class = match &error {
            stt::StreamError::Late { .. } => ErrorClass::Timeout,
            stt::StreamError::TooMany { .. } | stt::StreamError::Full { .. } => {
                ErrorClass::ResourceExhausted
            }
            stt::StreamError::Closed { .. }
            | stt::StreamError::Reset { .. }
            | stt::StreamError::UnknownSession { .. }
            | stt::StreamError::SessionEnded(_) => ErrorClass::Transient,
            _ => ErrorClass::Permanent,
        };
        Self::caused(class, error)
    }
}

impl From<stt::ConnectError> for TransportError {
    fn from(error: stt::ConnectError) -> Self {
        use stt::Coded;
        let class = if error.retry_helps() { ErrorClass::Transient } else { ErrorClass::Permanent };
        Self::caused(class, error)
    }
}

impl Transport for SttTransport {
    fn send(&self, frame: Bytes) -> Pending<'_, Result<(), TransportError>> {
        Box::pin(async move { Ok(self.0.send(frame).await?) })
    }

    fn receive(&self) -> Pending<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async move { Ok(self.0.receive().await?) })
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            // The peer may be gone; then nothing is left to close.
            let _ = self.0.close().await;
        })
    }
}

/// Frames as the messages of a protocol's stream, best of [`PROTOCOL_LABEL`].
#[derive(Debug)]
pub struct ProtocolTransport(stt::ProtocolStream);

impl ProtocolTransport {
    /// Uses a stream of a protocol, for managed streams with this configuration.
    #[must_use]
    pub fn new(stream: stt::ProtocolStream, config: &StreamConfig) -> Arc<Self> {
        stream.set_max_frame_size(u64::try_from(max_frame_size(config)).unwrap_or(u64::MAX));
        Arc::new(Self(stream))
    }
}

impl From<stt::ProtocolError> for TransportError {
    fn from(error: stt::ProtocolError) -> Self {
        match error {
            stt::ProtocolError::Stream(error) => error.into(),
            error @ stt::ProtocolError::TooMany { .. } => {
                Self::caused(ErrorClass::ResourceExhausted, error)
            }
            error => Self::caused(ErrorClass::Permanent, error),
        }
    }
}

impl Transport for ProtocolTransport {
    fn send(&self, frame: Bytes) -> Pending<'_, Result<(), TransportError>> {
        Box::pin(async move { Ok(self.0.send(frame).await?) })
    }

    fn receive(&self) -> Pending<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async move { Ok(self.0.receive().await?) })
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            // The peer may be gone; then nothing is left to close.
            let _ = self.0.close().await;
        })
    }
}

/// Opens a session to a node, and a stream in it, each time one is needed.
#[derive(Debug)]
pub struct SttConnector {
    node: stt::Node,
    address: String,
}

impl SttConnector {
    /// Connects `node` to `address`, as [`stt::Node::connect`] takes it.
    #[must_use]
    pub fn new(node: stt::Node, address: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { node, address: address.into() })
    }
}

impl Connector for SttConnector {
    fn destination(&self) -> &str {
        &self.address
    }

    fn connect(&self) -> Pending<'_, Result<Arc<dyn Transport>, TransportError>> {
        Box::pin(async move {
            let session = self.node.connect(&self.address).await?;
            let transport: Arc<dyn Transport> = SttTransport::new(session.open_stream()?);
            Ok(transport)
        })
    }
}
