//! The handle of a session that an application holds.

use std::{
    net::SocketAddr,
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{SessionShared, SessionStats, labelled};
use crate::{
    CloseReason, ContentId, IntoAddress, Key, NodeId, ProtocolError, ProtocolStream, Route,
    RouteError, RouteKind, SessionId, Stream, StreamError, StreamOptions, Suite,
};

/// A sealed session with one peer. Clones are the same session.
///
/// It lives until one side closes it, its node stops, or nothing arrives for the idle timeout.
/// Dropping the handle closes nothing: the node keeps it ([`Node::session`](crate::Node::session)),
/// and ends it when its own last handle is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<SessionShared>,
}

impl Session {
    /// How long [`close`](Self::close) waits for what was sent to arrive.
    pub const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

    pub(crate) const fn from_shared(shared: Arc<SessionShared>) -> Self {
        Self { shared }
    }

    /// Something with the same id goes on after it, and tells its end. False if it is over already.
    pub(crate) fn outlive(&self) -> bool {
        self.shared.host.outlive(&self.shared)
    }

    pub(crate) const fn shared(&self) -> &Arc<SessionShared> {
        &self.shared
    }

    /// Its id: 8 bytes that both sides derived and nobody sent.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.shared.id
    }

    /// Who the peer proved to be.
    #[must_use]
    pub fn peer_node_id(&self) -> NodeId {
        self.shared.peer
    }

    /// Whether this side connected.
    #[must_use]
    pub fn is_initiator(&self) -> bool {
        self.shared.initiator
    }

    /// Where the peer is at the moment: where its UDP datagrams come from, or the other end of the
    /// connection that carries its WebSocket. It changes when the session moves.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.route().remote
    }

    /// How its datagrams travel at the moment.
    #[must_use]
    pub fn route(&self) -> Route {
        self.shared.route.now(self.shared.connection.rtt())
    }

    /// Moves to an address of the peer, while data flows; `HOST:PORT` is UDP. Returns once the peer
    /// answered there and sends there, too; until then the route before stays in use.
    ///
    /// A session that was moved by this call stays there until it is moved again or the route dies.
    ///
    /// # Errors
    /// [`RouteError`]: the session goes on over the route that it has.
    pub async fn move_to(&self, to: impl IntoAddress) -> Result<Route, RouteError> {
        let to = to.into_address()?;
        self.shared.route.move_to(to.dialled()?).await?;
        Ok(self.route())
    }

    /// As [`move_to`](Self::move_to), to the address of this kind where the peer is known to be. Of a
    /// WebSocket only the side that connected knows; the other side asks it to move.
    ///
    /// # Errors
    /// [`RouteError`].
    pub async fn move_to_kind(&self, kind: RouteKind) -> Result<Route, RouteError> {
        self.shared.route.move_to_kind(kind).await?;
        Ok(self.route())
    }

    /// Addresses at which the peer says it can be reached ([`NodeBuilder::announce`]). Only the
    /// side that was connected to is told. Claims, not facts.
    ///
    /// [`NodeBuilder::announce`]: crate::NodeBuilder::announce
    #[must_use]
    pub fn peer_listens(&self) -> &[SocketAddr] {
        &self.shared.peer_listens
    }

    /// The cipher that seals it.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.shared.suite
    }

    /// 32 bytes that only the two ends of this session know, for `label`; equal on both sides.
    /// An application binds its own proofs to the session with them.
    #[must_use]
    pub fn export(&self, label: &str) -> Key {
        self.shared.exporter.derive(label, &[])
    }

    /// The next datagram of its connection meets a panic.
    #[cfg(test)]
    pub(crate) fn trap(&self) {
        self.shared.connection.trap();
    }

    /// Opens a stream with the next free number: odd on the side that connected, beginning with 1,
    /// even on the other. The peer meets it with [`get_stream`](Self::get_stream) or
    /// [`accept_stream`](Self::accept_stream).
    ///
    /// # Errors
    /// [`StreamError::TooMany`] or [`StreamError::SessionEnded`].
    pub fn open_stream(&self) -> Result<Stream, StreamError> {
        self.open_stream_with(&StreamOptions::new())
    }

    /// As [`open_stream`](Self::open_stream), with a number or limits of one's own. A stream that
    /// is open already takes the options over.
    ///
    /// # Errors
    /// As [`open_stream`](Self::open_stream).
    pub fn open_stream_with(&self, options: &StreamOptions) -> Result<Stream, StreamError> {
        let stream = self.shared.open(options)?;
        if options.id.is_none() {
            stream.set_owned(true);
        }
        Ok(self.handle(stream))
    }

    /// The stream with this number, whichever side used it first, or neither yet.
    ///
    /// From then on its messages are received from the handle and no longer flow into
    /// [`Node::receive`](crate::Node::receive).
    ///
    /// # Errors
    /// As [`open_stream`](Self::open_stream).
    pub fn get_stream(&self, id: u32) -> Result<Stream, StreamError> {
        self.open_stream_with(&StreamOptions::new().id(id))
    }

    /// The next stream on which the peer sent something and that nobody asked for by number.
    ///
    /// # Cancel safety
    /// A dropped future has taken no stream.
    ///
    /// # Errors
    /// [`StreamError::SessionEnded`].
    pub async fn accept_stream(&self) -> Result<Stream, StreamError> {
        let stream = self.shared.accept().await?;
        stream.set_owned(true);
        Ok(self.handle(stream))
    }

    /// The streams that [`accept_stream`](Self::accept_stream) gives; ends with the session.
    pub fn incoming_streams(&self) -> impl futures_util::Stream<Item = Stream> + Send + use<'_> {
        futures_util::stream::unfold(self, |session| async move {
            Some((session.accept_stream().await.ok()?, session))
        })
    }

    /// Opens a stream of the protocol `label`, 1 to [`ProtocolStream::MAX_LABEL`] bytes, whose
    /// numbers are its own. The peer's [`Node::handle_protocol`](crate::Node::handle_protocol) gets
    /// it as soon as it is open; it never comes out of [`accept_stream`](Self::accept_stream) or
    /// [`Node::receive`](crate::Node::receive).
    ///
    /// It returns at once: that the peer has no handler
    /// ([`ProtocolError::Unknown`]) or knows no protocols yet ([`ProtocolError::Unsupported`]) is
    /// what sending and receiving then say.
    ///
    /// # Errors
    /// [`ProtocolError::Label`], [`ProtocolError::TooMany`] when this label or all labels together
    /// have as many streams as they may, or [`ProtocolError::Stream`] when the session is over.
    pub fn open_protocol(&self, label: impl AsRef<[u8]>) -> Result<ProtocolStream, ProtocolError> {
        labelled::open(&self.shared, label.as_ref())
    }

    fn handle(&self, shared: Arc<crate::stream::StreamShared>) -> Stream {
        Stream::new(shared, Arc::clone(&self.shared))
    }

    /// Asks the peer for a sign of life and returns how long that took, queues of both sides
    /// included. Every node answers by itself.
    ///
    /// # Errors
    /// [`StreamError::SessionEnded`].
    pub async fn ping(&self) -> Result<Duration, StreamError> {
        let started = Instant::now();
        tokio::select! {
            biased;
            () = self.shared.control.ping(&self.shared) => Ok(started.elapsed()),
            reason = self.shared.closed() => Err(StreamError::SessionEnded(reason)),
        }
    }

    /// Notes that a content was read or asked for, which raises the adaptive priority of messages
    /// that hold it.
    pub fn content_accessed(&self, content: &ContentId) {
        self.shared.adaptive.accessed(content);
    }

    /// How likely the peer holds what is asked of it, for adaptive priorities.
    pub(crate) fn set_affinity(&self, affinity: f64) {
        self.shared.adaptive.set_affinity(affinity);
    }

    /// Bytes a second that this session may send, from now on; `None` for no limit. See
    /// [`NodeBuilder::session_bandwidth`](crate::NodeBuilder::session_bandwidth).
    pub fn set_bandwidth(&self, bytes_per_second: Option<NonZeroU64>) {
        self.shared.throttle.set(bytes_per_second);
    }

    /// The limit of [`set_bandwidth`](Self::set_bandwidth).
    #[must_use]
    pub fn bandwidth(&self) -> Option<NonZeroU64> {
        self.shared.throttle.get()
    }

    /// Figures of this session.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        SessionStats::of(&self.shared)
    }

    /// Why it ended, or `None` while it lives.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared.end_reason()
    }

    /// Waits until the session has ended and says why.
    pub async fn closed(&self) -> CloseReason {
        self.shared.closed().await
    }

    /// Closes the session. What was sent on its streams is delivered first, for at most
    /// [`Self::CLOSE_PATIENCE`]; the peer sees `reason`, cut to [`CloseReason::MAX_TEXT`] bytes.
    pub async fn close(&self, reason: &str) {
        let reason = CloseReason::Closed { by_peer: false, text: reason.into() };
        self.shared.close(reason, Self::CLOSE_PATIENCE).await;
    }

    /// Closes the session at once: what has not arrived is lost.
    pub fn abort(&self, reason: &str) {
        self.shared.abort(CloseReason::Closed { by_peer: false, text: reason.into() });
    }
}
