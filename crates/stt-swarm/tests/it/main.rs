//! Tests of members that find each other over loopback.

mod content;
mod distribution;
mod error_codes;
mod folders;
mod hostile;
mod limits;
mod restart;
mod swarm;
