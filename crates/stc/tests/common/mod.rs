//! Contexts that are cheap to make.
#![allow(clippy::unwrap_used, dead_code, reason = "shared by test files that use parts of it")]

use stc::{Context, Key};

/// The least memory that a stretch may have.
pub(crate) fn context(seed: &str) -> Context {
    Context::builder(seed).lattice(16, 1).build().unwrap()
}

/// A context without any stretch for its seed.
pub(crate) fn keyed() -> Context {
    Context::builder(Key::from_bytes([42; 32])).lattice(16, 1).build().unwrap()
}
