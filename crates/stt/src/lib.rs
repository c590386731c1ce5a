//! STT: private byte streams between machines that share a seed.

pub mod affinity;
pub mod dispatch;
pub mod events;
mod id;
pub mod priority;
mod reason;
mod recent;
mod unwind;
mod value;

pub use affinity::AffinityPool;
pub use dispatch::FrameDispatcher;
pub use events::{Event, EventEmitter, EventKind};
pub use id::{IdParseError, NodeId, SessionId};
pub use priority::Priority;
pub use reason::{CloseReason, Refusal};
pub use stc::Coded;
pub use value::{Fields, Value};
