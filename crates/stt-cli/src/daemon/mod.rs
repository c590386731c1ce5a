//! The node that `stt up` runs in a directory: who runs it, and how other commands reach it.

mod args;
mod claim;
mod client;
mod record;

pub(crate) use args::{NodeArgs, connect, path_for};
pub(crate) use claim::Claim;
pub(crate) use client::{Calls, Client, not_running};
pub(crate) use record::{Phase, Record, find};
