//! The resumable sessions of a node.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::{
    ResumableSession, ResumeError, ResumeOptions, accept::Sessions, connect::Dialler,
    shared::Shared,
};
use crate::{IntoAddress, Node, NodeId, ProtocolHandler};

/// The protocol that carries them.
pub(super) const LABEL: &str = "stt/resume";
/// Sessions that wait for [`Continuity::accept`].
const WAITING: usize = 64;

/// Resumable sessions over a node: what is sent arrives once and in order, over any number of
/// sealed sessions that were cut.
///
/// Both sides have one. Clones share it; while one of them or a session lives, peers can resume.
/// What survives is the loss of a connection, not yet the end of a process.
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
    // The handler first: then nothing new comes.
    _handler: ProtocolHandler,
    sessions: Arc<Sessions>,
    begun: Mutex<mpsc::Receiver<Arc<Shared>>>,
    node: Node,
    options: ResumeOptions,
}

impl Inner {
    pub(super) fn forget(&self, shared: &Shared) {
        self.sessions.forget(shared);
    }
}

impl Continuity {
    /// Takes in resumable sessions at `node` from now on.
    ///
    /// # Errors
    /// [`ResumeError::Protocol`] when the node has one already.
    pub fn new(node: &Node, options: ResumeOptions) -> Result<Self, ResumeError> {
        let (sender, begun) = mpsc::channel(WAITING);
        let sessions = Arc::new(Sessions::new(options, node.events().clone()));
        let serving = Arc::downgrade(&sessions);
        let handler = node.handle_protocol(LABEL, move |session, stream| {
            if let Some(sessions) = serving.upgrade() {
                // In a task of its own: that of the handler ends with the session.
                tokio::spawn(sessions.serve(sender.clone(), session, stream));
            }
            std::future::ready(())
        })?;
        let inner = Inner {
            _handler: handler,
            sessions,
            begun: Mutex::new(begun),
            node: node.clone(),
            options,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Begins a resumable session with the node `peer` at `address`. Cut, it dials there again.
    ///
    /// # Errors
    /// [`ResumeError::Connect`], [`ResumeError::PeerFull`], [`ResumeError::Protocol`] also when the
    /// peer has no `Continuity`.
    pub async fn connect(
        &self,
        address: impl IntoAddress,
        peer: NodeId,
    ) -> Result<ResumableSession, ResumeError> {
        let Inner { node, options, .. } = &*self.inner;
        let (node, options) = (node.clone(), *options);
        let address =
            address.into_address().map_err(|error| ResumeError::Connect(Arc::new(error.into())))?;
        let dialler = Dialler { node, address, peer, options };
        let shared = dialler.begin().await?;
        Ok(ResumableSession::new(shared, Arc::clone(&self.inner)))
    }

    /// The next resumable session that a peer began; `None` after the node was stopped.
    ///
    /// # Cancel safety
    /// A dropped future has taken none.
    pub async fn accept(&self) -> Option<ResumableSession> {
        let shared = self.inner.begun.lock().await.recv().await?;
        Some(ResumableSession::new(shared, Arc::clone(&self.inner)))
    }
}
