//! Receiving a file.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    BLOCKS_AHEAD, Phase, Progress, ProgressHandler, TransferError,
    active::Claim,
    leave::{CHANGED, Leave, Parting},
    name::safe_name,
    partial::Partial,
    record::{self, HASH_LEN, Offer, Record},
    send::blocking,
};
use crate::{RawStream, Stream, StreamError};

/// Bytes taken from the stream at once.
const PIECE: usize = 1 << 20;
/// A sender that gave up and comes again is a moment ahead of the end of its first attempt, or a
/// while if its first attempt ended without a word.
const BUSY_ATTEMPTS: usize = 80;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// How to receive.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ReceiveOptions {
    /// Whether a file that has the name is replaced. Default: false, the offer is declined.
    pub overwrite: bool,
    /// Called with every step.
    pub progress: Option<ProgressHandler>,
    /// How many more files may arrive, shared by the transfers that it is given to; those beyond it
    /// are declined at their ends. Default: `None`, any number.
    pub files_left: Option<Arc<AtomicUsize>>,
}

/// A file that arrived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// Where it is now.
    pub path: PathBuf,
    /// Its name here, made safe.
    pub name: String,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes that were there from an earlier attempt.
    pub resumed_at: u64,
    /// BLAKE3 of the file.
    pub hash: [u8; HASH_LEN],
    /// Time from the offer to the end.
    pub elapsed: Duration,
}

/// Receives the file that the peer offers on `stream` into the directory `dir`.
///
/// It is written under a temporary name and gets its own when the hash fits. When it fails half way,
/// what arrived stays for the next attempt at the same file.
///
/// # Cancel safety
/// Dropping the future gives the transfer up, and the sender is told.
///
/// # Errors
/// [`TransferError`]; the sender is told too.
pub async fn receive_file(
    stream: Stream,
    dir: &Path,
    options: &ReceiveOptions,
) -> Result<Received, TransferError> {
    let mut stream = stream.into_raw();
    let _leave = Leave::new(&stream, Parting::Close);
    let received = receive(&mut stream, dir, options).await;
    let verdict = match &received {
        Ok(_) => Ok(()),
        // There is nobody left to be told.
        Err(TransferError::Stream(_)) => return received,
        // Nor is there anybody to be waited for.
        Err(TransferError::Replaced { .. }) => {
            let busy = received.as_ref().map(drop).map_err(TransferError::to_decline);
            let _ = record::write(&mut stream, &Record::Verdict(busy)).await;
            return received;
        }
        Err(error) => Err(error.to_decline()),
    };
    // The outcome here is what it is, whether or not the sender hears of it.
    let told = record::write(&mut stream, &Record::Verdict(verdict)).await;
    if told.is_ok() {
        let _ = stream.close().await;
    }
    received
}

async fn receive(
    stream: &mut RawStream,
    dir: &Path,
    options: &ReceiveOptions,
) -> Result<Received, TransferError> {
    let Record::Offer(offer) = record::read(stream).await? else {
        return Err(TransferError::Protocol { rule: "an offer was expected" });
    };
    let started = Instant::now();
    let name = safe_name(&offer.name).ok_or(TransferError::Name)?;
    let report = Report { progress: options.progress.clone(), name: name.clone(), offer };

    let report = Arc::new(report);
    let (claim, partial, have) = opened(dir, options.overwrite, &report).await?;
    tokio::select! {
        biased;
        received = take(stream, options, (partial, have), &claim, &report, started) => received,
        () = claim.replaced() => Err(TransferError::Replaced { name: report.name.clone() }),
    }
}

/// Takes the file into what is there of it.
async fn take(
    stream: &mut RawStream,
    options: &ReceiveOptions,
    (partial, have): (Partial, [u8; HASH_LEN]),
    claim: &Claim,
    report: &Arc<Report>,
    started: Instant,
) -> Result<Received, TransferError> {
    claim.heard();
    let name = report.name.clone();
    let answer = Record::Answer { have: partial.written(), hash: have };
    record::write(stream, &answer).await?;
    let Record::Start { offset } = record::read(stream).await? else {
        return Err(TransferError::Protocol { rule: "a start was expected" });
    };
    if offset != 0 && offset != partial.written() {
        return Err(TransferError::Protocol { rule: "a start where nothing ends" });
    }

    let size = report.offer.size;
    let (blocks, queue) = mpsc::channel(BLOCKS_AHEAD);
    let writing = {
        let report = Arc::clone(report);
        tokio::task::spawn_blocking(move || write(partial, offset, queue, &report))
    };
    let pulled = pull(stream, size - offset, blocks, claim).await;
    claim.working();
    let lost = TransferError::Protocol { rule: "the file's task was ended from outside" };
    // What could not be written is the cause; that nobody took more blocks is its consequence.
    let mut partial = writing.await.unwrap_or(Err(lost))?;
    if let Err(TransferError::Stream(StreamError::Reset { code, .. })) = &pulled
        && *code == u64::from(CHANGED)
    {
        partial.give_up();
    }
    let hash = pulled?;
    let left = options.files_left.clone();
    let path = blocking(move || finish(partial, hash, left.as_deref())).await?;
    if let Some(progress) = &options.progress {
        progress(Progress { phase: Phase::Done, name: name.clone(), done: size, total: size });
    }
    Ok(Received { path, name, size, resumed_at: offset, hash, elapsed: started.elapsed() })
}

/// Gives the file its name, if one more is wanted.
fn finish(
    mut partial: Partial,
    hash: [u8; HASH_LEN],
    left: Option<&AtomicUsize>,
) -> Result<PathBuf, TransferError> {
    let Some(left) = left else { return partial.finish(hash) };
    let one_less = |left: usize| left.checked_sub(1);
    if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
        partial.give_up();
        return Err(TransferError::Over);
    }
    let named = partial.finish(hash);
    if named.is_err() {
        left.fetch_add(1, Ordering::SeqCst);
    }
    named
}

struct Report {
    progress: Option<ProgressHandler>,
    name: String,
    offer: Offer,
}

impl Report {
    fn step(&self, phase: Phase, done: u64) {
        if let Some(progress) = &self.progress {
            let name = self.name.clone();
            progress(Progress { phase, name, done, total: self.offer.size });
        }
    }
}

/// Opens the unfinished file as soon as nobody else has it or its name, and hashes what is there.
async fn opened(
    dir: &Path,
    overwrite: bool,
    report: &Arc<Report>,
) -> Result<(Claim, Partial, [u8; HASH_LEN]), TransferError> {
    let target = dir.join(&report.name);
    let mut claim = None;
    for _ in 0..BUSY_ATTEMPTS {
        claim = claim.or_else(|| Claim::take(&target, &report.offer));
        if claim.is_some() {
            let (dir, report) = (dir.to_owned(), Arc::clone(report));
            match (blocking(move || open(&dir, overwrite, &report)).await, claim.take()) {
                // Another process has it.
                (Err(TransferError::Busy { .. }), kept) => claim = kept,
                (Ok((partial, have)), Some(claim)) => return Ok((claim, partial, have)),
                (Ok(_), None) => {}
                (Err(error), _) => return Err(error),
            }
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
    Err(TransferError::Busy { name: report.name.clone() })
}

fn open(
    dir: &Path,
    overwrite: bool,
    report: &Report,
) -> Result<(Partial, [u8; HASH_LEN]), TransferError> {
    let mut partial = Partial::open(dir, &report.name, &report.offer, overwrite)?;
    if partial.written() > report.offer.size {
        partial.restart()?;
    }
    let have = partial.check(|done| report.step(Phase::Checking, done))?;
    Ok((partial, have))
}

/// Takes `left` bytes and the hash from the stream.
async fn pull(
    stream: &mut RawStream,
    mut left: u64,
    blocks: mpsc::Sender<Bytes>,
    claim: &Claim,
) -> Result<[u8; HASH_LEN], TransferError> {
    while left > 0 {
        let max = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        let Some(piece) = stream.read_chunk(max).await? else {
            return Err(record::ended_early(stream).await);
        };
        left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        // The writing task says why it takes no more.
        let gone = TransferError::Protocol { rule: "the file's task ended early" };
        claim.working();
        blocks.send(piece).await.map_err(|_| gone)?;
        claim.heard();
    }
    drop(blocks);
    let hash = record::read_exact(stream, HASH_LEN).await?;
    hash.as_ref().try_into().map_err(|_| TransferError::Protocol { rule: "the hash is cut" })
}

/// Writes blocks as they come; what was written stays when they stop coming.
fn write(
    mut partial: Partial,
    offset: u64,
    mut queue: mpsc::Receiver<Bytes>,
    report: &Report,
) -> Result<Partial, TransferError> {
    if offset == 0 && partial.written() > 0 {
        partial.restart()?;
    }
    while let Some(block) = queue.blocking_recv() {
        partial.append(&block)?;
        report.step(Phase::Moving, partial.written());
    }
    Ok(partial)
}
