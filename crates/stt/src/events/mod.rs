//! Events: what a node tells its application, and what parts of an application tell each other.
//!
//! | look for | in |
//! |---|---|
//! | registering handlers, emitting | [`EventEmitter`] |
//! | what keeps a handler; events one after the other | [`Subscription`], [`EventStream`] |
//! | which events | [`EventFilter`] |
//! | the built-in events, and events of your own | [`Event`], [`EventKind`] |
//! | what slow and panicking handlers lead to | [`EventEmitter`], "Drop rules" |
//!
//! ```
//! use stt::{Event, EventEmitter, EventKind};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let events = EventEmitter::new(); // A node's: `node.events()`.
//! let mut warnings = events.subscribe(EventKind::Warning)?;
//! events.emit(Event::Warning { code: "disk.low", details: "1 GiB is left".into() });
//! let warning = warnings.next().await.ok_or("the emitter is gone")?;
//! assert_eq!(warning.kind(), EventKind::Warning);
//!
//! // A handler stays as long as its subscription is kept.
//! let handler = events.on(EventKind::SessionClosed, |event| async move {
//!     println!("{event:?}");
//! })?;
//! drop(handler);
//! # Ok(())
//! # }
//! ```

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
