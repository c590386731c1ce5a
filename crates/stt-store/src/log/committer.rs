//! The thread that appends: whatever arrives while a sync is under way shares the next one.

use std::{sync::Arc, thread::JoinHandle};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::{
    LogError, now,
    retention::Retention,
    segment::{FRAME_RECORDS_MAX, body_len},
    shared::Shared,
    writer::Writer,
};
use crate::StoreError;

/// Requests that may wait; more have to wait outside.
const QUEUE: usize = 1024;
/// Bytes of the records that may wait; more have to wait outside.
const QUEUE_BYTES: usize = 32 << 20;
/// Bytes after which a group takes no further request.
const GROUP_BYTES: usize = 2 << 20;
/// Bytes of one request at most, a single record excepted.
pub(super) const REQUEST_BYTES_MAX: usize = 8 << 20;

struct Request {
    records: Vec<Bytes>,
    bytes: usize,
    done: oneshot::Sender<Result<u64, StoreError>>,
    /// Its share of what may wait.
    _room: OwnedSemaphorePermit,
}

/// The way to the thread. The thread ends when this is dropped and all is done.
#[derive(Debug)]
pub(super) struct Committer {
    requests: Option<mpsc::Sender<Request>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(super) fn start(
        writer: Writer,
        shared: Arc<Shared>,
        retention: Retention,
        end: watch::Sender<u64>,
    ) -> Result<Self, StoreError> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("stt-log".to_owned())
            .spawn(move || run(writer, &shared, queue, &retention, &end))
            .map_err(|error| StoreError::io("the thread that appends", &error))?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        Ok(Self { requests: Some(requests), room, thread: Some(thread) })
    }

    /// Returns the offset of the first record when all are durable.
    pub(super) async fn append(&self, records: Vec<Bytes>) -> Result<u64, LogError> {
        let bytes = body_len(&records);
        let share = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(share).await.map_err(|_| closed())?;
        let (done, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        let request = Request { records, bytes, done, _room: room };
        requests.send(request).await.map_err(|_| closed())?;
        Ok(answer.await.map_err(|_| closed())??)
    }
}

fn closed() -> StoreError {
    StoreError::Closed { item: "a record of the log".to_owned() }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It has at most what waits to finish, after which the log can be opened again.
            let _ = thread.join();
        }
    }
}

fn run(
    mut writer: Writer,
    shared: &Shared,
    mut queue: mpsc::Receiver<Request>,
    retention: &Retention,
    end: &watch::Sender<u64>,
) {
    let mut segments = shared.usage().0;
    while let Some(first) = queue.blocking_recv() {
        let (mut bytes, mut records) = (first.bytes, first.records.len());
        let mut group = vec![first];
        let mut apart = None;
        while bytes < GROUP_BYTES
            && let Ok(next) = queue.try_recv()
        {
            if records + next.records.len() > FRAME_RECORDS_MAX {
                apart = Some(next);
                break;
            }
            bytes += next.bytes;
            records += next.records.len();
            group.push(next);
        }
        commit(&mut writer, group);
        if let Some(request) = apart {
            commit(&mut writer, vec![request]);
        }
        end.send_replace(shared.end());
        let now = shared.usage().0;
        if now != segments {
            retention.look();
        }
        segments = now;
    }
    writer.close(now());
}

fn commit(writer: &mut Writer, group: Vec<Request>) {
    let records: Vec<Bytes> =
        group.iter().flat_map(|request| request.records.iter().cloned()).collect();
    match writer.append(&records, now()) {
        Ok(mut first) => {
            for request in group {
                let count = request.records.len() as u64;
                let _ = request.done.send(Ok(first));
                first += count;
            }
        }
        // One that is too large for the disk must not take the others with it.
        Err(StoreError::DiskFull { .. }) if group.len() > 1 => {
            for request in group {
                let result = writer.append(&request.records, now());
                let _ = request.done.send(result);
            }
        }
        Err(error) => {
            for request in group {
                let _ = request.done.send(Err(error.clone()));
            }
        }
    }
}
