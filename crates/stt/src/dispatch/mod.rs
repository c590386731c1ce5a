//! Frames of the application's own, by type.
//!
//! A frame is a type byte and a payload. Types 0x80 to 0xFF belong to the application, the others
//! to STT. Where a frame travels keeps its boundaries, a message of a stream or a datagram, so the
//! encoding is the same for both: the type, then the payload to the end.
//!
//! ```
//! use stt::{FrameDispatcher, Key, Mode, Node, SharedSeed, dispatch::Frame};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let seed = SharedSeed::from_key(Key::generate()?);
//! # let server = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
//! # let client = Node::builder(seed).host("127.0.0.1").start(Mode::Client).await?;
//! const GREETING: u8 = 0x80;
//!
//! let session = client.connect(server.local_addr()).await?;
//! let accepted = server.accept().await.ok_or("the server stopped")?;
//! let frames = FrameDispatcher::new();
//! let (heard, mut hearing) = tokio::sync::mpsc::unbounded_channel();
//! frames.register_handler(GREETING, move |frame: Frame| {
//!     let _ = heard.send(frame.payload);
//!     async {}
//! })?;
//! let _dispatching = accepted.dispatch_frames(&frames)?;
//! session.send_frame(GREETING, "hello").await?;
//! assert_eq!(hearing.recv().await.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```

mod dispatcher;
mod error;
mod frame;

pub use dispatcher::{DispatcherStats, FrameDispatcher, FrameHandler};
pub use error::DispatchError;
pub use frame::{Carrier, Frame, FrameType};
