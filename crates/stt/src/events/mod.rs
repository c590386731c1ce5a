//! Events: what a node tells its application, and what parts of an application tell each other.
//!
//! | look for | in |
//! |---|---|
//! | registering handlers, emitting | [`EventEmitter`] |
//! | the built-in events, and events of your own | [`Event`], [`EventKind`] |
//! | what slow and panicking handlers lead to | [`EventEmitter`], "Drop rules" |

mod emitter;
mod error;
mod event;
mod handler;

pub use emitter::{EmitterConfig, EmitterStats, EventEmitter};
pub use error::EventError;
pub use event::{CustomEvent, Event, EventKind};
pub use handler::{Emission, EventHandler, HandlerFuture, HandlerId, HandlerStats};
