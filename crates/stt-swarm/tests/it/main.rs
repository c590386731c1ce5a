//! Tests of members that find each other over loopback.

#[path = "../../../stc/tests/common/error_page.rs"]
mod error_page;

mod content;
mod distribution;
mod error_codes;
mod folders;
mod hostile;
mod limits;
mod restart;
mod swarm;
