//! Receiving a file or a directory.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::{
    AHEAD, BLOCKS_AHEAD, Phase, Progress, ProgressHandler, TransferError,
    active::Claim,
    folder::{Folder, offer_of},
    leave::CHANGED,
    list::{List, MAX_ENTRIES, MAX_LIST},
    name::safe_name,
    partial::Partial,
    record::{self, Answer, Decline, HASH_LEN, Offer, Peer, Record},
    send::blocking,
};
use crate::{ContentId, ProtocolSender, ProtocolStream, Stream, StreamError};

/// Bytes taken from the stream at once.
const PIECE: usize = 1 << 20;
/// A sender that gave up and comes again is a moment ahead of the end of its first attempt, or a
/// while if its first attempt ended without a word.
const BUSY_ATTEMPTS: usize = 80;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// KiB that the lists of all transfers of this process hold.
static LISTS: Semaphore = Semaphore::const_new(64 << 10);
/// What an entry holds beside the bytes of its path, twice: as it was offered and as it is here.
const ENTRY: usize = 224;
/// How long a list may take to arrive, and how long one waits for room.
const LIST_WITHIN: Duration = Duration::from_secs(30);
const ROOM_WITHIN: Duration = Duration::from_secs(5);

/// How to receive.
#[derive(Clone, Default)]
pub struct ReceiveOptions {
    overwrite: bool,
    preserve: bool,
    progress: Option<ProgressHandler>,
    files_left: Option<Arc<AtomicUsize>>,
}

impl ReceiveOptions {
    /// All defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a file that has the name is replaced; a directory never is. Default: false, the offer
    /// is declined.
    #[must_use]
    pub const fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Whether files and directories get the sender's permissions, but for those of others to write,
    /// and the time of their last change. Default: false; only their owner can read them.
    #[must_use]
    pub const fn preserve(mut self, preserve: bool) -> Self {
        self.preserve = preserve;
        self
    }

    /// Is called with every step. Default: nothing is.
    #[must_use]
    pub fn progress(mut self, handler: ProgressHandler) -> Self {
        self.progress = Some(handler);
        self
    }

    /// How many more offers may arrive, a directory counting as one, shared by the transfers that it is
    /// given to; those beyond it are declined at their ends. Default: any number.
    #[must_use]
    pub fn files_left(mut self, left: impl Into<Option<Arc<AtomicUsize>>>) -> Self {
        self.files_left = left.into();
        self
    }
}

/// A file or directory that arrived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// Where it is now.
    pub path: PathBuf,
    /// Its name here, made safe.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Files of it: 1 for a file.
    pub files: u64,
    /// Bytes of all files.
    pub size: u64,
    /// Bytes that were there from an earlier attempt.
    pub resumed_at: u64,
    /// BLAKE3 of the file; of a directory that of its files' hashes, one after the other in the order
    /// of the offer.
    pub hash: ContentId,
    /// Time from the offer to the end.
    pub elapsed: Duration,
}

/// Receives what the peer offers on `stream`, one of the protocol [`LABEL`](super::LABEL), into the
/// directory `dir`.
///
/// It is written under a temporary name and gets its own when all hashes fit. When it fails half way,
/// what arrived stays for the next attempt at the same.
///
/// # Cancel safety
/// Dropping the future gives the transfer up, and the sender is told.
///
/// # Errors
/// [`TransferError`]; the sender is told too.
pub async fn receive(
    stream: ProtocolStream,
    dir: impl AsRef<Path>,
    options: &ReceiveOptions,
) -> Result<Received, TransferError> {
    let session = stream.session();
    let (mut sender, receiver) = stream.into_split();
    let peer = Peer::new(receiver, session);
    let received = receive_offer(&mut sender, &peer, dir.as_ref(), options).await;
    let verdict = match &received {
        Ok(_) => Ok(()),
        // There is nobody left to be told.
        Err(TransferError::Stream(_)) => return received,
        // Nor is there anybody to be waited for.
        Err(TransferError::Replaced { .. }) => {
            let busy = Record::Verdict(Err(Decline::Busy));
            let _ = record::write(&mut sender, &busy).await;
            return received;
        }
        Err(error) => Err(error.to_decline()),
    };
    // The outcome here is what it is, whether or not the sender hears of it.
    let told = record::write(&mut sender, &Record::Verdict(verdict)).await;
    if told.is_ok() {
        let _ = sender.close().await;
    }
    received
}

/// Tells a sender of the first version, which opens a stream without a label, that it is declined:
/// otherwise it would wait for an answer (docs/streams.md, FILE-6).
///
/// # Errors
/// [`StreamError`]: there is nobody to be told.
pub async fn decline_first_version(stream: Stream) -> Result<(), StreamError> {
    let mut raw = stream.clone().into_raw();
    let told = raw.write_chunk(Record::Verdict(Err(Decline::Other)).encode()).await;
    stream.start_close();
    stream.ignore();
    // It hears the verdict, not that nobody reads.
    stream.shared.set_owned(false);
    told
}

/// What all tasks of a transfer know of it.
struct Plan {
    dir: PathBuf,
    name: String,
    list: List,
    overwrite: bool,
    preserve: bool,
    progress: Option<ProgressHandler>,
}

impl Plan {
    fn step(&self, phase: Phase, done: u64) {
        if let Some(progress) = &self.progress {
            let (name, total) = (self.name.clone(), self.list.bytes());
            progress(Progress { phase, name, done, total });
        }
    }

    /// Tells the same offer from others.
    fn offer(&self) -> Offer {
        let root = self.list.root();
        if !root.is_dir {
            return offer_of(root);
        }
        let hash = blake3::hash(&self.list.encode());
        let of_list = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Offer { name: root.path.clone(), size: self.list.bytes(), modified: of_list }
    }
}

/// Where it goes.
enum Target {
    File(Box<Partial>),
    Directory(Arc<Folder>),
}

async fn receive_offer(
    sender: &mut ProtocolSender,
    peer: &Peer,
    dir: &Path,
    options: &ReceiveOptions,
) -> Result<Received, TransferError> {
    let Record::Offer { entries, list } = peer.record().await? else {
        return Err(TransferError::Protocol { rule: "an offer was expected" });
    };
    let started = Instant::now();
    let len = usize::try_from(list).ok().filter(|len| *len <= MAX_LIST);
    let len = len.ok_or(TransferError::Protocol { rule: "the list of an offer is too long" })?;
    let _room = room(len, entries).await?;
    let late = |_| TransferError::Protocol { rule: "the list of an offer did not arrive in 30 s" };
    let list = tokio::time::timeout(LIST_WITHIN, peer.exact(len)).await.map_err(late)?;
    let list = List::decode(&list?, entries)?;
    let name = safe_name(&list.root().path).ok_or(TransferError::Name)?;
    let plan = Arc::new(Plan {
        dir: dir.to_owned(),
        name,
        list,
        overwrite: options.overwrite,
        preserve: options.preserve,
        progress: options.progress.clone(),
    });
    let (claim, target) = opened(&plan).await?;
    // What is of no use goes when the last one lets go of it, which may take a while.
    let folder = match &target {
        Target::File(_) => None,
        Target::Directory(folder) => Some(Arc::clone(folder)),
    };
    let taken = tokio::select! {
        biased;
        taken = take((sender, peer), target, &plan, &claim, options) => taken,
        () = claim.replaced() => Err(TransferError::Replaced { name: plan.name.clone() }),
    };
    blocking(move || {
        drop(folder);
        Ok(())
    })
    .await?;
    let taken = taken?;
    let (size, name) = (plan.list.bytes(), plan.name.clone());
    plan.step(Phase::Done, size);
    Ok(Received {
        path: taken.path,
        name,
        is_dir: plan.list.root().is_dir,
        files: u64::try_from(plan.list.files().len()).unwrap_or(u64::MAX),
        size,
        resumed_at: taken.resumed_at,
        hash: ContentId::from_bytes(taken.hash),
        elapsed: started.elapsed(),
    })
}

/// Room for a list, as it arrives and as it is kept.
async fn room(len: usize, entries: u64) -> Result<SemaphorePermit<'static>, TransferError> {
    let entries = usize::try_from(entries).unwrap_or(usize::MAX).min(MAX_ENTRIES);
    let bytes = len.saturating_mul(2).saturating_add(entries.saturating_mul(ENTRY));
    let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
    let room = tokio::time::timeout(ROOM_WITHIN, LISTS.acquire_many(kib)).await;
    let full = || TransferError::Busy { name: "an offer of many files".to_owned() };
    room.ok().and_then(Result::ok).ok_or_else(full)
}

struct Taken {
    path: PathBuf,
    resumed_at: u64,
    hash: [u8; HASH_LEN],
}

/// Takes all files into what is there of them.
async fn take(
    (sender, peer): (&mut ProtocolSender, &Peer),
    target: Target,
    plan: &Arc<Plan>,
    claim: &Claim,
    options: &ReceiveOptions,
) -> Result<Taken, TransferError> {
    let files = plan.list.files();
    let (mut done, mut resumed_at) = (0u64, 0u64);
    let left = options.files_left.clone();
    match target {
        Target::File(partial) => {
            let (partial, have) = checked(*partial, plan, 0, None).await?;
            answer(sender, &partial, have, claim).await?;
            let (partial, from, hash) = take_file(peer, partial, 0, (plan, 0), claim).await?;
            let path = blocking(move || {
                counted(partial, left.as_deref(), Partial::give_up, |it| it.finish(hash))
            });
            Ok(Taken { path: path.await?, resumed_at: from, hash })
        }
        Target::Directory(folder) => {
            let mut hashes = blake3::Hasher::new();
            let mut upcoming = files.iter();
            let mut ready = VecDeque::new();
            for at in &files {
                while ready.len() < AHEAD
                    && let Some(next) = upcoming.next()
                {
                    claim.working();
                    let partial = part(&folder, plan, *next).await?;
                    let (partial, have) =
                        checked(partial, plan, done, Some(Arc::clone(&folder))).await?;
                    answer(sender, &partial, have, claim).await?;
                    ready.push_back(partial);
                }
                let none = TransferError::Protocol { rule: "a file that was not offered" };
                let partial = ready.pop_front().ok_or(none)?;
                let (partial, from, hash) =
                    take_file(peer, partial, *at, (plan, done), claim).await?;
                done = done.saturating_add(partial.written());
                resumed_at = resumed_at.saturating_add(from);
                blocking(move || partial.settle(hash)).await?;
                hashes.update(&hash);
            }
            let (plan, hash) = (Arc::clone(plan), *hashes.finalize().as_bytes());
            let finish = move || {
                counted(folder, left.as_deref(), |it| it.give_up(), |it| it.finish(&plan.list))
            };
            Ok(Taken { path: blocking(finish).await?, resumed_at, hash })
        }
    }
}

/// Says what is there of a file.
async fn answer(
    sender: &mut ProtocolSender,
    partial: &Partial,
    hash: [u8; HASH_LEN],
    claim: &Claim,
) -> Result<(), TransferError> {
    claim.heard();
    let answer = Answer { have: partial.written(), hash };
    record::write(sender, &Record::Answer(answer)).await
}

/// Opens the unfinished file of an entry of a directory.
async fn part(folder: &Arc<Folder>, plan: &Arc<Plan>, at: usize) -> Result<Partial, TransferError> {
    let (folder, plan) = (Arc::clone(folder), Arc::clone(plan));
    blocking(move || {
        let none = TransferError::Protocol { rule: "a file that was not offered" };
        let below = at.checked_sub(1);
        let Some((below, entry)) = below.and_then(|at| Some((at, plan.list.below().get(at)?)))
        else {
            return Err(none);
        };
        folder.part(below, entry)
    })
    .await
}

/// Hashes what is there of a file. Its directory is not let go of before that ends, even if nobody
/// waits for it any more.
async fn checked(
    mut partial: Partial,
    plan: &Arc<Plan>,
    before: u64,
    folder: Option<Arc<Folder>>,
) -> Result<(Partial, [u8; HASH_LEN]), TransferError> {
    let plan = Arc::clone(plan);
    if partial.written() == 0 {
        return Ok((partial, *blake3::hash(b"").as_bytes()));
    }
    blocking(move || {
        let have = partial.check(|done| plan.step(Phase::Checking, before.saturating_add(done)));
        drop(folder);
        Ok((partial, have?))
    })
    .await
}

/// Takes the rest of one file, from where the sender starts.
async fn take_file(
    peer: &Peer,
    mut partial: Partial,
    at: usize,
    (plan, before): (&Arc<Plan>, u64),
    claim: &Claim,
) -> Result<(Partial, u64, [u8; HASH_LEN]), TransferError> {
    let none = TransferError::Protocol { rule: "a file that was not offered" };
    let entry = plan.list.get(at).ok_or(none)?;
    claim.heard();
    // Of a directory it is not known which of its files changed; one that did has another name the
    // next time.
    let is_useless = |error: &TransferError| {
        let changed = u64::from(CHANGED);
        at == 0
            && matches!(error, TransferError::Stream(StreamError::Reset { code, .. })
                if *code == changed)
    };
    let offset = match peer.record().await {
        Ok(Record::Start { offset }) => offset,
        Ok(_) => return Err(TransferError::Protocol { rule: "a start was expected" }),
        Err(error) => {
            if is_useless(&error) {
                partial.give_up();
            }
            return Err(error);
        }
    };
    if offset != 0 && offset != partial.written() {
        return Err(TransferError::Protocol { rule: "a start where nothing ends" });
    }
    if plan.preserve {
        partial.keep(entry.clone());
    }
    let (blocks, queue) = mpsc::channel(BLOCKS_AHEAD);
    let writing = {
        let plan = Arc::clone(plan);
        tokio::task::spawn_blocking(move || {
            write(partial, offset, queue, |done| plan.step(Phase::Moving, before + done))
        })
    };
    let pulled = pull(peer, entry.size.saturating_sub(offset), blocks, claim).await;
    claim.working();
    let lost = TransferError::Protocol { rule: "the file's task was ended from outside" };
    // What could not be written is the cause; that nobody took more blocks is its consequence.
    let mut partial = writing.await.unwrap_or(Err(lost))?;
    if pulled.as_ref().is_err_and(is_useless) {
        partial.give_up();
    }
    Ok((partial, offset, pulled?))
}

/// Gives it its name, if one more is wanted.
fn counted<T>(
    mut it: T,
    left: Option<&AtomicUsize>,
    give_up: impl FnOnce(&mut T),
    name: impl FnOnce(T) -> Result<PathBuf, TransferError>,
) -> Result<PathBuf, TransferError> {
    let Some(left) = left else { return name(it) };
    let one_less = |left: usize| left.checked_sub(1);
    if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
        give_up(&mut it);
        return Err(TransferError::Over);
    }
    let named = name(it);
    if named.is_err() {
        left.fetch_add(1, Ordering::SeqCst);
    }
    named
}

/// Opens what is unfinished as soon as nobody else has it or its name.
async fn opened(plan: &Arc<Plan>) -> Result<(Claim, Target), TransferError> {
    let (target, offer) = (plan.dir.join(&plan.name), plan.offer());
    let mut claim = None;
    for _ in 0..BUSY_ATTEMPTS {
        claim = claim.or_else(|| Claim::take(&target, &offer));
        if claim.is_some() {
            let plan = Arc::clone(plan);
            match (blocking(move || open(&plan)).await, claim.take()) {
                // Another process has it.
                (Err(TransferError::Busy { .. }), kept) => claim = kept,
                (Ok(target), Some(claim)) => return Ok((claim, target)),
                (Ok(_), None) => {}
                (Err(error), _) => return Err(error),
            }
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
    Err(TransferError::Busy { name: plan.name.clone() })
}

fn open(plan: &Plan) -> Result<Target, TransferError> {
    let Plan { dir, name, list, overwrite, preserve, .. } = plan;
    if list.root().is_dir {
        return Ok(Target::Directory(Arc::new(Folder::open(dir, name, list, *preserve)?)));
    }
    let offer = offer_of(list.root());
    let mut partial = Partial::open(dir, name, &offer, *overwrite)?;
    if partial.written() > offer.size {
        partial.restart()?;
    }
    Ok(Target::File(Box::new(partial)))
}

/// Takes `left` bytes and the hash from the stream.
async fn pull(
    peer: &Peer,
    mut left: u64,
    blocks: mpsc::Sender<Bytes>,
    claim: &Claim,
) -> Result<[u8; HASH_LEN], TransferError> {
    while left > 0 {
        let max = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        let piece = peer.piece(max).await?;
        left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        // The writing task says why it takes no more.
        let gone = TransferError::Protocol { rule: "the file's task ended early" };
        claim.working();
        blocks.send(piece).await.map_err(|_| gone)?;
        claim.heard();
    }
    drop(blocks);
    let hash = peer.exact(HASH_LEN).await?;
    hash.as_ref().try_into().map_err(|_| TransferError::Protocol { rule: "the hash is cut" })
}

/// Writes blocks as they come; what was written stays when they stop coming.
fn write(
    mut partial: Partial,
    offset: u64,
    mut queue: mpsc::Receiver<Bytes>,
    moved: impl Fn(u64),
) -> Result<Partial, TransferError> {
    if offset == 0 && partial.written() > 0 {
        partial.restart()?;
    }
    while let Some(block) = queue.blocking_recv() {
        partial.append(&block)?;
        moved(partial.written());
    }
    Ok(partial)
}
