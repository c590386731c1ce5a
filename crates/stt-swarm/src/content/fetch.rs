//! The fetching side: many providers, one file.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use blake3::Hash;
use stc::Cause;
use stt::{
    Node, NodeId,
    transfer::{Phase, safe_name},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    folder::fetch_folder,
    partial::{Partial, Place},
    plan::{Groups, Plan, count},
    sessions::Sessions,
    source,
    verify::Group,
    wire::group_bytes,
};
use crate::{ContentError, ContentTicket, Provider, ProviderFailure};

/// Groups between the streams and the disk.
const QUEUE: usize = 64;

/// Most pieces that a provider is asked for at once.
const MAX_STREAMS: usize = 64;

/// Bytes between two calls of the progress handler.
const STEP: u64 = 256 << 10;

/// How to fetch.
#[derive(Clone)]
pub struct FetchOptions {
    pub(super) name: Option<String>,
    pub(super) streams_per_provider: usize,
    pub(super) connect_timeout: Duration,
    pub(super) patience: Duration,
    pub(super) progress: Option<Arc<dyn Fn(FetchProgress) + Send + Sync>>,
}

impl FetchOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the file or folder, instead of the one in the ticket. Default: none.
    #[must_use]
    pub fn name(mut self, name: impl Into<Option<String>>) -> Self {
        self.name = name.into();
        self
    }

    /// Pieces of 1 MiB that each provider is asked for at once, 1 to 64. Default: 4.
    #[must_use]
    pub const fn streams_per_provider(mut self, streams: usize) -> Self {
        self.streams_per_provider = streams;
        self
    }

    /// How long to wait for a session with a provider. Default: 10 s.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a provider may be silent. Default: 30 s.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Called with every step; it must not block. Default: none.
    #[must_use]
    pub fn progress(mut self, handler: impl Fn(FetchProgress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(handler));
        self
    }
}

impl FetchOptions {
    /// Whether all settings are inside their ranges.
    pub(super) fn check(&self) -> Result<(), ContentError> {
        ContentError::within("streams_per_provider", self.streams_per_provider, MAX_STREAMS)
    }
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            name: None,
            streams_per_provider: 4,
            connect_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            progress: None,
        }
    }
}

impl std::fmt::Debug for FetchOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How far a fetch is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FetchProgress {
    /// What is being done.
    pub phase: Phase,
    /// The name of the file or folder on this side.
    pub name: String,
    /// Bytes that are verified, those of earlier attempts included.
    pub done: u64,
    /// Bytes of the file, or of all files of the folder.
    pub total: u64,
    /// Each provider's part.
    pub providers: Vec<ProviderReport>,
}

/// What one provider did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProviderReport {
    /// Who it is.
    pub node_id: NodeId,
    /// Bytes that it delivered and that verified.
    pub bytes: u64,
    /// The same by the second, since the fetch began.
    pub bytes_per_second: f64,
    /// Why nothing more is asked of it, if so.
    pub dropped: Option<Cause>,
    /// It sent what did not verify, or broke a rule.
    pub lied: bool,
}

/// A content that is there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fetched {
    /// Where it is now.
    pub path: PathBuf,
    /// Its name here, made safe.
    pub name: String,
    /// Its length in bytes; of a folder, that of all files.
    pub size: u64,
    /// How many files it is.
    pub files: u64,
    /// Bytes that were there from earlier attempts.
    pub resumed: u64,
    /// Bytes that came more than once.
    pub duplicates: u64,
    /// What each provider did.
    pub providers: Vec<ProviderReport>,
    /// Time from the call to the end.
    pub elapsed: Duration,
}

/// What all tasks of one fetch share.
pub(super) struct Shared {
    pub(super) sessions: Arc<Sessions>,
    pub(super) root: Hash,
    pub(super) size: u64,
    pub(super) options: FetchOptions,
    name: String,
    plan: Mutex<Plan>,
    /// Counts what happened to the plan.
    version: watch::Sender<u64>,
    writer: mpsc::Sender<Group>,
    /// Verified bytes, those of earlier attempts included.
    done: AtomicU64,
    sources: Vec<Source>,
    started: Instant,
}

struct Source {
    node_id: NodeId,
    bytes: AtomicU64,
    ended: Mutex<Option<(Cause, bool)>>,
}

impl Shared {
    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verified bytes of one provider.
    pub(super) fn received(&self, index: usize) -> u64 {
        self.sources.get(index).map_or(0, |source| source.bytes.load(Ordering::Relaxed))
    }

    /// Something happened to the plan.
    pub(super) fn changed(&self) {
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    async fn until(&self, mut is_so: impl FnMut(&Plan) -> bool) {
        let mut versions = self.version.subscribe();
        while !is_so(&self.plan()) {
            if versions.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ready once all is verified.
    pub(super) async fn done(&self) {
        self.until(Plan::is_done).await;
    }

    /// Ready once others delivered all of a piece.
    pub(super) async fn until_useless(&self, job: u64) {
        self.until(|plan| !plan.is_needed(job)).await;
    }

    /// Has a verified group written, if it is new. Fails when nothing can be written any more.
    pub(super) async fn deliver(&self, mut group: Group, job: u64, index: usize) -> Result<(), ()> {
        let len = u64::try_from(group.data.len()).unwrap_or(u64::MAX);
        // The place comes first: a group counts only when it is sure to be written.
        let place = self.writer.reserve().await.map_err(|_| ())?;
        if let Some(source) = self.sources.get(index) {
            source.bytes.fetch_add(len, Ordering::Relaxed);
        }
        let number = group.start / group_bytes();
        let (is_new, is_done) = {
            let mut plan = self.plan();
            (plan.verified(job, number), plan.is_done())
        };
        let before = self.done.load(Ordering::Relaxed);
        if is_new {
            self.done.fetch_add(len, Ordering::Relaxed);
        } else {
            // Its hashes may prove groups that follow.
            group.data.clear();
        }
        place.send(group);
        if before / STEP != before.saturating_add(len) / STEP {
            self.report(Phase::Moving);
        }
        // The others care for the end of a piece only, which its task tells.
        if is_done {
            self.changed();
        }
        Ok(())
    }

    fn providers(&self) -> Vec<ProviderReport> {
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let report = |source: &Source| {
            let bytes = source.bytes.load(Ordering::Relaxed);
            let ended = source.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let (dropped, lied) = ended.map_or((None, false), |(why, lied)| (Some(why), lied));
            // Exact enough for people.
            let bytes_per_second = bytes as f64 / seconds;
            ProviderReport { node_id: source.node_id, bytes, bytes_per_second, dropped, lied }
        };
        self.sources.iter().map(report).collect()
    }

    fn report(&self, phase: Phase) {
        if let Some(progress) = &self.options.progress {
            progress(FetchProgress {
                phase,
                name: self.name.clone(),
                done: self.done.load(Ordering::Relaxed),
                total: self.size,
                providers: self.providers(),
            });
        }
    }
}

/// Fetches the content of `ticket` into the directory `dir`, from all its providers at once.
///
/// Every 16 KiB are verified before they are written, and the file gets its name when all of it is
/// there. A provider that sends anything else is dropped at once; one that is lost is tried again a
/// few times; what a slow one was asked for is fetched from a faster one in the end. What arrived
/// before a failure, or before this machine lost its power, is not fetched again.
///
/// A folder comes file by file, eight at once, and gets its name when all of it is there. Names in
/// it that are not safe on this machine are changed as [`safe_name`] does.
///
/// Sessions that there are with a provider are used and left; those that this call begins end with
/// it.
///
/// # Cancel safety
/// Dropping the future ends the fetch; what was written stays for the next one.
///
/// # Errors
/// [`ContentError`].
pub async fn fetch(
    node: &Node,
    ticket: &ContentTicket,
    dir: impl AsRef<Path>,
    options: &FetchOptions,
) -> Result<Fetched, ContentError> {
    options.check()?;
    let asked = options.name.as_deref().unwrap_or_else(|| ticket.name());
    let name = safe_name(asked).ok_or(ContentError::Name)?;
    let sessions = Arc::new(Sessions::new(node, options.connect_timeout));
    if ticket.is_folder() {
        return fetch_folder(&sessions, ticket, dir.as_ref(), name, options).await;
    }
    let place = Place { dir: dir.as_ref().to_owned(), name };
    let wanted = Wanted { root: ticket.root().into(), size: ticket.size(), place };
    fetch_one(&sessions, wanted, ticket.providers(), options).await
}

/// A content, and where it is put.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) root: Hash,
    pub(super) size: u64,
    pub(super) place: Place,
}

/// Fetches one content into a file.
pub(super) async fn fetch_one(
    sessions: &Arc<Sessions>,
    wanted: Wanted,
    providers: &[Provider],
    options: &FetchOptions,
) -> Result<Fetched, ContentError> {
    let started = Instant::now();
    let Wanted { root, size, place } = wanted;
    let name = place.name.clone();
    if let Some(progress) = &options.progress {
        let (name, providers) = (name.clone(), Vec::new());
        let phase = Phase::Checking;
        progress(FetchProgress { phase, name, done: 0, total: size, providers });
    }
    let opened = move || {
        let partial = Partial::open(&place, root, size)?;
        let missing = partial.missing()?;
        Ok((partial, missing))
    };
    let (partial, missing) = blocking(opened).await?;
    let resumed = size.saturating_sub(bytes_of(&missing, size));
    if missing.is_empty() {
        return finish(partial, options, &name, started, resumed).await;
    }
    if providers.is_empty() {
        return Err(ContentError::NoProvider);
    }
    let (writer, queue) = mpsc::channel(QUEUE);
    let shared = Arc::new(Shared {
        sessions: Arc::clone(sessions),
        root,
        size,
        options: options.clone(),
        name,
        plan: Mutex::new(Plan::new(missing)),
        version: watch::Sender::new(0),
        writer,
        done: AtomicU64::new(resumed),
        sources: providers
            .iter()
            .map(|provider| Source {
                node_id: provider.node_id,
                bytes: AtomicU64::new(0),
                ended: Mutex::default(),
            })
            .collect(),
        started,
    });
    let writing = tokio::task::spawn_blocking(move || write(partial, queue));
    gather(&shared, providers).await;
    let (providers, duplicates) = (shared.providers(), shared.plan().duplicates());
    let is_done = shared.plan().is_done();
    let name = shared.name.clone();
    // With the last of those who share it, the writer's queue ends.
    drop(shared);
    let partial = writing.await.map_err(|_| ContentError::Ended)??;
    if !is_done {
        let failure = |report: &ProviderReport| {
            let cause = report.dropped.clone().unwrap_or_else(|| Cause::text("ended early"));
            ProviderFailure { node_id: report.node_id, cause }
        };
        return Err(ContentError::Unavailable { causes: providers.iter().map(failure).collect() });
    }
    let mut fetched = finish(partial, options, &name, started, resumed).await?;
    fetched.duplicates = duplicates.saturating_mul(group_bytes());
    fetched.providers = providers;
    Ok(fetched)
}

/// Runs all providers until all is there or none is left.
async fn gather(shared: &Arc<Shared>, providers: &[Provider]) {
    let mut sources = JoinSet::new();
    for (index, provider) in providers.iter().enumerate() {
        let (shared, provider) = (Arc::clone(shared), provider.clone());
        sources.spawn(async move { (index, source::run(shared, provider, index).await) });
    }
    loop {
        let ended = tokio::select! {
            ended = sources.join_next() => ended,
            // The writer failed.
            () = shared.writer.closed() => break,
            () = shared.done() => break,
        };
        match ended {
            Some(Ok((index, Err(error)))) => {
                if let Some(source) = shared.sources.get(index) {
                    let (lied, is_for_all) = (error.is_lie(), error.is_for_all());
                    let why = (Cause::from(error), lied);
                    if is_for_all {
                        shared.sessions.avoid(source.node_id, why.0.clone(), lied);
                    }
                    *source.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    shared.report(Phase::Moving);
                }
            }
            Some(_) => {}
            None => break,
        }
    }
    sources.shutdown().await;
}

/// Writes groups until nobody sends any more.
fn write(partial: Partial, mut queue: mpsc::Receiver<Group>) -> Result<Partial, ContentError> {
    while let Some(group) = queue.blocking_recv() {
        partial.write(&group)?;
    }
    Ok(partial)
}

async fn finish(
    partial: Partial,
    options: &FetchOptions,
    name: &str,
    started: Instant,
    resumed: u64,
) -> Result<Fetched, ContentError> {
    let size = partial.size();
    let path = blocking(move || partial.finish()).await?;
    if let Some(progress) = &options.progress {
        let (name, providers) = (name.to_owned(), Vec::new());
        progress(FetchProgress { phase: Phase::Done, name, done: size, total: size, providers });
    }
    Ok(Fetched {
        path,
        name: name.to_owned(),
        size,
        files: 1,
        resumed,
        duplicates: 0,
        providers: Vec::new(),
        elapsed: started.elapsed(),
    })
}

/// Bytes in these groups of a content of `size` bytes.
fn bytes_of(groups: &Groups, size: u64) -> u64 {
    let whole = count(groups).saturating_mul(group_bytes());
    let last = size.div_ceil(group_bytes()).saturating_sub(1);
    if size > 0 && groups.contains(&last) {
        let short = last.saturating_add(1).saturating_mul(group_bytes()).saturating_sub(size);
        return whole.saturating_sub(short);
    }
    whole
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, ContentError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ContentError::Ended)?
}
