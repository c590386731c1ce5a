//! STT: private byte streams between machines that share a seed.

mod id;
mod reason;

pub use id::{IdParseError, NodeId, SessionId};
pub use reason::{CloseReason, Refusal};
pub use stc::Coded;
