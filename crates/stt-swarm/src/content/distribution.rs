//! Content by its id alone, among the members that a node knows.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use blake3::Hash;
use bytes::Bytes;
use stt::Node;
use tokio::{task::JoinSet, time::Instant};

use super::{
    fetch::{FetchOptions, Fetched, Wanted, blocking, fetch_one},
    library::{ContentLibrary, LibraryStats},
    offer::Shared,
    partial::Place,
    probe,
    sessions::Sessions,
};
use crate::{ContentError, Provider};

/// Members that are asked for one content, at most.
const MAX_ASKED: usize = 64;
/// How long a member may take to say whether it has a content.
const ANSWER: Duration = Duration::from_secs(5);
/// How long others may take once one has it.
const SETTLE: Duration = Duration::from_millis(250);

/// How to retrieve.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetrieveOptions {
    /// Members that a content is fetched from at once. At least 1; default 3.
    pub parallel_sources: usize,
    /// Most bytes that are taken into memory. Default: 64 MiB. Files are not bounded by it.
    pub max_size: u64,
    /// Members to ask besides those that the node has a session with. Default: none.
    pub providers: Vec<Provider>,
    /// How it is fetched.
    pub fetch: FetchOptions,
}

impl Default for RetrieveOptions {
    fn default() -> Self {
        Self {
            parallel_sources: 3,
            max_size: 64 << 20,
            providers: Vec::new(),
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
/// session with are asked for it, and those that the caller names.
#[derive(Debug)]
pub struct ContentDistribution {
    node: Node,
    library: ContentLibrary,
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
        Ok(Self {
            node: node.clone(),
            library: ContentLibrary::new(node)?,
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
    /// [`ContentError`].
    pub async fn publish_content(&self, data: impl Into<Bytes>) -> Result<Hash, ContentError> {
        Ok(self.library.share_bytes(data, "content").await?.root)
    }

    /// Publishes a file or folder, as [`ContentLibrary::share`] does.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn publish_file(&self, path: impl AsRef<Path>) -> Result<Shared, ContentError> {
        self.library.share(path).await
    }

    /// Publishes a content no longer. False if it was not published.
    pub fn unpublish_content(&self, id: Hash) -> bool {
        self.library.unshare(id)
    }

    /// Retrieves a content into memory: from this node if it is published here, otherwise from
    /// members, several at once. All of it is verified.
    ///
    /// # Errors
    /// [`ContentError::NotFound`] if nobody who was asked has it; [`ContentError::TooLarge`] if it
    /// is longer than the options allow; otherwise as [`fetch`](crate::fetch).
    pub async fn retrieve_content(
        &self,
        id: Hash,
        options: &RetrieveOptions,
    ) -> Result<Bytes, ContentError> {
        if let Some(bytes) = self.library.bytes_of(id) {
            return Ok(bytes);
        }
        let retrieved = async {
            let sessions = Arc::new(Sessions::new(&self.node, options.fetch.connect_timeout));
            let (size, providers) = self.find(&sessions, id, options).await?;
            if size > options.max_size {
                return Err(ContentError::TooLarge { size, max: options.max_size });
            }
            let aside = |error| ContentError::file("write", &std::env::temp_dir(), error);
            let dir = blocking(move || tempfile::tempdir().map_err(aside)).await?;
            let place = Place { dir: dir.path().to_owned(), name: "content".into() };
            let wanted = Wanted { root: id, size, place };
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
        id: Hash,
        dir: impl AsRef<Path>,
        name: &str,
        options: &RetrieveOptions,
    ) -> Result<Fetched, ContentError> {
        let name = stt::transfer::safe_name(name).ok_or(ContentError::Name)?;
        let retrieved = async {
            let sessions = Arc::new(Sessions::new(&self.node, options.fetch.connect_timeout));
            let (size, providers) = self.find(&sessions, id, options).await?;
            let place = Place { dir: dir.as_ref().to_owned(), name };
            let wanted = Wanted { root: id, size, place };
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
        id: Hash,
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
        let members = asked.len();
        let mut answers = JoinSet::new();
        for provider in asked {
            let sessions = Arc::clone(sessions);
            answers.spawn(async move {
                // Another fetch may just be closing the session that it began.
                for _ in 0..2 {
                    let session = sessions.reach(&provider).await.ok()?;
                    match probe::length(&session, id, ANSWER).await {
                        Ok(length) => return Some((length, provider)),
                        Err(error) if error.is_temporary() => {}
                        Err(_) => break,
                    }
                }
                None
            });
        }
        let (mut found, mut providers, mut until) = (None, Vec::new(), None);
        while providers.len() < options.parallel_sources.max(1) {
            let answer = match until {
                None => answers.join_next().await,
                Some(until) => {
                    let next = tokio::time::timeout_at(until, answers.join_next()).await;
                    next.unwrap_or(None)
                }
            };
            match answer {
                None => break,
                // All lengths are proven, so they are the same.
                Some(Ok(Some((length, provider)))) => {
                    found = Some(length);
                    providers.push(provider);
                    until.get_or_insert(Instant::now() + SETTLE);
                }
                Some(_) => {}
            }
        }
        match found {
            Some(length) => Ok((length, providers)),
            None => Err(ContentError::NotFound { members }),
        }
    }
}
