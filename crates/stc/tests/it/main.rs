//! Tests through the public API.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/error_page.rs"]
mod error_page;

mod decoys;
mod errors;
mod files;
mod laws;
mod messages;
mod reference;
mod state;
mod vectors;
