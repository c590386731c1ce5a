//! What every backend promises, run over all of them.
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it, and knows its sizes"
)]

use crate::suite;
use std::sync::Arc;

use stt_store::{DiskOptions, DiskProvider, MemoryProvider};

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    suite::run(Arc::new(MemoryProvider::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk() {
    let dir = tempfile::tempdir().unwrap();
    suite::run(Arc::new(DiskProvider::open(dir.path(), DiskOptions::default()).await.unwrap()))
        .await;
}

/// Every blob in a file of its own.
#[tokio::test(flavor = "multi_thread")]
async fn disk_with_files_only() {
    let dir = tempfile::tempdir().unwrap();
    let options = DiskOptions::default().small_max(0);
    suite::run(Arc::new(DiskProvider::open(dir.path(), options).await.unwrap())).await;
}
