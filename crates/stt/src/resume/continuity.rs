//! The resumable sessions of a node.

use std::{
    path::Path,
    sync::{Arc, MutexGuard, PoisonError, Weak},
};

use tokio::sync::{Mutex, mpsc, watch};

use stt_store::log::{DurableLog, Log, LogError};

use super::{
    ResumableSession, ResumeError, ResumeOptions,
    accept::Sessions,
    connect::Dialler,
    entry::{Entry, encode},
    journal::{self, Journal},
    machine::Machine,
    options::checked_address,
    shared::{Kept, Shared},
    stored::{Book, Over, Role, Stored},
};
use crate::{IntoAddress, Node, NodeId, ProtocolHandler};

/// The protocol that carries them.
pub(super) const LABEL: &str = "stt/resume";
/// Sessions that wait for [`Continuity::accept`].
const WAITING: usize = 64;

/// Resumable sessions over a node: what is sent arrives once and in order, over any number of
/// sealed sessions that were cut.
///
/// Both sides have one. Clones share it; while one of them or a session lives, peers can resume,
/// until it is [closed](Self::close). Sessions of [`new`](Self::new) outlive a connection, those of
/// [`open`](Self::open) also a process.
///
/// ```
/// use stt::{Mode, Node, SharedSeed, resume::{Continuity, ResumeOptions}};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let seed = SharedSeed::from_key(stc::Key::generate()?);
/// let server = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
/// let client = Node::builder(seed).host("127.0.0.1").start(Mode::Client).await?;
/// let there = Continuity::new(&server, ResumeOptions::default())?;
/// let here = Continuity::new(&client, ResumeOptions::default())?;
///
/// let address = server.local_addr().to_string();
/// let ours = here.connect(&address, server.node_id()).await?;
/// let theirs = there.accept().await.ok_or("stopped")?;
///
/// let position = ours.send("an order").await?;
/// let message = theirs.receive().await?.ok_or("ended")?;
/// assert_eq!((message.position, &message.data[..]), (position, &b"an order"[..]));
/// // Whatever the application has to do with it comes first: after this it is never sent again.
/// theirs.commit(message.position)?;
/// ours.acknowledged(position).await?;
/// # Ok(())
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Continuity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    // What comes from peers first: then nothing new comes. `None` once it is closed.
    serving: std::sync::Mutex<Option<Serving>>,
    closed: watch::Sender<bool>,
    sessions: Arc<Sessions>,
    begun: Mutex<mpsc::Receiver<Arc<Shared>>>,
    node: Node,
    options: ResumeOptions,
    journal: Option<Arc<Journal>>,
    /// What a process before this one left.
    restored: std::sync::Mutex<Vec<Arc<Shared>>>,
}

/// What there is until it is closed.
#[derive(Debug)]
struct Serving {
    _handler: ProtocolHandler,
    /// Sessions in memory that this side began.
    begun_here: Vec<Weak<Shared>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(journal) = &self.journal {
            journal.close();
        }
    }
}

impl Inner {
    pub(super) fn forget(&self, shared: &Shared) {
        self.sessions.forget(shared);
    }

    /// False if it was closed meanwhile.
    fn began(&self, shared: &Arc<Shared>) -> bool {
        let mut serving = self.serving();
        let Some(Serving { begun_here, .. }) = &mut *serving else { return false };
        begun_here.retain(|one| one.strong_count() > 0);
        begun_here.push(Arc::downgrade(shared));
        true
    }

    fn serving(&self) -> MutexGuard<'_, Option<Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Continuity {
    /// Takes in resumable sessions at `node` from now on. They are kept in memory.
    ///
    /// # Errors
    /// [`ResumeError::OutOfRange`]; [`ResumeError::Protocol`] when the node has one already.
    pub fn new(node: &Node, options: ResumeOptions) -> Result<Self, ResumeError> {
        options.check()?;
        let sessions = Arc::new(Sessions::new(options, node.events().clone(), None));
        Self::serve(node, options, sessions, Vec::new())
    }

    /// Takes in resumable sessions at `node` from now on, and keeps them in `dir`, encrypted with
    /// the node seed: they outlive this process, however it ends, and the machine's power.
    ///
    /// Those that a process before this one left go on: [`restored`](Self::restored) hands them
    /// out. One process has `dir` open at a time.
    ///
    /// # Errors
    /// [`ResumeError::NoIdentity`] unless the node has a persistent identity;
    /// [`ResumeError::OutOfRange`], also for messages of more than 16 MiB; [`ResumeError::Log`],
    /// and [`ResumeError::LogDamaged`]; [`ResumeError::Protocol`] when the node has one already.
    pub async fn open(
        node: &Node,
        options: ResumeOptions,
        dir: impl AsRef<Path>,
    ) -> Result<Self, ResumeError> {
        if !node.has_persistent_identity() {
            return Err(ResumeError::NoIdentity);
        }
        options.check()?;
        let log_options = options.log_options()?;
        let key = node.chamber_key().await.map_err(LogError::from)?;
        let log = Log::open(&key, dir, log_options).await?;
        let (mut book, written) = journal::read(&log).await?;
        let now = journal::now();
        let found = found(&mut book, &log, options, now).await?;
        let journal = Journal::start(log, book, written);
        let sessions = Sessions::new(options, node.events().clone(), Some(Arc::clone(&journal)));
        let sessions = Arc::new(sessions);
        let mut restored = Vec::new();
        for (number, stored) in found {
            let left = stored.left(options.lifetime, now);
            let kept = Kept::new(Arc::clone(&journal), number);
            let address = match &stored.role {
                Role::Dialled(address) => Some(address.clone()),
                Role::Accepted => None,
            };
            let machine = Machine::of_disk(options.bounds, &stored);
            let ids = (stored.id, stored.peer, address);
            let shared = Shared::new(ids, machine, Some(kept), options, node.events().clone());
            match (stored.over, &stored.role) {
                (Some(over), Role::Dialled(_)) => shared.was_over(over.why(options.lifetime)),
                (Some(over), Role::Accepted) => {
                    shared.was_over(over.why(options.lifetime));
                    if over == Over::Finished {
                        sessions.restore(&shared, &stored.keys, left);
                        continue;
                    }
                }
                (None, Role::Accepted) => {
                    shared.is_restored();
                    sessions.restore(&shared, &stored.keys, left);
                }
                (None, Role::Dialled(_)) => {
                    shared.is_restored();
                    let (node, peer) = (node.clone(), stored.peer);
                    let dialler = Dialler { node, peer, options };
                    dialler.go_on(&shared, &stored.keys, left);
                }
            }
            restored.push(shared);
        }
        Self::serve(node, options, sessions, restored)
    }

    fn serve(
        node: &Node,
        options: ResumeOptions,
        sessions: Arc<Sessions>,
        restored: Vec<Arc<Shared>>,
    ) -> Result<Self, ResumeError> {
        let (sender, begun) = mpsc::channel(WAITING);
        let serving = Arc::downgrade(&sessions);
        let journal = sessions.journal().cloned();
        let handler = node.handle_protocol(LABEL, move |session, stream| {
            if let Some(sessions) = serving.upgrade() {
                // In a task of its own: that of the handler ends with the session.
                tokio::spawn(sessions.serve(sender.clone(), session, stream));
            }
            std::future::ready(())
        });
        if let (Err(_), Some(journal)) = (&handler, &journal) {
            journal.close();
        }
        let inner = Inner {
            serving: Some(Serving { _handler: handler?, begun_here: Vec::new() }).into(),
            closed: watch::Sender::new(false),
            sessions,
            begun: Mutex::new(begun),
            node: node.clone(),
            options,
            journal,
            restored: std::sync::Mutex::new(restored),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The sessions that a process before this one left, in the order in which they began, once.
    /// Those that this side began are being resumed already. One that is over holds what its peer
    /// did not commit, until it is given up.
    #[must_use]
    pub fn restored(&self) -> Vec<ResumableSession> {
        let mut restored = self.inner.restored.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = std::mem::take(&mut *restored).into_iter();
        shared.map(|shared| ResumableSession::new(shared, Arc::clone(&self.inner))).collect()
    }

    /// Takes no more sessions, and ends those that there are: the node may have another one from
    /// now on, whatever refers to this one.
    ///
    /// Sessions that a disk keeps are let go of ([`ResumeError::Left`]); it returns when all that
    /// they had is synced and the log is closed, and the next [`open`](Self::open) goes on with
    /// them. Those in memory that are not through are given up ([`ResumeError::GivenUp`]): to
    /// deliver what they have, [close](ResumableSession::close) each before.
    pub async fn close(&self) {
        self.inner.closed.send_replace(true);
        let serving = self.inner.serving().take();
        if self.inner.journal.is_none() {
            self.inner.sessions.close();
            let begun_here = serving.iter().flat_map(|serving| &serving.begun_here);
            for shared in begun_here.filter_map(Weak::upgrade) {
                shared.give_up();
            }
        }
        drop(serving);
        if let Some(journal) = &self.inner.journal {
            journal.close();
            journal.closed().await;
        }
    }

    /// Begins a resumable session with the node `peer` at `address`. Cut, it dials there again.
    ///
    /// # Errors
    /// [`ResumeError::Connect`], [`ResumeError::PeerFull`], [`ResumeError::Away`],
    /// [`ResumeError::Log`]; [`ResumeError::Protocol`] also when the peer has no `Continuity`;
    /// [`ResumeError::NotServing`] after [`close`](Self::close).
    pub async fn connect(
        &self,
        address: impl IntoAddress,
        peer: NodeId,
    ) -> Result<ResumableSession, ResumeError> {
        let address = checked_address(address)?;
        let Inner { node, options, journal, .. } = &*self.inner;
        if *self.inner.closed.borrow() {
            return Err(ResumeError::NotServing);
        }
        let (node, options) = (node.clone(), *options);
        let dialler = Dialler { node, peer, options };
        let shared = dialler.begin(&address, journal.as_ref()).await?;
        if journal.is_none() && !self.inner.began(&shared) {
            shared.give_up();
            return Err(ResumeError::NotServing);
        }
        Ok(ResumableSession::new(shared, Arc::clone(&self.inner)))
    }

    /// The next resumable session that a peer began; `None` after the node was stopped, and after
    /// [`close`](Self::close).
    ///
    /// # Cancel safety
    /// A dropped future has taken none.
    pub async fn accept(&self) -> Option<ResumableSession> {
        let mut closed = self.inner.closed.subscribe();
        let begun = async { self.inner.begun.lock().await.recv().await };
        let shared = tokio::select! {
            biased;
            _ = closed.wait_for(|is_closed| *is_closed) => None,
            begun = begun => begun,
        }?;
        Some(ResumableSession::new(shared, Arc::clone(&self.inner)))
    }
}

/// The sessions that are of use, with attempts for this process; the others are forgotten.
async fn found(
    book: &mut Book,
    log: &Log,
    options: ResumeOptions,
    now: u64,
) -> Result<Vec<(u64, Stored)>, ResumeError> {
    let (mut found, mut entries) = (Vec::new(), Vec::new());
    for (number, stored) in book.sessions() {
        let (mut stored, is_late) = (stored.clone(), stored.left(options.lifetime, now).is_zero());
        if is_late && stored.over.is_none() {
            stored.over = Some(Over::Expired);
            entries.push((*number, Entry::Over(Over::Expired)));
        }
        let is_of_use = match stored.over {
            None => true,
            Some(Over::Finished) => stored.role == Role::Accepted && !is_late,
            Some(_) => !stored.items.is_empty(),
        };
        if !is_of_use {
            entries.push((*number, Entry::Gone));
            continue;
        }
        if stored.over.is_none() && matches!(stored.role, Role::Dialled(_)) {
            stored.next_attempts();
            entries.push((*number, Entry::Attempt(stored.keys.attempt)));
        }
        found.push((*number, stored));
    }
    let records: Vec<_> = entries.iter().map(|(number, entry)| encode(*number, entry)).collect();
    for call in journal::calls(records) {
        log.append_all(call).await?;
    }
    for (number, entry) in entries {
        let applied = book.apply(number, entry, now);
        applied.map_err(|_| ResumeError::LogDamaged { what: "an entry does not follow" })?;
    }
    Ok(found)
}
