//! Frames of the application's own, by type.
//!
//! A frame is a type byte and a payload. Types 0x80 to 0xFF belong to the application, the others
//! to STT. Where a frame travels keeps its boundaries, a message of a stream or a datagram, so the
//! encoding is the same for both: the type, then the payload to the end.

mod dispatcher;
mod error;
mod frame;

pub use dispatcher::{DispatcherStats, FrameDispatcher, FrameHandler};
pub use error::DispatchError;
pub use frame::{Carrier, Frame, FrameType};
