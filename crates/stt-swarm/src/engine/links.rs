//! The links of a node: how they begin, over which session, and to whom they are given.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    task::{Context, Waker},
    time::{Duration, Instant},
};

use stc::Cause;
use stt::{
    Address, ConnectError, ConnectOptions, Node, NodeId, ProtocolError, ProtocolStream, Session,
};
use tokio::{sync::oneshot, time::timeout};

use super::{
    hello::{Answer, Hello},
    link::{self, CONTROL, Handle, Link, NONSENSE, SessionHold},
    peer,
    substream::Places,
    table::{Table, Unasked},
};

/// Longest wait for a peer's session.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for a question or an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest message of a link's stream.
const MAX_MESSAGE: u64 = 1_024;
/// How long an address that did not answer is not dialled again.
const AVOID_FOR: Duration = Duration::from_secs(30);
/// Such addresses that are remembered.
const MAX_AVOIDED: usize = 1_024;

/// Why there is no link with a peer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// It did not answer a moment ago.
    #[error("{address} did not answer a moment ago")]
    Avoided { address: SocketAddr },
    /// The engine has the link already, or the peer's question counts and did not come.
    #[error("the peer is linked, or links, otherwise")]
    Otherwise,
    #[error("there are as many links as there may be")]
    Full,
    #[error("the peer has as many links as it may")]
    PeerFull,
    #[error("the peer's answer makes no sense")]
    Nonsense,
    #[error("the peer did not answer in time")]
    Silent,
    #[error("the peer's key is no node's")]
    NoPeer,
}

impl LinkError {
    /// For others, who know nothing of links: what the dial said, if that was it.
    pub(crate) fn into_cause(self) -> Cause {
        match self {
            Self::Connect(error) => error.into(),
            error => error.into(),
        }
    }
}

/// All links of a node. Bounded.
pub(crate) struct Links {
    node: Node,
    places: Arc<Places>,
    state: Mutex<State>,
    /// In place of sessions.
    #[cfg(test)]
    pub(super) simulated: Option<Arc<super::simulated::Network>>,
}

struct State {
    table: Table<Handle>,
    /// Links that peers began and the engine has not taken.
    incoming: VecDeque<Link>,
    /// Dials that take whichever link there is first.
    dials: HashMap<NodeId, Vec<oneshot::Sender<Link>>>,
    /// The engine.
    waker: Option<Waker>,
    avoided: HashMap<(NodeId, SocketAddr), Instant>,
}

impl Links {
    pub(crate) fn new(node: Node, instance: u64, serves: bool, max: usize) -> Self {
        let table = Table::new(node.node_id(), instance, serves, max);
        let state = State {
            table,
            incoming: VecDeque::new(),
            dials: HashMap::new(),
            waker: None,
            avoided: HashMap::new(),
        };
        Self {
            node,
            places: Arc::default(),
            state: Mutex::new(state),
            #[cfg(test)]
            simulated: None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn node(&self) -> &Node {
        &self.node
    }

    /// Wakes messages that wait for a place in a queue.
    pub(crate) const fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// Where a linked peer can be reached by others.
    pub(crate) fn address(&self, peer: NodeId) -> Option<SocketAddr> {
        #[cfg(test)]
        if let Some(network) = &self.simulated {
            return network.address(self.node.node_id(), peer);
        }
        self.state().table.linked(peer)?.address()
    }

    /// Who is linked.
    pub(crate) fn linked(&self) -> Vec<NodeId> {
        self.state().table.peers()
    }

    /// The session with a linked peer.
    pub(crate) fn session(&self, peer: NodeId) -> Option<Session> {
        self.state().table.linked(peer).map(|handle| handle.session.clone())
    }

    /// The link that has this `serves` is over.
    pub(crate) fn ended(&self, peer: NodeId, serves: &Arc<AtomicBool>) {
        // What it holds wakes others when it is dropped.
        let ended = self.state().table.ended(peer, |handle| Arc::ptr_eq(&handle.serves, serves));
        drop(ended);
    }

    // --- the engine's side ---

    /// The next link that a peer began.
    pub(crate) fn next_incoming(&self, cx: &mut Context<'_>) -> Option<Link> {
        let mut state = self.state();
        let next = state.incoming.pop_front();
        if next.is_none() {
            state.waker = Some(cx.waker().clone());
        }
        next
    }

    /// Links with `peer`, over the session that there is or a new one to `address`.
    pub(crate) async fn dial(
        self: Arc<Self>,
        peer: NodeId,
        address: SocketAddr,
    ) -> Result<Link, LinkError> {
        let mut arriving = match self.arriving(peer) {
            Ok(link) => return Ok(link),
            Err(arriving) => arriving,
        };
        tokio::select! {
            biased;
            Ok(link) = &mut arriving => Ok(link),
            reached = self.reach(peer, address) => match reached {
                Err(LinkError::Otherwise) => match timeout(ANSWER_WITHIN, arriving).await {
                    Ok(Ok(link)) => Ok(link),
                    _ => Err(LinkError::Otherwise),
                },
                reached => reached,
            },
        }
    }

    /// The link that `peer` began and nobody took, or where it will come.
    fn arriving(&self, peer: NodeId) -> Result<Link, oneshot::Receiver<Link>> {
        let mut state = self.state();
        if let Some(at) = state.incoming.iter().position(|link| link.peer == peer)
            && let Some(link) = state.incoming.remove(at)
        {
            return Ok(link);
        }
        let (sender, arriving) = oneshot::channel();
        state.dials.retain(|_, dials| {
            dials.retain(|dial| !dial.is_closed());
            !dials.is_empty()
        });
        state.dials.entry(peer).or_default().push(sender);
        Err(arriving)
    }

    async fn reach(self: &Arc<Self>, peer: NodeId, address: SocketAddr) -> Result<Link, LinkError> {
        if self.state().table.linked(peer).is_some() {
            return Err(LinkError::Otherwise);
        }
        let there = self.node.sessions_with(peer).into_iter().min_by_key(Session::id);
        let hold = match there {
            Some(session) => SessionHold::shared(session),
            None => SessionHold::opened(self.connect(peer, address).await?),
        };
        self.ask(hold).await
    }

    async fn connect(&self, peer: NodeId, address: SocketAddr) -> Result<Session, LinkError> {
        let now = Instant::now();
        let key = (peer, address);
        if self.state().avoided.get(&key).is_some_and(|until| now < *until) {
            return Err(LinkError::Avoided { address });
        }
        let place = format!("udp://{address}");
        let connected = self
            .node
            .connect_with(&place, &ConnectOptions::new().expect(peer).timeout(CONNECT_WITHIN))
            .await;
        let mut state = self.state();
        if connected.is_ok() {
            state.avoided.remove(&key);
        } else {
            if state.avoided.len() >= MAX_AVOIDED {
                state.avoided.retain(|_, until| now < *until);
            }
            if state.avoided.len() < MAX_AVOIDED {
                state.avoided.insert(key, now + AVOID_FOR);
            }
        }
        Ok(connected?)
    }

    /// Links with whichever member answers at `place`.
    pub(crate) async fn join(self: &Arc<Self>, place: &Address) -> Result<NodeId, LinkError> {
        let session =
            self.node.connect_with(place, &ConnectOptions::new().timeout(CONNECT_WITHIN)).await?;
        let peer = session.peer_node_id();
        let older = self.node.sessions_with(peer).into_iter().find(|old| old.id() != session.id());
        let opened = SessionHold::opened(session);
        // What was there already is used; the new one ends.
        let hold = older.map_or(opened, SessionHold::shared);
        match self.ask(hold).await {
            Ok(link) => {
                self.deliver(link);
                Ok(peer)
            }
            // It is linked, or its own question counts.
            Err(LinkError::Otherwise) => Ok(peer),
            Err(error) => Err(error),
        }
    }

    /// Asks the peer of `hold` for a link.
    pub(crate) async fn ask(self: &Arc<Self>, hold: SessionHold) -> Result<Link, LinkError> {
        let session = hold.session.clone();
        let peer = session.peer_node_id();
        let peer_id = peer::peer_id(peer).ok_or(LinkError::NoPeer)?;
        let (handle, link, keeper) = link::parts(hold, peer_id);
        let asked = self.state().table.ask(peer, session.id(), handle);
        let question = match asked {
            Ok(question) => question,
            Err(Unasked::Taken) => return Err(LinkError::Otherwise),
            Err(Unasked::Full) => return Err(LinkError::Full),
        };
        // Undone unless the peer agrees.
        let serves = Arc::clone(keeper.serves());
        let asking = Asking { links: self, peer, serves: Some(Arc::clone(&serves)) };
        let control = session.open_protocol(CONTROL)?;
        control.set_max_frame_size(MAX_MESSAGE);
        control.send(&question.to_bytes()).await?;
        let answer = timeout(ANSWER_WITHIN, control.receive()).await;
        let answer = answer.map_err(|_| LinkError::Silent)??;
        match answer.as_deref().and_then(Answer::parse) {
            Some(Answer::Linked(hello)) => {
                keeper.note(hello);
                let is_it = |handle: &Handle| Arc::ptr_eq(&handle.serves, &serves);
                if !self.state().table.agreed(peer, hello, is_it) {
                    return Err(LinkError::Otherwise);
                }
                asking.agreed();
                let links = Arc::clone(self);
                tokio::spawn(async move { keeper.run(&links, control).await });
                Ok(link)
            }
            Some(Answer::Crossed) => Err(LinkError::Otherwise),
            Some(Answer::Full) => Err(LinkError::PeerFull),
            None => Err(LinkError::Nonsense),
        }
    }

    // --- the peers' side ---

    /// A peer asks for a link.
    pub(crate) async fn asked(self: Arc<Self>, session: Session, control: ProtocolStream) {
        control.set_max_frame_size(MAX_MESSAGE);
        let question = timeout(ANSWER_WITHIN, control.receive()).await;
        let peer = session.peer_node_id();
        let (Ok(Ok(Some(question))), Some(peer_id)) = (question, peer::peer_id(peer)) else {
            return;
        };
        let Some(hello) = Hello::parse(&question) else {
            control.reset(NONSENSE);
            return;
        };
        let (handle, link, keeper) = link::parts(SessionHold::shared(session.clone()), peer_id);
        keeper.note(hello);
        let (answer, before) = self.state().table.asked(peer, session.id(), hello, handle);
        drop(before);
        if control.send(&answer.to_bytes()).await.is_err() {
            self.ended(peer, keeper.serves());
            return;
        }
        if let Answer::Linked(_) = answer {
            self.deliver(link);
            keeper.run(&self, control).await;
        }
    }

    /// Gives a link that a peer began to a dial that waits for it, or to the engine.
    fn deliver(&self, mut link: Link) {
        let mut state = self.state();
        for dial in state.dials.remove(&link.peer).unwrap_or_default() {
            match dial.send(link) {
                Ok(()) => return,
                Err(back) => link = back,
            }
        }
        // One at most for each peer of the table, which is bounded.
        state.incoming.retain(|waiting| waiting.peer != link.peer);
        state.incoming.push_back(link);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// A peer opened a stream of its link.
    pub(crate) fn opened(&self, session: &Session, stream: ProtocolStream) {
        let refused = {
            let state = self.state();
            match state.table.find(session.peer_node_id(), session.id()) {
                Some(handle) => handle.streams.try_send(stream).err().map(|full| full.into_inner()),
                None => Some(stream),
            }
        };
        if let Some(stream) = refused {
            stream.reset(NONSENSE);
        }
    }
}

/// A question under way.
struct Asking<'a> {
    links: &'a Links,
    peer: NodeId,
    /// Of the link that is asked for; `None` once there is the link.
    serves: Option<Arc<AtomicBool>>,
}

impl Asking<'_> {
    fn agreed(mut self) {
        self.serves = None;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(serves) = &self.serves {
            self.links.ended(self.peer, serves);
        }
    }
}
