//! The handle of a node that an application holds.

use std::{
    net::SocketAddr,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use stc::Cause;
use stt_transport::{Endpoint, Established, Incoming, SeedWarning, SharedSeed};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
};

use super::{
    Admission, ConnectError, ConnectOptions, Hub, Mode, NodeBuilder, NodeStats, SessionCounts,
    chamber::ChamberSlot, connect,
};
use crate::{
    Address, AddressError, CloseReason, Event, EventEmitter, EventKind, Identity, IdentityError,
    IntoAddress, Keyring, NodeId, Payload, Refusal, RouteError, RouteKind, Session, SessionId,
    StreamError,
    events::{EventError, EventFilter, EventStream, Subscription},
    protocol::{ProtocolError, ProtocolHandler, ProtocolStream},
    session::{Packet, SessionHost, SessionShared, SessionStart},
    stream::StreamShared,
};

/// A running node: one UDP port, one identity, any number of sessions. Clones are the same node.
///
/// It runs until [`stop`](Self::stop); dropping the last handle stops it without ceremony.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

/// What a node is, beside what it does.
pub(super) struct Who {
    pub(super) identity: Arc<Identity>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) mode: Mode,
}

struct Inner {
    who: Who,
    wire: Endpoint,
    hub: Arc<Hub>,
    packets: Mutex<mpsc::Receiver<Packet>>,
    running: AtomicBool,
    stopped: watch::Sender<bool>,
    seed_warning: Option<SeedWarning>,
    chamber: ChamberSlot,
    accepting: tokio::task::AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.accepting.abort();
        self.hub.common().protocols.clear();
        for session in self.hub.all_sessions() {
            session.abort(CloseReason::Shutdown { by_peer: false });
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("node_id", &self.node_id()).finish_non_exhaustive()
    }
}

/// What became of a message to several sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "some sessions may not have taken the message"]
pub struct SendReport {
    /// Sessions whose queue took it.
    pub sent: usize,
    /// Sessions that did not, and why.
    pub failed: Vec<(SessionId, StreamError)>,
    /// Sessions that [`Node::try_send_to_all_on`] left out because their queue is full: their peer
    /// does not read, or its path is slow.
    pub full: Vec<SessionId>,
}

impl Node {
    /// Settings of a node whose peers share `seed`.
    #[must_use]
    pub fn builder(seed: SharedSeed) -> NodeBuilder {
        NodeBuilder::new(seed)
    }

    /// Settings of a node whose peers share one of several seeds, which may change while it runs.
    #[must_use]
    pub fn builder_with_keyring(keyring: impl Into<Arc<Keyring>>) -> NodeBuilder {
        NodeBuilder::with_keyring(keyring.into())
    }

    pub(super) fn run(
        who: Who,
        wire: Endpoint,
        hub: Arc<Hub>,
        packets: mpsc::Receiver<Packet>,
        seed_warning: Option<SeedWarning>,
        chamber: ChamberSlot,
    ) -> Self {
        let accepting = tokio::spawn(accept(wire.clone(), Arc::clone(&hub))).abort_handle();
        Self {
            inner: Arc::new(Inner {
                who,
                wire,
                hub,
                packets: Mutex::new(packets),
                running: AtomicBool::new(true),
                stopped: watch::Sender::new(false),
                seed_warning,
                chamber,
                accepting,
            }),
        }
    }

    pub(super) fn chamber_slot(&self) -> &ChamberSlot {
        &self.inner.chamber
    }

    /// Who this node is.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.identity().node_id()
    }

    /// The keys that it proves its id with.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.inner.who.identity
    }

    /// The seeds by which it knows its peers. Changes count from the next handshake on; sessions go
    /// on.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.inner.who.keyring
    }

    /// Signs `message` with the node key for `context`, a name for the purpose: the signature is
    /// worth nothing for another one. [`NodeId::verifies`] checks it.
    ///
    /// # Errors
    /// [`IdentityError::Keys`] when the cryptographic library fails, which it has no reason to.
    pub fn sign(
        &self,
        context: &str,
        message: &[u8],
    ) -> Result<[u8; NodeId::SIGNATURE_LEN], IdentityError> {
        self.identity().sign(context, message)
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.inner.wire.local_addr()
    }

    /// Sends and receives UDP from another address from now on, and returns it with the port that it
    /// got: for a new network, another port, another interface.
    ///
    /// Sessions over UDP move there by themselves while data flows; [`Event::RouteChanged`] tells
    /// when. The socket before is closed when the last of them has; new peers are met at the new
    /// one. An address of the other family is one more, at first: IPv4 and IPv6 each have a socket
    /// of their own, and a session moves between them with [`Session::move_to`].
    ///
    /// ```no_run
    /// # fn example(node: stt::Node) -> Result<(), stt::RouteError> {
    /// let here = node.rebind("[::]:0")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RouteError`]: nothing has changed. A name is no address here.
    pub fn rebind(&self, to: impl IntoAddress) -> Result<SocketAddr, RouteError> {
        let to = to.into_address()?;
        let here = to.socket_addr().filter(|_| to.kind() != Some(RouteKind::WebSocket));
        self.inner.wire.rebind(here.ok_or_else(|| AddressError::new(to.to_string()))?)
    }

    /// As [`Self::rebind`], with a socket of the caller's.
    #[cfg(test)]
    pub(crate) fn rebind_over(
        &self,
        udp: Arc<dyn stt_transport::internal::DatagramSocket>,
    ) -> SocketAddr {
        let to = udp.local_addr().unwrap();
        self.inner.wire.rebind_over(to, udp).unwrap()
    }

    /// Where it listens for WebSockets, if it does.
    #[must_use]
    pub fn websocket_addr(&self) -> Option<std::net::SocketAddr> {
        self.inner.wire.websocket_addr()
    }

    /// Why its seed should be replaced, if it can be guessed.
    #[must_use]
    pub fn seed_warning(&self) -> Option<SeedWarning> {
        self.inner.seed_warning
    }

    /// Lets peers that hold the seed have sessions, or refuses them from now on. Sessions that exist
    /// go on.
    pub fn set_accepting(&self, accepting: bool) {
        self.inner.hub.set_accepting(accepting);
        self.inner.wire.set_accepting(accepting);
    }

    /// Changes who may have sessions. Those who have one and may not any more lose it at once.
    pub fn set_admission(&self, admission: Admission) {
        for session in self.inner.hub.set_admission(admission) {
            session.abort(CloseReason::Refused(Refusal::Denied));
        }
    }

    /// Bytes a second that all sessions together may send, from now on; `None` for no limit. See
    /// [`NodeBuilder::node_bandwidth`].
    pub fn set_bandwidth(&self, bytes_per_second: Option<NonZeroU64>) {
        self.inner.hub.common().throttle.set(bytes_per_second);
    }

    /// The limit of [`set_bandwidth`](Self::set_bandwidth).
    #[must_use]
    pub fn bandwidth(&self) -> Option<NonZeroU64> {
        self.inner.hub.common().throttle.get()
    }

    // --- sessions ---

    /// Connects to an address, an [`Address`], the system's, or a text, and waits up to
    /// [`ConnectOptions::DEFAULT_TIMEOUT`]. `HOST:PORT` is UDP, and after a second of silence a
    /// WebSocket as well.
    ///
    /// Any member of the seed may answer; to reach one node and no other use
    /// [`connect_with`](Self::connect_with).
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, to: impl IntoAddress) -> Result<Session, ConnectError> {
        self.connect_with(to, &ConnectOptions::new()).await
    }

    /// As [`connect`](Self::connect), over UDP to `host`, a name or an address.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_udp(&self, host: &str, port: u16) -> Result<Session, ConnectError> {
        self.connect(Address::udp(host, port)).await
    }

    /// As [`connect`](Self::connect), to one node and no other, or with another patience.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_with(
        &self,
        to: impl IntoAddress,
        options: &ConnectOptions,
    ) -> Result<Session, ConnectError> {
        let address = to.into_address()?;
        let target = address.dialled()?;
        let ConnectOptions { expect, timeout } = *options;
        if !self.is_running() {
            return Err(ConnectError::Stopped);
        }
        let max = self.inner.hub.common().limits.max_sessions;
        let _place = self.inner.hub.place().ok_or(ConnectError::Full { max })?;
        let attempt = connect::reach(&self.inner.wire, target, expect);
        match tokio::time::timeout(timeout, attempt).await {
            Ok(established) => self.adopt(established?),
            Err(_) => {
                self.inner.wire.unanswered();
                Err(ConnectError::NoAnswer { address: address.to_string(), within: timeout })
            }
        }
    }

    fn adopt(&self, established: Established) -> Result<Session, ConnectError> {
        adopt(&self.inner.hub, established).map(Session::from_shared).ok_or(ConnectError::Stopped)
    }

    /// The next session that a peer began, in the order of their handshakes; each is given out once.
    /// `None` once the node stopped.
    ///
    /// # Cancel safety
    /// A dropped future has taken no session.
    pub async fn accept(&self) -> Option<Session> {
        let mut stopped = self.inner.stopped.subscribe();
        tokio::select! {
            biased;
            session = self.inner.hub.accept() => Some(Session::from_shared(session)),
            _ = stopped.wait_for(|stopped| *stopped) => None,
        }
    }

    /// The sessions that peers begin, as [`accept`](Self::accept) gives them; ends when the node
    /// stops.
    pub fn incoming(&self) -> impl futures_util::Stream<Item = Session> + Send + use<'_> {
        futures_util::stream::unfold(self, |node| async move { Some((node.accept().await?, node)) })
    }

    /// The live session with this id.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<Session> {
        self.inner.hub.session(id).map(Session::from_shared)
    }

    /// All live sessions, in no particular order.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        self.inner.hub.all_sessions().into_iter().map(Session::from_shared).collect()
    }

    /// The live sessions with this peer.
    #[must_use]
    pub fn sessions_with(&self, peer: NodeId) -> Vec<Session> {
        let mut sessions = self.sessions();
        sessions.retain(|session| session.peer_node_id() == peer);
        sessions
    }

    // --- messages ---

    /// As [`send_to_all_on`](Self::send_to_all_on), on stream 0.
    pub async fn send_to_all(&self, message: impl Payload) -> SendReport {
        self.send_to_all_on(0, message).await
    }

    /// Sends `message` on stream `stream_id` of every session. From 4 KiB on it is not copied: all
    /// queues share it until each session seals its packets. A shorter one is copied next to its
    /// length, which costs less than sharing would.
    ///
    /// Every session is tried at once; the call returns when the queues of all have taken it or
    /// failed, so a peer that does not read delays the caller, but no other peer of this call. To
    /// leave such peers out instead, use [`try_send_to_all_on`](Self::try_send_to_all_on). Nobody
    /// being there is a [`Event::Warning`] with code `send.nobody`, not an error.
    pub async fn send_to_all_on(&self, stream_id: u32, message: impl Payload) -> SendReport {
        let sessions = self.inner.hub.all_sessions();
        self.fan_out(sessions, message.into_bytes(), stream_id).await
    }

    /// As [`try_send_to_all_on`](Self::try_send_to_all_on), on stream 0.
    pub fn try_send_to_all(&self, message: impl Payload) -> SendReport {
        self.try_send_to_all_on(0, message)
    }

    /// As [`send_to_all_on`](Self::send_to_all_on), but never waits: sessions whose queue is full
    /// (1 MiB) are left out, and reported as such. For what is sent again and again to many, so
    /// that slow ones neither delay the others nor grow.
    pub fn try_send_to_all_on(&self, stream_id: u32, message: impl Payload) -> SendReport {
        let (message, mut report) = (message.into_bytes(), SendReport::default());
        for session in self.inner.hub.all_sessions() {
            match try_one(&session, &message, stream_id) {
                Ok(None) => report.sent += 1,
                Ok(Some(_)) => report.full.push(session.id),
                Err(error) => report.failed.push((session.id, error)),
            }
        }
        report
    }

    /// As [`send_to_sessions_on`](Self::send_to_sessions_on), on stream 0.
    pub async fn send_to_sessions(&self, ids: &[SessionId], message: impl Payload) -> SendReport {
        self.send_to_sessions_on(ids, 0, message).await
    }

    /// As [`send_to_all_on`](Self::send_to_all_on), to the sessions with these ids. Ids of sessions
    /// that are over, or never were, are reported as failed: [`StreamError::UnknownSession`].
    pub async fn send_to_sessions_on(
        &self,
        ids: &[SessionId],
        stream_id: u32,
        message: impl Payload,
    ) -> SendReport {
        let (mut sessions, mut gone) = (Vec::with_capacity(ids.len()), Vec::new());
        for id in ids {
            match self.inner.hub.session(*id) {
                Some(session) => sessions.push(session),
                None => gone.push(*id),
            }
        }
        let mut report = self.fan_out(sessions, message.into_bytes(), stream_id).await;
        let unknown = |id| (id, StreamError::UnknownSession { id });
        report.failed.extend(gone.into_iter().map(unknown));
        report
    }

    async fn fan_out(
        &self,
        sessions: Vec<Arc<SessionShared>>,
        message: Bytes,
        stream_id: u32,
    ) -> SendReport {
        let mut report = SendReport::default();
        if sessions.is_empty() {
            self.inner.hub.events().emit(Event::Warning {
                code: "send.nobody",
                details: "a message was sent to nobody: there are no such sessions".into(),
            });
        }
        let mut waiting: JoinSet<(SessionId, Result<(), StreamError>)> = JoinSet::new();
        for session in sessions {
            match try_one(&session, &message, stream_id) {
                Ok(None) => report.sent += 1,
                Ok(Some(stream)) => {
                    let message = message.clone();
                    waiting.spawn(async move {
                        let attempt = || stream.outbound.push_message_bytes(&message);
                        (session.id, stream.outbound.wait_for_space(attempt).await)
                    });
                }
                Err(error) => report.failed.push((session.id, error)),
            }
        }
        while let Some(done) = waiting.join_next().await {
            match done {
                Ok((_, Ok(()))) => report.sent += 1,
                Ok((id, Err(error))) => report.failed.push((id, error)),
                Err(_) => {}
            }
        }
        report
    }

    /// The next message from any session, on any stream that was not claimed with
    /// [`Session::get_stream`] or its like. `None` once the node stopped.
    ///
    /// Before the first call such messages wait in their streams, up to each stream's credit, or go to
    /// the handlers of [`Event::DataReceived`] when there are any. The last of those that handlers
    /// had are kept for the first calls, 1,024 messages and 1 MiB at most. Of sessions that are over
    /// by then, 64 streams and 1 MiB at most wait.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn receive(&self) -> Option<Packet> {
        let packets = &self.inner.hub.common().packets;
        if let Some(kept) = packets.receive_kept() {
            return Some(kept);
        }
        let mut stopped = self.inner.stopped.subscribe();
        let next = async { self.inner.packets.lock().await.recv().await };
        tokio::select! {
            biased;
            packet = next => packet.inspect(|packet| packets.left(packet)),
            _ = stopped.wait_for(|stopped| *stopped) => None,
        }
    }

    /// The messages that [`receive`](Self::receive) gives; ends when the node stops.
    pub fn packets(&self) -> impl futures_util::Stream<Item = Packet> + Send + use<'_> {
        futures_util::stream::unfold(
            self,
            |node| async move { Some((node.receive().await?, node)) },
        )
    }

    // --- protocols ---

    /// Hands every stream that peers open for the protocol `label`
    /// ([`Session::open_protocol`]) to `handler`, each in a task of its own, until the returned guard
    /// is dropped or the node stops. Streams handed out before go on.
    ///
    /// A label has 1 to [`ProtocolStream::MAX_LABEL`] bytes. Of one session a label has at most half
    /// of [`NodeBuilder::max_streams`] open.
    ///
    /// A handler that holds a clone of this node keeps it alive until then; the session that it is
    /// given reaches the peer without.
    ///
    /// # Errors
    /// [`ProtocolError::Label`], [`ProtocolError::Taken`], or [`ProtocolError::TooManyHandlers`].
    pub fn handle_protocol<F, R>(
        &self,
        label: impl AsRef<[u8]>,
        handler: F,
    ) -> Result<ProtocolHandler, ProtocolError>
    where
        F: Fn(Session, ProtocolStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        ProtocolHandler::register(&self.inner.hub.common().protocols, label.as_ref(), handler)
    }

    // --- events, figures, the end ---

    /// Where this node's events are listened to.
    #[must_use]
    pub fn events(&self) -> &EventEmitter {
        self.inner.hub.events()
    }

    /// Calls `handler` on every event of a kind or a name, until the subscription is dropped; as
    /// [`EventEmitter::on`].
    ///
    /// A handler that holds a clone of this node keeps it running, at most as long as the
    /// subscription lives.
    ///
    /// # Errors
    /// [`EventError`] when there can be no such event, or there are too many handlers.
    pub fn on<'a, F, Fut>(
        &self,
        events: impl Into<EventFilter<'a>>,
        handler: F,
    ) -> Result<Subscription, EventError>
    where
        F: Fn(Arc<Event>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.events().on(events, handler)
    }

    /// The events of a kind or a name, to be taken one after the other; they end with the node. As
    /// [`EventEmitter::subscribe`].
    ///
    /// # Errors
    /// As [`on`](Self::on).
    pub fn subscribe<'a>(
        &self,
        events: impl Into<EventFilter<'a>>,
    ) -> Result<EventStream, EventError> {
        self.events().subscribe(events)
    }

    /// Calls `handler` with every session that ends, and why, until the subscription is dropped.
    ///
    /// # Errors
    /// [`EventError`] when there are too many handlers.
    pub fn on_session_closed(
        &self,
        handler: impl Fn(SessionId, &CloseReason) + Send + Sync + 'static,
    ) -> Result<Subscription, EventError> {
        self.events().on(EventKind::SessionClosed, move |event| {
            if let Event::SessionClosed { session_id, reason, .. } = &*event {
                handler(*session_id, reason);
            }
            std::future::ready(())
        })
    }

    /// Figures from the start until now.
    #[must_use]
    pub fn stats(&self) -> NodeStats {
        let (active, total) = self.inner.hub.counts();
        NodeStats {
            node_id: self.node_id(),
            running: self.is_running(),
            server_mode: self.inner.who.mode == Mode::Server,
            accepting_connections: self.is_running() && self.inner.hub.is_accepting(),
            udp_transport: self.inner.wire.stats(),
            sessions: SessionCounts { total, active },
            websocket_connections: self.inner.wire.websockets(),
            limits: self.inner.hub.limit_stats(
                self.inner.wire.half_open(),
                self.inner.wire.websocket_addr().is_some(),
            ),
        }
    }

    /// Whether [`stop`](Self::stop) was not called yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.inner.running.load(Ordering::Acquire)
    }

    /// Stops the node: no more sessions are taken, what was sent is delivered for at most
    /// [`Session::CLOSE_PATIENCE`], then every session is closed with [`CloseReason::Shutdown`],
    /// `receive` gives `None`, and the node lets go of its [`chamber`](Self::chamber).
    pub async fn stop(&self) {
        self.stop_within(Session::CLOSE_PATIENCE).await;
    }

    /// As [`stop`](Self::stop), with another patience.
    pub async fn stop_within(&self, patience: Duration) {
        if !self.inner.running.swap(false, Ordering::AcqRel) {
            return;
        }
        self.set_accepting(false);
        let mut closing = JoinSet::new();
        for session in self.inner.hub.all_sessions() {
            closing.spawn(async move {
                session.close(CloseReason::Shutdown { by_peer: false }, patience).await;
            });
        }
        while closing.join_next().await.is_some() {}
        self.inner.hub.common().protocols.clear();
        self.inner.stopped.send_replace(true);
        self.inner.accepting.abort();
        let (code, text) = CloseReason::Shutdown { by_peer: false }.to_wire();
        self.inner.wire.shutdown(code, text.as_bytes()).await;
        self.inner.chamber.close();
    }
}

/// Queues the message, or gives back the stream whose queue is full.
fn try_one(
    session: &Arc<SessionShared>,
    message: &Bytes,
    stream_id: u32,
) -> Result<Option<Arc<StreamShared>>, StreamError> {
    let stream = session.sending(stream_id)?;
    let queued = session.try_send(&stream, message)?;
    Ok((!queued).then_some(stream))
}

/// Makes a session of what the handshake gave. `None` if its id is taken.
fn adopt(hub: &Arc<Hub>, established: Established) -> Option<Arc<SessionShared>> {
    let host: Arc<dyn SessionHost> = Arc::<Hub>::clone(hub);
    let session =
        SessionShared::start(SessionStart { established, common: Arc::clone(hub.common()), host });
    if hub.session_started(&session) {
        return Some(session);
    }
    session.abort(CloseReason::Protocol { cause: Cause::text("the session id is taken") });
    None
}

/// Takes in peers until the wire is closed.
async fn accept(wire: Endpoint, hub: Arc<Hub>) {
    while let Some(incoming) = wire.accept().await {
        tokio::spawn(welcome(incoming, Arc::clone(&hub)));
    }
}

async fn welcome(incoming: Incoming, hub: Arc<Hub>) {
    match incoming.finish(|peer| hub.admit(peer)).await {
        Ok((established, _place)) => {
            adopt(&hub, established);
        }
        Err(error) => hub.handshake_failed(Instant::now(), &error),
    }
}

#[cfg(test)]
mod tests {
    use stc::Key;

    use super::*;
    use crate::SharedSeed;

    /// A node, the session that another one began with it, and what keeps both alive.
    async fn begun() -> (Node, Arc<SessionShared>, (Node, Session)) {
        let seed = SharedSeed::from_key(Key::from_bytes([1; 32]));
        let builder = || Node::builder(seed.clone()).host("127.0.0.1");
        let server = builder().start(Mode::Server).await.unwrap();
        let client = builder().start(Mode::Client).await.unwrap();
        let ours = client.connect(&server.local_addr().to_string()).await.unwrap();
        server.accept().await.unwrap();
        let session = server.inner.hub.all_sessions().remove(0);
        (server, session, (client, ours))
    }

    #[tokio::test]
    async fn a_session_that_ended_before_it_was_taken_in_leaves_no_corpse() {
        let (server, session, _client) = begun().await;
        session.abort(CloseReason::Refused(Refusal::Full));
        session.closed().await;
        let hub = &server.inner.hub;
        while hub.counts().0 > 0 {
            tokio::task::yield_now().await;
        }
        assert!(hub.session_started(&session));
        assert_eq!(hub.counts().0, 0);
    }

    /// A peer can delay the end of its handshake, and what it was told at its beginning is old then.
    #[tokio::test]
    async fn who_is_denied_while_being_admitted_has_no_session() {
        let (server, session, _client) = begun().await;
        let hub = &server.inner.hub;
        hub.session_ended(&session, &CloseReason::Timeout);
        assert!(hub.set_admission(Admission::everyone().deny(session.peer)).is_empty());
        assert!(hub.session_started(&session));
        let ended = tokio::time::timeout(Duration::from_secs(30), session.closed()).await;
        assert_eq!(ended, Ok(CloseReason::Refused(Refusal::Denied)));
    }
}
