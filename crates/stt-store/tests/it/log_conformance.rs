//! The suite of logs over the one in a directory.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test states what it expects by unwrapping it"
)]

use std::{fs, path::Path, sync::Arc};

use crate::log_suite::{self, Engine};
use async_trait::async_trait;
use stc::Key;
use stt_store::{
    ChamberKey,
    log::{DurableLog, Log, LogError, LogOptions, Position},
};
use tempfile::TempDir;

/// A log in a directory. After a crash it is what another process would find: a copy.
struct Directory {
    dir: TempDir,
    generation: u32,
}

impl Directory {
    fn place(&self) -> std::path::PathBuf {
        self.dir.path().join(self.generation.to_string())
    }

    async fn open_log(&self, seed: u8) -> Result<Log, LogError> {
        let key = ChamberKey::from_key(&Key::from_bytes([seed; 32]));
        let options = LogOptions::default().segment_bytes(64 << 10);
        Log::open(&key, self.place(), options).await
    }
}

/// What a crash at this moment leaves: a cursor is not ahead of what it was written for.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let in_order = |pick: fn(&Path) -> bool| {
        let paths = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| pick(path)).collect::<Vec<_>>()
    };
    let is_cursor = |path: &Path| path.extension().is_some_and(|extension| extension == "cur");
    for path in in_order(is_cursor) {
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    for path in in_order(|path| path.is_file()) {
        let to = to.join(path.file_name().unwrap());
        if !to.exists() {
            fs::copy(&path, to).unwrap();
        }
    }
    for path in in_order(|path| path.is_dir()) {
        copy(&path, &to.join(path.file_name().unwrap()));
    }
}

#[async_trait]
impl Engine for Directory {
    async fn open(&mut self, wrong_seed: bool) -> Result<Arc<dyn DurableLog>, LogError> {
        Ok(Arc::new(self.open_log(if wrong_seed { 8 } else { 7 }).await?))
    }

    async fn crash(&mut self) {
        let from = self.place();
        self.generation += 1;
        copy(&from, &self.place());
    }

    async fn set_aside(&mut self) {
        copy(&self.place(), &self.dir.path().join("aside"));
    }

    async fn put_back(&mut self) {
        self.generation += 1;
        copy(&self.dir.path().join("aside"), &self.place());
    }

    async fn trim(&mut self, to: Position) {
        self.open_log(7).await.unwrap().trim(to).await.unwrap();
    }

    async fn bytes(&mut self) -> Vec<u8> {
        let files = fs::read_dir(self.place()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.is_file()).flat_map(|path| fs::read(path).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_a_directory() {
    let fresh = |_: &str| Directory { dir: TempDir::new().unwrap(), generation: 0 };
    log_suite::run(fresh).await;
}
