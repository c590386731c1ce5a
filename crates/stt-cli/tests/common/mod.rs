//! What tests of several commands share.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it"
)]

use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The program, without a seed.
pub(crate) fn stt() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stt"));
    command.env_remove("STT_SEED").stdin(Stdio::null());
    command
}

/// A directory with a seed in it.
pub(crate) fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let made = stt().args(["seed", "new", "--out"]).arg(home.path().join("seed")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    home
}
