//! Managed streams: messages that survive their transport.
//!
//! | look for | in |
//! |---|---|
//! | making, finding and ending streams | [`StreamManager`], [`StreamConfig`], [`ManagerLimits`] |
//! | sending and receiving | [`ManagedStream`], [`BidirectionalStream`] |
//! | many streams at once | [`StreamMultiplexer`] |
//! | events to many | [`EventBroadcaster`], [`StreamingService`] |
//! | what a stream runs over | [`Transport`], [`Connector`], [`channel`], [`SttTransport`], [`ProtocolTransport`] |
//! | how much may be under way, and who is told to wait | [`FlowController`], [`Trigger`] |
//! | failures | [`StreamsError`], [`ErrorClass`], [`Recovery`], [`CircuitBreaker`], [`RetryBudget`] |
//! | numbers | [`ManagedStats`], [`StreamMetrics`], [`ServiceStats`], [`HealthReport`] |
//!
//! # Two ends
//!
//! ```
//! use stt_streams::{StreamConfig, StreamManager, channel};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (here, there) = channel::pair();
//! let ours = StreamManager::new(StreamConfig::new())?;
//! let theirs = StreamManager::new(StreamConfig::new())?;
//! let client = ours.new_bidirectional_stream("orders", here)?;
//! let server = theirs.new_bidirectional_stream("orders", there)?;
//!
//! client.send("order 1").await?;
//! assert_eq!(server.receive().await?, "order 1");
//! # Ok(())
//! # }
//! ```
//!
//! # Over sessions, one after the other
//!
//! [`StreamManager::connect_stream`] with an [`SttConnector`] dials again whenever the session
//! ends; the example `managed_session` cuts it while messages are under way. When nobody receives,
//! the sender is told to wait:
//!
//! ```
//! use stt_streams::{StreamConfig, StreamManager, StreamsError};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = StreamManager::new(StreamConfig::new())?;
//! let stream = manager.create_stream("work")?;
//! let refused = loop {
//!     if let Err(refused) = stream.try_send_message("a piece of work") {
//!         break refused;
//!     }
//! };
//! assert!(matches!(refused, StreamsError::Backpressure { .. }));
//! assert_eq!(stream.get_stats().buffer_size, 100);
//! # Ok(())
//! # }
//! ```
//!
//! Each item says what it promises; `docs/errors.md` says what to do when something goes wrong.

mod backpressure;
mod bidirectional;
mod breaker;
mod broadcaster;
mod budget;
pub mod channel;
mod config;
mod driver;
mod error;
mod event;
mod frame;
mod health;
mod inbound;
mod machine;
mod manager;
mod memory;
mod multiplexer;
mod outbound;
mod over_stt;
mod recovery;
mod service;
mod shared;
mod stats;
mod stream;
mod transport;
mod window;

pub use backpressure::Trigger;
pub use bidirectional::BidirectionalStream;
pub use breaker::{BreakerConfig, BreakerState, CircuitBreaker};
pub use broadcaster::{EventBroadcaster, EventSubscription};
pub use budget::RetryBudget;
pub use bytes::{self, Bytes};
pub use config::{MESSAGE_OVERHEAD, StreamConfig};
pub use error::{ErrorClass, StatusCode, StreamsError};
pub use event::{StreamEvent, StreamEventKind};
pub use health::{HealthReport, StreamsHealth};
pub use manager::{ManagerLimits, StreamManager};
pub use multiplexer::StreamMultiplexer;
pub use over_stt::{PROTOCOL_LABEL, ProtocolTransport, SttConnector, SttTransport};
pub use recovery::Recovery;
pub use service::{
    FileOperation, FileOperationEvent, HealthEvent, PeerChange, PeerEvent, ServiceEvent,
    StreamingService, SystemChange, SystemEvent,
};
pub use stats::{ManagedStats, ServiceStats, StreamMetrics};
pub use stc::{self, Coded};
pub use stream::ManagedStream;
pub use stt::{self, Payload};
pub use transport::{Connector, Pending, Transport, TransportError, max_frame_size};
pub use window::FlowController;
