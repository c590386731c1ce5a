//! STT: private byte streams between machines that share a seed.

pub mod events;
mod id;
mod reason;
mod value;

pub use events::{Event, EventEmitter, EventKind};
pub use id::{IdParseError, NodeId, SessionId};
pub use reason::{CloseReason, Refusal};
pub use stc::Coded;
pub use value::{Fields, Value};
