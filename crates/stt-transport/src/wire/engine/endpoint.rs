//! The one place where datagrams come in and connections begin.

use std::{
    collections::VecDeque,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use quinn_proto::{
    ClientConfig, ConnectError, ConnectionError, ConnectionEvent, ConnectionHandle, DatagramEvent,
    EndpointConfig, EndpointEvent, Incoming, ServerConfig, TransportError, TransportErrorCode,
    VarInt,
};
use tokio::sync::Notify;

use super::{
    super::{
        crypto_adapter::is_unfit,
        socket::{Inbox, Received, SilentSocket},
        stats::{Counters, count},
    },
    connection::Connecting,
    drive::{self, Shared as Connection, now},
    sync::Mutex,
};
use crate::route::Link;

/// Datagrams that are handed on at once. More are left to the tasks of their connections, so that
/// all processors have a part in the work.
const FEW: usize = 2;
/// Calls for datagrams in a row before others get their turn.
const ROUNDS: usize = 16;

/// A node's connections. The last one dropped ends the receiving task, once no connection is left.
pub(crate) struct Endpoint(Arc<Shared>);

/// What the tasks share.
pub(super) struct Shared {
    state: Mutex<State>,
    socket: Arc<SilentSocket>,
    counters: Arc<Counters>,
    arrived: Notify,
    idle: Notify,
    /// A connection that is closed ends at once: the socket is about to be closed as well.
    skips_draining: AtomicBool,
}

struct State {
    quic: quinn_proto::Endpoint,
    /// By their handles, which count from zero and are used again.
    connections: Vec<Option<Arc<Connection>>>,
    /// How many of them there are.
    alive: usize,
    incoming: VecDeque<Incoming>,
    /// Nobody gets in or out any more.
    closed: bool,
    /// Nothing will be received any more.
    deaf: bool,
    /// Nobody will connect or accept any more.
    abandoned: bool,
    receiver: Option<Waker>,
    #[cfg(test)]
    trap: Option<Trap>,
}

/// Where a test has the engine panic, once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    Datagram,
    Admission,
}

impl State {
    /// What a test set is met: a panic.
    fn spring(&mut self, _at: Trap) {
        #[cfg(test)]
        assert!(self.trap.take_if(|trap| *trap == _at).is_none(), "trapped");
    }

    const fn is_idle(&self) -> bool {
        self.alive == 0
    }

    /// Leaves those who knocked and were not taken in without a word.
    fn forget_incoming(&mut self) {
        while let Some(incoming) = self.incoming.pop_front() {
            self.quic.ignore(incoming);
        }
    }
}

impl Endpoint {
    /// Starts to receive. Must be called inside of a tokio runtime.
    pub(crate) fn new(
        config: EndpointConfig,
        server: ServerConfig,
        socket: Arc<SilentSocket>,
        counters: Arc<Counters>,
    ) -> Self {
        let knows_mtu = !socket.may_fragment();
        let server = Some(Arc::new(server));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                quic: quinn_proto::Endpoint::new(Arc::new(config), server, knows_mtu, None),
                connections: Vec::new(),
                alive: 0,
                incoming: VecDeque::new(),
                closed: false,
                deaf: false,
                abandoned: false,
                receiver: None,
                #[cfg(test)]
                trap: None,
            }),
            socket,
            counters,
            arrived: Notify::new(),
            idle: Notify::new(),
            skips_draining: AtomicBool::new(false),
        });
        tokio::spawn(Arc::clone(&shared).receive());
        Self(shared)
    }

    #[cfg(test)]
    pub(crate) fn trap(&self, at: Trap) {
        self.0.state.lock().trap = Some(at);
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.0.state.lock().quic.open_connections()
    }

    /// Begins a connection over `link`.
    ///
    /// # Errors
    /// The endpoint is closed; the engine's reasons.
    pub(crate) fn connect(
        &self,
        config: ClientConfig,
        link: &Arc<Link>,
    ) -> Result<Connecting, ConnectError> {
        let mut state = self.0.state.lock();
        if state.deaf || state.closed {
            return Err(ConnectError::EndpointStopping);
        }
        let connect = || state.quic.connect(now(), config, link.logical, "stt");
        let (handle, quic) = link.lend(connect)?;
        Ok(self.0.begin(&mut state, handle, quic, link))
    }

    /// The next peer whose first flight authenticated; `None` once the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Incoming> {
        loop {
            let mut arrived = pin!(self.0.arrived.notified());
            arrived.as_mut().enable();
            {
                let mut state = self.0.state.lock();
                if state.deaf || state.closed {
                    return None;
                }
                if let Some(incoming) = state.incoming.pop_front() {
                    return Some(incoming);
                }
            }
            arrived.await;
        }
    }

    /// Forgets such a peer without a word.
    pub(crate) fn ignore(&self, incoming: Incoming) {
        self.0.state.lock().quic.ignore(incoming);
    }

    /// Goes on with its handshake over `link`. A peer that cannot be agreed with is answered: it is a
    /// member. A panic over it is its own end, and not that of the task which takes in all of them.
    ///
    /// # Errors
    /// The engine's reasons.
    pub(crate) fn admit(
        &self,
        incoming: Incoming,
        config: ServerConfig,
        link: &Arc<Link>,
    ) -> Result<Connecting, ConnectionError> {
        let mut answer = Vec::new();
        let mut state = self.0.state.lock();
        if state.deaf || state.closed {
            state.quic.ignore(incoming);
            return Err(ConnectionError::LocallyClosed);
        }
        let accept = || {
            state.spring(Trap::Admission);
            let config = Some(Arc::new(config));
            state.quic.accept(incoming, now(), &mut answer, config).map_err(Box::new)
        };
        match catch_unwind(AssertUnwindSafe(|| link.lend(accept))) {
            Ok(Ok((handle, quic))) => Ok(self.0.begin(&mut state, handle, quic, link)),
            Err(_) => Err(drive::fault()),
            Ok(Err(refused)) => {
                drop(state);
                let silent = is_unfit(&refused.cause);
                if let Some(transmit) = refused.response.filter(|_| !silent) {
                    self.0.socket.answer(link, &transmit, &answer);
                }
                Err(refused.cause)
            }
        }
    }

    /// Ends all connections, and lets nobody begin one any more.
    pub(crate) fn close(&self, code: VarInt, reason: &[u8]) {
        let reason = Bytes::copy_from_slice(reason);
        let connections: Vec<_> = {
            let mut state = self.0.state.lock();
            state.closed = true;
            state.quic.set_server_config(None);
            state.forget_incoming();
            state.connections.iter().flatten().cloned().collect()
        };
        for connection in connections {
            connection.close(code, reason.clone());
        }
        self.0.arrived.notify_waiters();
        // It has nobody to receive for, perhaps.
        let receiver = self.0.state.lock().receiver.take();
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }

    /// Waits until no connection is left, not even one that is closing.
    pub(crate) async fn idle(&self) {
        loop {
            let mut idle = pin!(self.0.idle.notified());
            idle.as_mut().enable();
            if self.0.state.lock().is_idle() {
                return;
            }
            idle.await;
        }
    }

    /// Ends connections that are closed, now and from now on, without the closing and draining
    /// states. Those last three probe timeouts, which can be minutes, and keep the socket open;
    /// without a socket nothing late is answered (RFC 9000, section 10.2).
    pub(crate) fn skip_draining(&self) {
        self.0.skips_draining.store(true, Ordering::Release);
        let connections: Vec<_> =
            self.0.state.lock().connections.iter().flatten().cloned().collect();
        for connection in connections {
            connection.call();
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let receiver = {
            let mut state = self.0.state.lock();
            state.abandoned = true;
            state.receiver.take()
        };
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        self.skip_draining();
    }
}

impl Shared {
    /// Whether connections end as soon as they are closed and have said so.
    pub(super) fn skips_draining(&self) -> bool {
        self.skips_draining.load(Ordering::Acquire)
    }

    fn begin(
        self: &Arc<Self>,
        state: &mut State,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        link: &Arc<Link>,
    ) -> Connecting {
        let outlet = self.socket.outlet(Arc::clone(link));
        let connection = drive::begin(handle, quic, Arc::clone(self), outlet);
        let ConnectionHandle(at) = handle;
        if state.connections.len() <= at {
            state.connections.resize(at + 1, None);
        }
        if let Some(place) = state.connections.get_mut(at) {
            *place = Some(Arc::clone(&connection));
            state.alive += 1;
        }
        tokio::spawn(drive::run(Arc::clone(&connection)));
        Connecting::new(connection)
    }

    /// What a connection has to say; perhaps there is something to answer.
    pub(super) fn tell(
        &self,
        handle: ConnectionHandle,
        event: EndpointEvent,
    ) -> Option<ConnectionEvent> {
        let mut state = self.state.lock();
        if event.is_drained() {
            let ConnectionHandle(at) = handle;
            if state.connections.get_mut(at).and_then(Option::take).is_some() {
                state.alive -= 1;
            }
            if state.is_idle() {
                self.idle.notify_waiters();
                if let Some(receiver) = state.receiver.take() {
                    receiver.wake();
                }
            }
        }
        state.quic.handle_event(handle, event)
    }

    /// The receiving task.
    async fn receive(self: Arc<Self>) {
        let _deaf = Deaf(&self);
        let (mut inbox, mut events) = (Inbox::new(), Vec::new());
        poll_fn(|cx| self.poll(cx, &mut inbox, &mut events)).await;
    }

    fn poll(
        &self,
        cx: &mut Context<'_>,
        inbox: &mut Inbox,
        events: &mut Vec<(Arc<Connection>, ConnectionEvent)>,
    ) -> Poll<()> {
        for _ in 0..ROUNDS {
            match self.socket.poll_receive(cx, inbox) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    let mut state = self.state.lock();
                    if (state.abandoned || state.closed) && state.is_idle() {
                        return Poll::Ready(());
                    }
                    if !state.receiver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                        state.receiver = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
            }
            self.sort(inbox, events);
            let few = events.len() <= FEW;
            let mut rest = events.drain(..).peekable();
            while let Some((connection, first)) = rest.next() {
                let same = || rest.next_if(|(next, _)| Arc::ptr_eq(next, &connection));
                let same = std::iter::from_fn(same).map(|(_, event)| event);
                connection.deliver(std::iter::once(first).chain(same), few);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Finds out whose datagrams these are.
    fn sort(&self, inbox: &mut Inbox, events: &mut Vec<(Arc<Connection>, ConnectionEvent)>) {
        let now = now();
        let mut state = self.state.lock();
        let mut answer = Vec::new();
        for Received { from, local_ip, ecn, data } in inbox.take() {
            let handle = || {
                state.spring(Trap::Datagram);
                state.quic.handle(now, from, local_ip, ecn, data, &mut answer)
            };
            // A datagram that meets a panic is one that was lost.
            match catch_unwind(AssertUnwindSafe(handle)).unwrap_or_default() {
                Some(DatagramEvent::ConnectionEvent(ConnectionHandle(at), event)) => {
                    if let Some(connection) = state.connections.get(at).cloned().flatten() {
                        events.push((connection, event));
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) => {
                    if state.closed {
                        state.quic.ignore(incoming);
                    } else {
                        state.incoming.push_back(incoming);
                        self.arrived.notify_waiters();
                    }
                }
                Some(DatagramEvent::Response(_)) => {
                    answer.clear();
                    count(&self.counters.answers_withheld);
                }
                None => {}
            }
        }
    }
}

/// Tells everybody that nothing will be received any more.
struct Deaf<'a>(&'a Shared);

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        let Self(shared) = self;
        let connections: Vec<_> = {
            let mut state = shared.state.lock();
            state.deaf = true;
            state.forget_incoming();
            state.connections.iter().flatten().cloned().collect()
        };
        shared.arrived.notify_waiters();
        for connection in connections {
            connection.lose(ConnectionError::TransportError(TransportError {
                code: TransportErrorCode::INTERNAL_ERROR,
                frame: None,
                reason: "nothing is received any more".into(),
            }));
            // Sending may still work, and then the peer need not wait.
            connection.close(VarInt::from_u32(0), Bytes::new());
        }
    }
}
