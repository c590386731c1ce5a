//! The node that `stt up` runs in a directory: who runs it, and how other commands reach it.

mod claim;
mod client;
mod record;

pub(crate) use claim::Claim;
pub(crate) use client::{Client, not_running};
pub(crate) use record::{Phase, Record, find};
