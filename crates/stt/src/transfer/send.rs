//! Sending a file (docs/streams.md, FILE-3).

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use stc::{FileChanged, FileStamp};
use tokio::sync::mpsc;

use super::{
    BLOCK, BLOCKS_AHEAD, Phase, Progress, ProgressHandler, TransferError,
    leave::Leave,
    record::{self, Decline, HASH_LEN, MAX_NAME, Offer, Record},
};
use crate::{RawStream, Session};

/// How to send.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SendOptions {
    /// The name to offer. Default: the file's own.
    pub name: Option<String>,
    /// Called with every step.
    pub progress: Option<ProgressHandler>,
}

/// A file that arrived, as the sender knows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sent {
    /// The name that was offered.
    pub name: String,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes that were there from an earlier attempt.
    pub resumed_at: u64,
    /// BLAKE3 of the file, which the receiver compared.
    pub hash: [u8; HASH_LEN],
    /// Time from the offer to the receiver's word that all is well.
    pub elapsed: Duration,
}

/// Sends the file at `path` and returns once the receiver has verified and named it.
///
/// Constant memory, whatever the size. Interrupted, the same call goes on where it stopped.
///
/// # Cancel safety
/// Dropping the future gives the transfer up, and the receiver is told.
///
/// # Errors
/// [`TransferError`].
pub async fn send_file(
    session: &Session,
    path: &Path,
    options: &SendOptions,
) -> Result<Sent, TransferError> {
    let (file, stamp, offer) = {
        let (path, name) = (path.to_owned(), options.name.clone());
        blocking(move || open(&path, name)).await?
    };
    let started = Instant::now();
    let mut stream = session.open_stream()?.into_raw();
    // The receiver must not wait for somebody who is gone, on whatever way this ends.
    let mut leave = Leave::sender(&stream);
    record::write(&mut stream, &Record::Offer(offer.clone())).await?;
    let (have, theirs) = match word(&mut stream).await? {
        Record::Answer { have, hash } => (have, hash),
        Record::Verdict(Err(decline)) => return Err(TransferError::Declined { decline }),
        _ => return Err(TransferError::Protocol { rule: "an answer was expected" }),
    };

    let report = Arc::new(Report { progress: options.progress.clone(), offer: offer.clone() });
    let (blocks, queue) = mpsc::channel(BLOCKS_AHEAD);
    let reading = {
        let report = Arc::clone(&report);
        let source = Source { file, stamp, path: path.to_owned(), size: offer.size, report };
        tokio::task::spawn_blocking(move || source.run(have, theirs, &blocks))
    };
    // The receiver may give up half way: its word is awaited while bytes still go out.
    let mut answers = stream.stream().clone().into_raw();
    let mut answer = std::pin::pin!(verdict(&mut answers));
    let (pushed, early) = tokio::select! {
        biased;
        verdict = &mut answer => (Ok(()), Some(verdict)),
        pushed = push(&mut stream, queue, &report) => (pushed, None),
    };
    let read = join(reading).await;
    match &read {
        // Only a whole file is ended in good order.
        Ok(_) => stream.stream().start_close(),
        Err(TransferError::Changed { .. }) => leave.changed(),
        Err(_) => {}
    }
    let outcome = match (read, pushed, early) {
        (Err(error), ..) => Err(error),
        (Ok(_), _, Some(Err(error))) => Err(error),
        (Ok(_), _, Some(Ok(()))) => {
            Err(TransferError::Protocol { rule: "a verdict before the end" })
        }
        (Ok(finished), Ok(()), None) => answer.await.map(|()| finished),
        (Ok(_), Err(error), None) => Err(error),
    };
    let Finished { hash, resumed_at } = outcome?;
    leave.in_good_order();
    if let Some(progress) = &options.progress {
        let (name, total) = (offer.name.clone(), offer.size);
        progress(Progress { phase: Phase::Done, name, done: total, total });
    }
    let elapsed = started.elapsed();
    Ok(Sent { name: offer.name, size: offer.size, resumed_at, hash, elapsed })
}

/// Runs file work where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    join(tokio::task::spawn_blocking(work)).await
}

async fn join<T>(
    task: tokio::task::JoinHandle<Result<T, TransferError>>,
) -> Result<T, TransferError> {
    let lost = TransferError::Protocol { rule: "the file's task was ended from outside" };
    task.await.unwrap_or(Err(lost))
}

fn open(path: &Path, name: Option<String>) -> Result<(File, FileStamp, Offer), TransferError> {
    let failed = |error| TransferError::file("open", path, error);
    // Looked at before it is opened: opening a pipe would wait for its other end.
    let not_a_file = || TransferError::NotAFile { path: path.to_owned() };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(not_a_file());
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let stamp = FileStamp::of(&metadata);
    let own = || path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.or_else(own).filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
    let modified = metadata
        .modified()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_nanos()).ok());
    let offer = Offer {
        name: name.ok_or(TransferError::Name)?,
        size: metadata.len(),
        modified: modified.unwrap_or(0),
    };
    Ok((file, stamp, offer))
}

/// A piece of what is sent, and how much of the file is done with it.
type Block = (Bytes, Option<u64>);

/// Sends what the reading task produces. What waits in the stream counts as done, at most a queue
/// and a window; what was only read does not.
async fn push(
    stream: &mut RawStream,
    mut queue: mpsc::Receiver<Block>,
    report: &Report,
) -> Result<(), TransferError> {
    while let Some((block, done)) = queue.recv().await {
        stream.write_chunk(block).await?;
        if let Some(done) = done {
            report.step(Phase::Moving, done);
        }
    }
    Ok(())
}

/// What the receiver says. One that ends without a word could not go on.
async fn word(stream: &mut RawStream) -> Result<Record, TransferError> {
    match record::read_next(stream).await? {
        Some(record) => Ok(record),
        None => {
            record::session_end(stream).await.map_or(Ok(Record::Verdict(Err(Decline::Other))), Err)
        }
    }
}

async fn verdict(stream: &mut RawStream) -> Result<(), TransferError> {
    match word(stream).await? {
        Record::Verdict(Ok(())) => Ok(()),
        Record::Verdict(Err(decline)) => Err(TransferError::Declined { decline }),
        _ => Err(TransferError::Protocol { rule: "a verdict was expected" }),
    }
}

struct Report {
    progress: Option<ProgressHandler>,
    offer: Offer,
}

impl Report {
    fn step(&self, phase: Phase, done: u64) {
        if let Some(progress) = &self.progress {
            let name = self.offer.name.clone();
            progress(Progress { phase, name, done, total: self.offer.size });
        }
    }
}

struct Finished {
    hash: [u8; HASH_LEN],
    resumed_at: u64,
}

/// The file, read block by block by a task that may block.
struct Source {
    file: File,
    stamp: FileStamp,
    path: PathBuf,
    size: u64,
    report: Arc<Report>,
}

impl Source {
    /// Checks what the receiver has, then produces the start record, the rest of the file and its
    /// hash. A receiver of blocks that went away ends it early without an error of its own.
    fn run(
        mut self,
        have: u64,
        theirs: [u8; HASH_LEN],
        blocks: &mpsc::Sender<Block>,
    ) -> Result<Finished, TransferError> {
        let mut hasher = blake3::Hasher::new();
        let mut offset = 0;
        if have > 0 && have <= self.size {
            while offset < have && !blocks.is_closed() {
                let block = self.read(have - offset)?;
                hasher.update(&block);
                offset += len(&block);
                self.report.step(Phase::Checking, offset);
            }
            if hasher.finalize() != blake3::Hash::from_bytes(theirs) {
                hasher.reset();
                offset = 0;
                self.file
                    .seek(SeekFrom::Start(0))
                    .map_err(|error| TransferError::file("read", &self.path, error))?;
            }
        }
        let resumed_at = offset;
        let mut gone = blocks.blocking_send((Record::Start { offset }.encode(), None)).is_err();
        while offset < self.size && !gone {
            let block = self.read(self.size - offset)?;
            hasher.update(&block);
            offset += len(&block);
            gone = blocks.blocking_send((block, Some(offset))).is_err();
        }
        let hash = *hasher.finalize().as_bytes();
        if !gone {
            self.must_end()?;
            let _ = blocks.blocking_send((Bytes::copy_from_slice(&hash), None));
        }
        Ok(Finished { hash, resumed_at })
    }

    /// The next block, at most `left` bytes.
    fn read(&mut self, left: u64) -> Result<Bytes, TransferError> {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
        let mut block = vec![0; size];
        match self.file.read(&mut block) {
            Ok(0) => Err(self.of_other_length()),
            Ok(read) => {
                block.truncate(read);
                Ok(block.into())
            }
            Err(error) => Err(TransferError::file("read", &self.path, error)),
        }
    }

    /// The file must be as it was at the start: what was sent is neither the old nor the new one.
    fn must_end(&mut self) -> Result<(), TransferError> {
        match self.file.read(&mut [0]) {
            Ok(0) => match self.stamp.verify(&self.file) {
                Ok(()) => Ok(()),
                Err(error) if FileChanged::is_inside(&error) => {
                    Err(TransferError::Changed { path: self.path.clone() })
                }
                Err(error) => Err(TransferError::file("read", &self.path, error)),
            },
            Ok(_) => Err(self.of_other_length()),
            Err(error) => Err(TransferError::file("read", &self.path, error)),
        }
    }

    /// It is shorter or longer than it said: it changed, or it is one that the system makes up
    /// while it is read, whose length nobody knows before.
    fn of_other_length(&self) -> TransferError {
        let path = self.path.clone();
        match self.stamp.verify(&self.file) {
            Ok(()) => TransferError::NotAFile { path },
            Err(_) => TransferError::Changed { path },
        }
    }
}

fn len(block: &Bytes) -> u64 {
    u64::try_from(block.len()).unwrap_or(u64::MAX)
}
