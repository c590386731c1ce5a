//! STT: private byte streams between machines that share a seed.

pub mod affinity;
pub mod delivery;
pub mod dispatch;
pub mod events;
mod id;
mod identity;
mod keyring;
pub mod priority;
mod reason;
mod recent;
mod seed;
mod unwind;
mod value;
// The node takes all of it up.
#[allow(dead_code, unused_imports)]
mod wire;

pub use affinity::AffinityPool;
pub use delivery::Delivery;
pub use dispatch::FrameDispatcher;
pub use events::{Event, EventEmitter, EventKind};
pub use id::{IdParseError, NodeId, SessionId};
pub use identity::{Identity, IdentityError};
pub use keyring::{Keyring, KeyringError, SeedId};
pub use priority::Priority;
pub use reason::{CloseReason, Refusal};
pub use seed::{SeedError, SeedWarning, SharedSeed};
pub use stc::Coded;
pub use value::{Fields, Value};
pub use wire::{HandshakeError, WireError, WireStats};
