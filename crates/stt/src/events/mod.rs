//! Events: what a node tells its application, and what parts of an application tell each other.
//!
//! | look for | in |
//! |---|---|
//! | registering handlers, emitting | [`EventEmitter`] |
//! | what keeps a handler; events one after the other | [`Subscription`], [`EventStream`] |
//! | which events | [`EventFilter`] |
//! | the built-in events, and events of your own | [`Event`], [`EventKind`] |
//! | what slow and panicking handlers lead to | [`EventEmitter`], "Drop rules" |

mod emitter;
mod error;
mod event;
mod filter;
mod handler;
mod subscription;

pub use emitter::{EmitterConfig, EmitterStats, EventEmitter};
pub use error::EventError;
pub use event::{CustomEvent, Event, EventKind};
pub use filter::EventFilter;
pub use handler::{Emission, EventHandler, HandlerFuture, HandlerStats};
pub use subscription::{EventStream, Subscription};
