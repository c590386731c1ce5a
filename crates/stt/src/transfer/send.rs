//! Sending a file or a directory (docs/streams.md, FILE-1 to FILE-4).

use std::{
    collections::VecDeque,
    convert::Infallible,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    AHEAD, BLOCKS_AHEAD, LABEL, Phase, Progress, ProgressHandler, TransferError,
    acknowledged::Acknowledged,
    leave::Leave,
    record::{self, Answer, Decline, HASH_LEN, Peer, Record},
    source::{Finished, Source},
    tree::Tree,
};
use crate::{ContentId, ProtocolSender, Session, StreamError};

/// How long the receiver's word is waited for when it takes no more bytes.
const LAST_WORD: Duration = Duration::from_secs(10);

/// How to send.
#[derive(Clone, Default)]
pub struct SendOptions {
    name: Option<String>,
    progress: Option<ProgressHandler>,
}

impl SendOptions {
    /// All defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The name to offer. Default: the file's or directory's own.
    #[must_use]
    pub fn name(mut self, name: impl Into<Option<String>>) -> Self {
        self.name = name.into();
        self
    }

    /// Is called with every step. Default: nothing is.
    #[must_use]
    pub fn progress(mut self, handler: ProgressHandler) -> Self {
        self.progress = Some(handler);
        self
    }
}

/// What arrived, as the sender knows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sent {
    /// The name that was offered.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Files of it: 1 for a file.
    pub files: u64,
    /// Links, and what else is neither a file nor a directory, that were left out of a directory.
    pub left_out: u64,
    /// Bytes of all files.
    pub size: u64,
    /// Bytes that were there from an earlier attempt.
    pub resumed_at: u64,
    /// BLAKE3 of the file, which the receiver compared; of a directory that of its files' hashes, one
    /// after the other in the order of the offer.
    pub hash: ContentId,
    /// Time from the offer to the receiver's word that all is well.
    pub elapsed: Duration,
}

/// Sends the file or directory at `path` and returns once the receiver has verified and named it.
///
/// Constant memory for bytes, whatever the size; a directory's list is kept, 65,536 files and
/// directories at most. Links in it are not followed but left out. Interrupted, the same call goes
/// on where it stopped.
///
/// # Cancel safety
/// Dropping the future gives the transfer up, and the receiver is told.
///
/// # Errors
/// [`TransferError`]; [`TransferError::Refused`] when the peer takes no files, or is of the first
/// version.
pub async fn send(
    session: &Session,
    path: impl AsRef<Path>,
    options: &SendOptions,
) -> Result<Sent, TransferError> {
    let tree = {
        let (path, name) = (path.as_ref().to_owned(), options.name.clone());
        Arc::new(blocking(move || Tree::read(path, name)).await?)
    };
    let started = Instant::now();
    let (sender, receiver) = session.open_protocol(LABEL)?.into_split();
    // The receiver must not wait for somebody who is gone, on whatever way this ends.
    let mut leave = Leave::new(sender);
    let peer = Peer::new(receiver, session.clone());
    let (answers, mut answered) = mpsc::channel(AHEAD + 1);
    let report = Report {
        progress: options.progress.clone(),
        tree: Arc::clone(&tree),
        acknowledged: Arc::default(),
    };
    // The receiver may give up at any time: its word is awaited while bytes go out.
    let mut hearing = std::pin::pin!(hear(&peer, answers));
    // Bytes arrive while others still wait, and when all of them were pushed.
    let is_lost = leave.sender.failed();
    let mut telling = std::pin::pin!(report.tell(is_lost));
    let (pushed, heard) = {
        let mut pushing = std::pin::pin!(push(&mut leave.sender, &mut answered, &report));
        tokio::select! {
            biased;
            early = &mut hearing => {
                early?;
                // The last byte was sent, and this task is a moment behind the receiver. If that one
                // lies, the answers that are missing say so.
                (pushing.await, true)
            }
            pushed = &mut pushing => (pushed, false),
            never = &mut telling => match never {},
        }
    };
    let Pushed { hash, resumed_at } = match pushed {
        Ok(pushed) => pushed,
        Err(TransferError::Changed { path }) => {
            leave.changed();
            return Err(TransferError::Changed { path });
        }
        // It says why it takes no more, or ends without a word.
        Err(TransferError::Stream(StreamError::Reset { id, code })) if !heard => {
            let word = tokio::time::timeout(LAST_WORD, hearing).await;
            let stopped = StreamError::Reset { id, code };
            return Err(word.ok().and_then(Result::err).unwrap_or(stopped.into()));
        }
        Err(error) => return Err(error),
    };
    leave.sender.start_close();
    if !heard {
        tokio::select! {
            biased;
            heard = hearing => heard?,
            never = telling => match never {},
        }
    }
    leave.in_good_order();
    let (root, size) = (tree.list.root(), tree.list.bytes());
    let name = root.path.clone();
    if let Some(progress) = &options.progress {
        progress(Progress { phase: Phase::Done, name: name.clone(), done: size, total: size });
    }
    Ok(Sent {
        name,
        is_dir: root.is_dir,
        files: u64::try_from(tree.list.files().len()).unwrap_or(u64::MAX),
        left_out: tree.left_out,
        size,
        resumed_at,
        hash: ContentId::from_bytes(hash),
        elapsed: started.elapsed(),
    })
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

struct Pushed {
    hash: [u8; HASH_LEN],
    resumed_at: u64,
}

/// Offers, and sends each file as its answer comes.
async fn push(
    sender: &mut ProtocolSender,
    answered: &mut mpsc::Receiver<Answer>,
    report: &Report,
) -> Result<Pushed, TransferError> {
    let list = &report.tree.list;
    let wire = list.encode();
    let entries = u64::try_from(list.len()).unwrap_or(0);
    let offer = Record::Offer { entries, list: u64::try_from(wire.len()).unwrap_or(0) };
    record::write(sender, &offer).await?;
    sender.write_chunk(wire).await?;
    let (mut hashes, mut last) = (blake3::Hasher::new(), [0; HASH_LEN]);
    let mut resumed_at = 0u64;
    // Bytes of each of the last files that do not count themselves.
    let mut short = VecDeque::new();
    for at in list.files() {
        let gone = TransferError::Protocol { rule: "the answers ended early" };
        let answer = answered.recv().await.ok_or(gone)?;
        // Answers are so many files ahead of what arrived (FILE-3).
        if short.len() > AHEAD {
            report.acknowledged.add(short.pop_front().unwrap_or(0));
        }
        let Pushing { finished, uncounted } = push_file(sender, at, answer, report).await?;
        short.push_back(uncounted);
        resumed_at = resumed_at.saturating_add(finished.resumed_at);
        hashes.update(&finished.hash);
        last = finished.hash;
    }
    let hash = if list.root().is_dir { *hashes.finalize().as_bytes() } else { last };
    Ok(Pushed { hash, resumed_at })
}

/// A file that was pushed.
struct Pushing {
    finished: Finished,
    /// Bytes of it that do not count themselves when they arrive.
    uncounted: u64,
}

/// Sends one file.
async fn push_file(
    sender: &mut ProtocolSender,
    at: usize,
    answer: Answer,
    report: &Report,
) -> Result<Pushing, TransferError> {
    let (blocks, mut queue) = mpsc::channel::<Block>(BLOCKS_AHEAD);
    let reading = {
        let report = report.clone();
        tokio::task::spawn_blocking(move || {
            let source = Source::open(&report.tree, at)?;
            let before = report.acknowledged.bytes();
            source.run(answer, &blocks, |done| report.step(Phase::Checking, before + done))
        })
    };
    let (mut pushed, mut uncounted) = (Ok(()), 0u64);
    while let Some(block) = queue.recv().await {
        pushed = match block {
            Block::Start { offset } => {
                report.acknowledged.add(offset);
                record::write(sender, &Record::Start { offset }).await
            }
            Block::Content(bytes) if Acknowledged::counts(&bytes) => {
                write_pieces(sender, report.acknowledged.pieces(bytes)).await
            }
            Block::Content(bytes) => {
                uncounted = uncounted.saturating_add(u64::try_from(bytes.len()).unwrap_or(0));
                write_pieces(sender, [bytes]).await
            }
            Block::Hash(hash) => write_pieces(sender, [Bytes::copy_from_slice(&hash)]).await,
        };
        if pushed.is_err() {
            break;
        }
    }
    drop(queue);
    // What could not be read is the cause.
    let finished = join(reading).await?;
    pushed?;
    Ok(Pushing { finished, uncounted })
}

async fn write_pieces(
    sender: &mut ProtocolSender,
    pieces: impl IntoIterator<Item = Bytes>,
) -> Result<(), TransferError> {
    for piece in pieces {
        sender.write_chunk(piece).await?;
    }
    Ok(())
}

/// What follows the answer for a file, in this order.
pub(super) enum Block {
    /// Its bytes from here on follow.
    Start {
        /// From where on.
        offset: u64,
    },
    /// Some of them.
    Content(Bytes),
    /// The hash of all of it.
    Hash([u8; HASH_LEN]),
}

/// Passes answers on, to the verdict. A receiver that ends without one could not go on.
async fn hear(peer: &Peer, answers: mpsc::Sender<Answer>) -> Result<(), TransferError> {
    loop {
        match peer.next().await? {
            Some(Record::Answer(answer)) => {
                let many = TransferError::Protocol { rule: "answers too far ahead" };
                answers.try_send(answer).map_err(|_| many)?;
            }
            Some(Record::Verdict(verdict)) => {
                return verdict.map_err(|decline| TransferError::Declined { decline });
            }
            Some(_) => return Err(TransferError::Protocol { rule: "an answer was expected" }),
            None => {
                let other = TransferError::Declined { decline: Decline::Other };
                return Err(peer.session_end().await.unwrap_or(other));
            }
        }
    }
}

#[derive(Clone)]
struct Report {
    progress: Option<ProgressHandler>,
    tree: Arc<Tree>,
    acknowledged: Arc<Acknowledged>,
}

impl Report {
    /// Tells of what has arrived, for as long as it is asked. A stream that broke drops what has not
    /// arrived, too.
    async fn tell(&self, is_lost: impl Fn() -> bool) -> Infallible {
        loop {
            self.acknowledged.changed().await;
            let done = self.acknowledged.bytes();
            if !is_lost() {
                self.step(Phase::Moving, done);
            }
        }
    }

    fn step(&self, phase: Phase, done: u64) {
        if let Some(progress) = &self.progress {
            let (name, total) = (self.tree.list.root().path.clone(), self.tree.list.bytes());
            progress(Progress { phase, name, done, total });
        }
    }
}
