//! Content by its id alone, among the members that a node knows.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use stt::{ContentId, Node, Payload};
use tokio::{task::JoinSet, time::Instant};

use super::{
    fetch::{FetchOptions, Fetched, Wanted, blocking, fetch_one},
    library::{ContentLibrary, LibraryStats},
    offer::Shared,
    partial::Place,
    probe,
    sessions::Sessions,
};
use crate::{ContentError, KademliaDht, Provider, Providers, Swarm};

/// Members that are asked for one content, at most.
const MAX_ASKED: usize = 64;
/// How long a member may take to say whether it has a content.
const ANSWER: Duration = Duration::from_secs(5);
/// How long others may take once one has it.
const SETTLE: Duration = Duration::from_millis(250);

/// Most members that a content is fetched from at once.
const MAX_SOURCES: usize = 64;

/// How to retrieve.
#[derive(Clone, Debug)]
pub struct RetrieveOptions {
    parallel_sources: usize,
    max_size: u64,
    providers: Vec<Provider>,
    search: Duration,
    fetch: FetchOptions,
}

impl RetrieveOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Members that a content is fetched from at once, 1 to 64. Default: 3.
    #[must_use]
    pub const fn parallel_sources(mut self, members: usize) -> Self {
        self.parallel_sources = members;
        self
    }

    /// Most bytes that are taken into memory. Default: 64 MiB. Files are not bounded by it.
    #[must_use]
    pub const fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// Members to ask besides those that the node has a session with. Default: none.
    #[must_use]
    pub fn providers(mut self, providers: impl Into<Vec<Provider>>) -> Self {
        self.providers = providers.into();
        self
    }

    /// How long the swarm's table may name further providers, of a distribution that is
    /// [in a swarm](ContentDistribution::in_swarm). Default: 10 s.
    #[must_use]
    pub const fn search(mut self, time: Duration) -> Self {
        self.search = time;
        self
    }

    /// How it is fetched.
    #[must_use]
    pub fn fetch(mut self, fetch: FetchOptions) -> Self {
        self.fetch = fetch;
        self
    }
}

impl RetrieveOptions {
    /// Whether all settings are inside their ranges.
    fn check(&self) -> Result<(), ContentError> {
        ContentError::within("parallel_sources", self.parallel_sources, MAX_SOURCES)?;
        self.fetch.check()
    }
}

impl Default for RetrieveOptions {
    fn default() -> Self {
        Self {
            parallel_sources: 3,
            max_size: 64 << 20,
            providers: Vec::new(),
            search: Duration::from_secs(10),
            fetch: FetchOptions::default(),
        }
    }
}

/// What a distribution did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DistributionStats {
    /// What is published, and what members fetched of it.
    pub library: LibraryStats,
    /// Contents that were retrieved.
    pub retrieved: u64,
    /// Their bytes.
    pub retrieved_bytes: u64,
    /// Contents that were not.
    pub failed: u64,
}

/// Publishes content to the members of a swarm, and retrieves theirs by its id, its BLAKE3 hash.
///
/// Any member that knows an id may retrieve its content from this node. Those that this node has a
/// session with are asked for it, those that the caller names, and [in a swarm](Self::in_swarm)
/// those that its table names.
#[derive(Debug)]
pub struct ContentDistribution {
    node: Node,
    library: ContentLibrary,
    dht: Option<KademliaDht>,
    retrieved: AtomicU64,
    retrieved_bytes: AtomicU64,
    failed: AtomicU64,
}

impl ContentDistribution {
    /// A distribution of `node` that publishes nothing yet.
    ///
    /// # Errors
    /// [`ContentError::Protocol`] when the node has one, or a [`ContentLibrary`], already.
    pub fn new(node: &Node) -> Result<Self, ContentError> {
        Self::start(node, None)
    }

    /// One whose contents are announced in the table of `swarm`, which is asked for those of
    /// others.
    ///
    /// # Errors
    /// As [`new`](Self::new), of the swarm's node.
    pub fn in_swarm(swarm: &Swarm) -> Result<Self, ContentError> {
        Self::start(&swarm.node(), Some(swarm.dht()))
    }

    fn start(node: &Node, dht: Option<KademliaDht>) -> Result<Self, ContentError> {
        Ok(Self {
            node: node.clone(),
            library: ContentLibrary::new(node)?,
            dht,
            retrieved: AtomicU64::new(0),
            retrieved_bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// What is published, for tickets.
    #[must_use]
    pub const fn library(&self) -> &ContentLibrary {
        &self.library
    }

    /// Publishes bytes, which stay in memory until [`unpublish_content`](Self::unpublish_content).
    /// Gives their id.
    ///
    /// # Errors
    /// [`ContentError`]; [`ContentError::NotAnnounced`] if it is published, but the swarm's table
    /// does not say so.
    pub async fn publish_content(&self, data: impl Payload) -> Result<ContentId, ContentError> {
        let id = self.library.share_bytes(data, "content").await?.root;
        self.announce(&id).await?;
        Ok(id)
    }

    /// Publishes a file or folder, as [`ContentLibrary::share`] does.
    ///
    /// # Errors
    /// As [`publish_content`](Self::publish_content).
    pub async fn publish_file(&self, path: impl AsRef<Path>) -> Result<Shared, ContentError> {
        let shared = self.library.share(path).await?;
        self.announce(&shared.root).await?;
        Ok(shared)
    }

    async fn announce(&self, id: &ContentId) -> Result<(), ContentError> {
        let Some(dht) = &self.dht else { return Ok(()) };
        dht.provide_content(id).await.map_err(ContentError::NotAnnounced)
    }

    /// Publishes a content no longer. False if it was not published. What others know of it holds
    /// for 30 minutes at most.
    pub async fn unpublish_content(&self, id: ContentId) -> bool {
        let known = self.library.unshare(id);
        if let Some(dht) = &self.dht {
            // A swarm that has stopped announces nothing any more.
            let _ = dht.stop_providing_content(&id).await;
        }
        known
    }

    /// Retrieves a content into memory: from this node if it is published here, otherwise from
    /// members, several at once. All of it is verified.
    ///
    /// # Errors
    /// [`ContentError::NotFound`] if nobody who was asked has it; [`ContentError::TooLarge`] if it
    /// is longer than the options allow; otherwise as [`fetch`](crate::fetch).
    pub async fn retrieve_content(
        &self,
        id: ContentId,
        options: &RetrieveOptions,
    ) -> Result<Bytes, ContentError> {
        if let Some(bytes) = self.library.bytes_of(id.into()) {
            return Ok(bytes);
        }
        options.check()?;
        let retrieved = async {
            let sessions = Arc::new(Sessions::new(&self.node, options.fetch.connect_timeout));
            let (size, providers) = self.find(&sessions, id, options).await?;
            if size > options.max_size {
                return Err(ContentError::TooLarge { size, max: options.max_size });
            }
            let aside = |error| ContentError::file("write", &std::env::temp_dir(), error);
            let dir = blocking(move || tempfile::tempdir().map_err(aside)).await?;
            let place = Place { dir: dir.path().to_owned(), name: "content".into() };
            let wanted = Wanted { root: id.into(), size, place };
            let path = fetch_one(&sessions, wanted, &providers, &options.fetch).await?.path;
            let read = move || {
                let bytes = std::fs::read(&path);
                drop(dir);
                bytes.map(Bytes::from).map_err(|error| ContentError::file("read", &path, error))
            };
            blocking(read).await
        };
        let retrieved = retrieved.await;
        self.count(retrieved.as_ref().ok().map(|bytes| u64::try_from(bytes.len()).unwrap_or(0)));
        retrieved
    }

    /// Retrieves a content into the file `name` in `dir`, whatever its length. What arrived before
    /// a failure is not fetched again.
    ///
    /// # Errors
    /// As [`retrieve_content`](Self::retrieve_content).
    pub async fn retrieve_file(
        &self,
        id: ContentId,
        dir: impl AsRef<Path>,
        name: &str,
        options: &RetrieveOptions,
    ) -> Result<Fetched, ContentError> {
        let name = stt::transfer::safe_name(name).ok_or(ContentError::Name)?;
        options.check()?;
        let retrieved = async {
            let sessions = Arc::new(Sessions::new(&self.node, options.fetch.connect_timeout));
            let (size, providers) = self.find(&sessions, id, options).await?;
            let place = Place { dir: dir.as_ref().to_owned(), name };
            let wanted = Wanted { root: id.into(), size, place };
            fetch_one(&sessions, wanted, &providers, &options.fetch).await
        };
        let retrieved = retrieved.await;
        self.count(retrieved.as_ref().ok().map(|fetched| fetched.size));
        retrieved
    }

    fn count(&self, bytes: Option<u64>) {
        match bytes {
            Some(bytes) => {
                self.retrieved.fetch_add(1, Ordering::Relaxed);
                self.retrieved_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            None => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> DistributionStats {
        DistributionStats {
            library: self.library.stats(),
            retrieved: self.retrieved.load(Ordering::Relaxed),
            retrieved_bytes: self.retrieved_bytes.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// The length of a content, and members who proved that they have it.
    async fn find(
        &self,
        sessions: &Arc<Sessions>,
        id: ContentId,
        options: &RetrieveOptions,
    ) -> Result<(u64, Vec<Provider>), ContentError> {
        let mut asked: Vec<Provider> = Vec::new();
        let connected = self
            .node
            .sessions()
            .into_iter()
            .map(|session| Provider { node_id: session.peer_node_id(), addresses: Vec::new() });
        for provider in options.providers.iter().cloned().chain(connected) {
            if asked.len() < MAX_ASKED
                && asked.iter().all(|known| known.node_id != provider.node_id)
            {
                asked.push(provider);
            }
        }
        let mut members = asked.len();
        let mut answers = JoinSet::new();
        for provider in &asked {
            answers.spawn(ask(Arc::clone(sessions), provider.clone(), id));
        }
        let mut search = match &self.dht {
            // A table that cannot be asked leaves those who are known.
            Some(dht) => dht.find_providers_of_content(&id).await.ok(),
            None => None,
        };
        let mut until = Instant::now() + options.search;
        let (mut found, mut providers) = (None, Vec::new());
        while providers.len() < options.parallel_sources {
            if answers.is_empty() && search.is_none() {
                break;
            }
            // Once one has it, the others have a moment.
            let wait = found.is_some() || search.is_some();
            tokio::select! {
                Some(answer) = answers.join_next() => {
                    // All lengths are proven, so they are the same.
                    if let Ok(Some((length, provider))) = answer {
                        if found.is_none() {
                            until = until.min(Instant::now() + SETTLE);
                        }
                        found = Some(length);
                        providers.push(provider);
                    }
                }
                named = next(&mut search), if search.is_some() => {
                    let Some(provider) = named.filter(|_| members < MAX_ASKED) else {
                        search = None;
                        continue;
                    };
                    if provider.node_id != self.node.node_id()
                        && asked.iter().all(|known| known.node_id != provider.node_id)
                    {
                        members += 1;
                        answers.spawn(ask(Arc::clone(sessions), provider.clone(), id));
                        asked.push(provider);
                    }
                }
                () = tokio::time::sleep_until(until), if wait => {
                    search = None;
                    if found.is_some() {
                        break;
                    }
                }
            }
        }
        match found {
            Some(length) => Ok((length, providers)),
            None => Err(ContentError::NotFound { members }),
        }
    }
}

/// The length of a content, if the provider proves that it has it.
async fn ask(
    sessions: Arc<Sessions>,
    provider: Provider,
    id: ContentId,
) -> Option<(u64, Provider)> {
    // Another fetch may just be closing the session that it began.
    for _ in 0..2 {
        let session = sessions.reach(&provider).await.ok()?;
        match probe::length(&session, id.into(), ANSWER).await {
            Ok(length) => return Some((length, provider)),
            Err(error) if error.is_temporary() => {}
            Err(_) => break,
        }
    }
    None
}

/// Whom the search names next.
async fn next(search: &mut Option<Providers>) -> Option<Provider> {
    let found = search.as_mut()?.next().await?;
    Some(Provider { node_id: found.node_id, addresses: vec![found.address] })
}
