//! The task that appends: calls that run at the same time share a message, and so a sync.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Duration, sleep},
};

use super::{
    frame::{MESSAGE_OVERHEAD, Mark, Part, mark},
    handle::Core,
    server::Published,
    tail::{Last, Tail},
};
use crate::log::{
    LogError, Position, now,
    segment::{FRAME_RECORDS_MAX, body_len},
};

/// Pauses between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// One call.
pub(super) struct Request {
    pub(super) records: Vec<Bytes>,
    pub(super) answer: oneshot::Sender<Result<Position, LogError>>,
    /// Its share of what may wait.
    pub(super) _room: OwnedSemaphorePermit,
}

/// Writes until all handles are gone.
pub(super) async fn run(core: Arc<Core>, mut requests: mpsc::Receiver<Request>) {
    let mut writer = Writer { core, mine: None, connects: 0, aged: None };
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(request) => request,
            None => match requests.recv().await {
                Some(request) => request,
                None => return,
            },
        };
        let mut batch = vec![first];
        let most = writer.core.server.message_max().saturating_sub(MESSAGE_OVERHEAD);
        let size = |batch: &[Request]| {
            batch.iter().fold((0, 0), |(bytes, count), request| {
                (bytes + body_len(&request.records), count + request.records.len())
            })
        };
        while let Ok(request) = requests.try_recv() {
            let (bytes, count) = size(&batch);
            let is_much = bytes + body_len(&request.records) > most
                || count + request.records.len() > FRAME_RECORDS_MAX;
            if is_much {
                next = Some(request);
                break;
            }
            batch.push(request);
        }
        let records: Vec<Bytes> =
            batch.iter().flat_map(|request| request.records.iter().cloned()).collect();
        let written = writer.append(&records).await;
        let mut before = 0;
        for Request { records, answer, .. } in batch {
            let of_call = |at: Position| Position { offset: at.offset + before, ..at };
            // Fails when the caller gave up.
            let _ = answer.send(written.clone().map(of_call));
            before += u64::try_from(records.len()).unwrap_or_default();
        }
        writer.remove_old();
    }
}

struct Writer {
    core: Arc<Core>,
    /// What this task wrote last, and as which part.
    mine: Option<(Part, Mark)>,
    /// The connection over which the end of the stream was seen.
    connects: u64,
    aged: Option<Instant>,
}

/// A message that was published, and of which nobody knows whether it is there.
struct Tried {
    part: Part,
    first: u64,
    expected: u64,
    message: Bytes,
}

impl Writer {
    /// Appends the records in one message, and returns where the first one stands.
    async fn append(&mut self, records: &[Bytes]) -> Result<Position, LogError> {
        let patience = self.core.patience;
        let (begun, mut pause) = (Instant::now(), PAUSES.0);
        let mut tried: Option<Tried> = None;
        loop {
            let connects = self.core.server.connects();
            // Behind a new connection may be another server, or the same with an older disk.
            if tried.is_some() || self.connects != connects || self.mine.is_none() {
                self.core.refresh().await?;
            }
            self.connects = connects;
            let next = match tried.take() {
                Some(tried) => match self.find(&tried).await? {
                    Found::There => return Ok(self.note(&tried, records).await),
                    Found::Open => tried,
                    Found::Not => self.seal(records).await?,
                },
                None => self.seal(records).await?,
            };
            let published = self.core.server.publish(next.message.clone(), next.expected).await?;
            if let Published::Stored(_) = published {
                return Ok(self.note(&next, records).await);
            }
            tried = Some(next);
            if begun.elapsed() + pause >= patience {
                let cause = stc::Cause::text("a message was not acknowledged in time");
                // Whatever comes next has to look first.
                self.mine = None;
                return Err(LogError::Unreachable { cause });
            }
            if published == Published::Open {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }

    /// A message with these records for the end of the stream as it is known.
    async fn seal(&self, records: &[Bytes]) -> Result<Tried, LogError> {
        let tail = self.core.tail.lock().await;
        let (first, expected) = (tail.end(), tail.next_sequence() - 1);
        let part = self.part(&tail)?;
        drop(tail);
        let message = part.encode(&self.core.server.keys, first, now(), records)?;
        Ok(Tried { part, first, expected, message })
    }

    /// The part that goes on if the last message is this task's, or a new one.
    fn part(&self, tail: &Tail) -> Result<Part, LogError> {
        match (self.mine, tail.last) {
            (Some((part, mark)), Some(last)) if last.mark == mark => Ok(part),
            _ => {
                let (first, before) = (tail.end(), tail.position(tail.end()).epoch);
                Ok(Part::new(first, tail.next_sequence(), before)?)
            }
        }
    }

    /// Whether a message is there, after the stream was looked at.
    async fn find(&self, tried: &Tried) -> Result<Found, LogError> {
        let last = self.core.tail.lock().await.last.map_or(0, |last| last.sequence);
        if last < tried.expected {
            // The stream went back: its end is another one.
            return Ok(Found::Not);
        }
        if last == tried.expected {
            return Ok(Found::Open);
        }
        let found = self.core.server.message(tried.expected + 1).await?;
        let is_there = found.is_some_and(|frame| Some(frame.mark) == mark(&tried.message));
        Ok(if is_there { Found::There } else { Found::Not })
    }

    async fn note(&mut self, tried: &Tried, records: &[Bytes]) -> Position {
        let Tried { part, first, .. } = *tried;
        let mark = mark(&tried.message).unwrap_or_default();
        let end = first + u64::try_from(records.len()).unwrap_or_default();
        let last = Last { sequence: tried.expected + 1, mark, end };
        self.mine = Some((part, mark));
        let mut tail = self.core.tail.lock().await;
        tail.appended(part, first, last);
        self.core.tell(&tail);
        Position { epoch: part.epoch, offset: first }
    }

    /// Removes what is too old, now and then, in a task of its own: nobody waits for it.
    fn remove_old(&mut self) {
        let Some(age) = self.core.keep_age else { return };
        let pause = (age / 8).max(Duration::from_millis(100));
        if self.aged.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.aged = Some(Instant::now());
        let core = Arc::clone(&self.core);
        tokio::spawn(async move {
            let _turn = core.removing.lock().await;
            if let Err(error) = core.remove_older(age).await {
                tracing::warn!(%error, "old records of a log were not removed");
            }
        });
    }
}

/// Whether a message is in the stream.
enum Found {
    There,
    /// It is not, and may still come.
    Open,
    /// Another one has its place.
    Not,
}
