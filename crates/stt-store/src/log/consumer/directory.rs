//! Consumers of a log in a directory: each has a file for its cursor.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    cursor::{CursorFile, SUFFIX, Saved, path_of},
    engine::{CONSUMERS_MAX, Engine, Keeper, Opened, Snapshot},
    machine::Want,
};
use crate::{
    BoxFuture, StoreError,
    disk::blocking,
    log::{Log, LogError, Position, Record, reader::Reader, shared::Shared},
};

/// A consumer of a log in a directory.
#[derive(Debug)]
struct InDirectory {
    log: Log,
    reader: Arc<Mutex<Reader>>,
    file: Arc<Mutex<CursorFile>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_into(file: &mut CursorFile, snapshot: Snapshot, durable: bool) -> Result<u64, StoreError> {
    // Taken now, so that what is written last is the newest.
    let (version, saved) = snapshot();
    file.write(&saved, durable)?;
    Ok(version)
}

impl Engine for InDirectory {
    fn ends(&self) -> watch::Receiver<u64> {
        self.log.ends()
    }

    fn look(&self) -> BoxFuture<'_, LogError> {
        // Nobody else appends.
        Box::pin(std::future::pending())
    }

    fn position(&self, offset: u64) -> BoxFuture<'_, Position> {
        let position = self.log.shared().position(offset);
        Box::pin(async move { position })
    }

    fn read(&self, want: Want, _known: Position) -> BoxFuture<'_, Result<Vec<Record>, LogError>> {
        // What was checked when it was opened stays as it is: the directory is locked.
        let reader = self.reader.clone();
        Box::pin(async move {
            blocking("the log", move || Ok(lock(&reader).read(want.from, want.records, want.bytes)))
                .await?
        })
    }

    fn bury(&self, letter: Bytes) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async move {
            let dead = self.log.dead_letters().await?;
            dead.append(letter).await.map(drop)
        })
    }

    fn write(
        &self,
        snapshot: Snapshot,
        durable: bool,
    ) -> BoxFuture<'static, Result<Option<u64>, LogError>> {
        let file = self.file.clone();
        Box::pin(async move {
            let written =
                blocking("a cursor", move || write_into(&mut lock(&file), snapshot, durable));
            Ok(Some(written.await?).filter(|_| durable))
        })
    }

    fn note(&self, snapshot: Snapshot) -> Result<(), LogError> {
        match self.file.try_lock() {
            Ok(mut file) => Ok(write_into(&mut file, snapshot, false).map(drop)?),
            Err(_) => Ok(()),
        }
    }

    fn is_taken(&self) -> bool {
        false
    }
}

impl Log {
    fn opened(&self, (file, saved): (CursorFile, Saved)) -> Opened {
        let reader = Arc::new(Mutex::new(Reader::new(self.shared().clone())));
        let engine = InDirectory { log: self.clone(), reader, file: Arc::new(Mutex::new(file)) };
        (Arc::new(engine), saved)
    }
}

impl Keeper for Log {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Opened>, LogError>> {
        Box::pin(async move {
            let (shared, name) = (self.shared().clone(), name.to_owned());
            let found = blocking("a cursor", move || {
                CursorFile::open(&shared.fs, &shared.keys, &shared.dir, &name)
            });
            let Some(found) = found.await? else { return Ok(None) };
            self.shared().check_history(found.1.next)?;
            Ok(Some(self.opened(found)))
        })
    }

    fn make(&self, saved: Saved) -> BoxFuture<'_, Result<Opened, LogError>> {
        let shared = self.shared().clone();
        Box::pin(async move {
            let made = blocking("a cursor", move || Ok(make(&shared, saved)));
            Ok(self.opened(made.await??))
        })
    }

    fn all(&self) -> BoxFuture<'_, Result<Vec<Saved>, LogError>> {
        let shared = self.shared().clone();
        Box::pin(async move {
            let all = blocking("the cursors", move || {
                let peek = |path: PathBuf| CursorFile::peek(&shared.fs, &shared.keys, &path);
                files(&shared)?.into_iter().map(peek).collect()
            });
            Ok(all.await?)
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), LogError>> {
        let (shared, name) = (self.shared().clone(), name.to_owned());
        Box::pin(async move {
            let removed = blocking("a cursor", move || {
                let path = path_of(&shared.keys, &shared.dir, &name);
                match shared.fs.remove(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(shared.io(&error))
                    }
                    _ => shared.sync_dir(),
                }
            });
            Ok(removed.await?)
        })
    }

    fn check(&self, asked: Position) -> BoxFuture<'_, Result<(), LogError>> {
        let checked = self.shared().check(asked);
        Box::pin(async move { checked })
    }
}

fn files(shared: &Shared) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = shared.fs.list(&shared.dir).map_err(|error| shared.io(&error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == SUFFIX));
    Ok(paths)
}

fn make(shared: &Shared, saved: Saved) -> Result<(CursorFile, Saved), LogError> {
    let path = path_of(&shared.keys, &shared.dir, &saved.name);
    let others = files(shared)?.iter().filter(|other| **other != path).count();
    if others >= CONSUMERS_MAX {
        return Err(LogError::TooManyConsumers { limit: CONSUMERS_MAX });
    }
    let file = CursorFile::create(&shared.fs, &shared.keys, &shared.dir, &saved)?;
    Ok((file, saved))
}
