//! A log on a NATS JetStream server: for those who outgrow one machine.
//!
//! The server sees sealed frames only. What it promises is what it does: whether it syncs before it
//! acknowledges is asked for with [`JetStreamOptions::monitor`]. The format and the promises
//! are in `docs/log.md`.

mod consumer;
mod cursors;
mod frame;
mod handle;
mod monitor;
mod options;
mod server;
mod tail;
mod writer;

pub use async_nats;
pub use handle::JetStreamLog;
pub use options::JetStreamOptions;
