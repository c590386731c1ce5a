//! One thread that commits: whatever arrives while a commit is under way shares the next one.

use std::{sync::Arc, thread::JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::{
    core::PendingFile,
    index::{Change, Index, Unused},
};
use crate::StoreError;

/// Requests that may wait; more have to wait outside.
const QUEUE: usize = 1024;
/// Most requests, and bytes, in one commit: bounds the memory of a transaction.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 8 << 20;

struct Request {
    changes: Vec<Change>,
    /// The files that the changes point to.
    files: Vec<PendingFile>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Request {
    fn bytes(&self) -> usize {
        let bytes = |change: &Change| match change {
            Change::PutSmall { data, .. } => data.len(),
            Change::PutFile { .. } | Change::Delete { .. } => 64,
        };
        self.changes.iter().map(bytes).sum()
    }

    fn answer(self, index: &Index, result: Result<(), StoreError>) {
        for file in self.files {
            if result.is_ok() { file.keep() } else { file.settle(index) }
        }
        let _ = self.done.send(result);
    }
}

/// What to do with files that a commit made unused.
pub(super) type RemoveFiles = Arc<dyn Fn(Vec<Unused>) + Send + Sync>;

/// The way to the thread. The thread ends when this is dropped and all is done.
#[derive(Debug)]
pub(super) struct Committer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(super) fn start(index: Arc<Index>, remove: RemoveFiles) -> Result<Self, StoreError> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("stt-store".to_owned())
            .spawn(move || run(&index, queue, &remove))
            .map_err(|error| StoreError::io("the thread that commits", &error))?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Returns when `changes` are durable, or are not made.
    ///
    /// When the caller stops waiting, they may still be made.
    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        let request = Request { changes, files: Vec::new(), done };
        requests.send(request).await.map_err(|_| closed())?;
        Answer(answer).wait().await
    }

    /// The same from a thread that may block: it has written the files, and hands over to the
    /// thread that commits without a detour.
    pub(super) fn submit(
        &self,
        changes: Vec<Change>,
        files: Vec<PendingFile>,
    ) -> Result<Answer, StoreError> {
        let (done, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        requests.blocking_send(Request { changes, files, done }).map_err(|_| closed())?;
        Ok(Answer(answer))
    }
}

/// What a commit came to.
pub(super) struct Answer(oneshot::Receiver<Result<(), StoreError>>);

impl Answer {
    pub(super) async fn wait(self) -> Result<(), StoreError> {
        self.0.await.map_err(|_| closed())?
    }
}

fn closed() -> StoreError {
    StoreError::Closed { item: "a change".to_owned() }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It has at most one group to finish, after which the store can be opened again.
            let _ = thread.join();
        }
    }
}

fn run(index: &Index, mut queue: mpsc::Receiver<Request>, remove: &RemoveFiles) {
    while let Some(first) = queue.blocking_recv() {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while group.len() < GROUP
            && bytes < GROUP_BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += next.bytes();
            group.push(next);
        }
        commit_group(index, group, remove);
    }
}

fn commit_group(index: &Index, group: Vec<Request>, remove: &RemoveFiles) {
    let changes: Vec<Change> = group.iter().flat_map(|one| one.changes.iter().cloned()).collect();
    match index.commit(&changes) {
        Ok(unused) => {
            remove(unused);
            group.into_iter().for_each(|request| request.answer(index, Ok(())));
        }
        // One that is too large for the disk must not take the others with it.
        Err(StoreError::DiskFull { .. }) if group.len() > 1 => {
            for request in group {
                let result = index.commit(&request.changes).map(remove.as_ref());
                request.answer(index, result);
            }
        }
        Err(error) => {
            group.into_iter().for_each(|request| request.answer(index, Err(error.clone())));
        }
    }
}
