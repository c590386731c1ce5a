//! A connection's state, and what moves it: datagrams, time, and the room to send.

use std::{
    cell::Cell,
    collections::hash_map::Entry,
    future::{Future, poll_fn},
    io, mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use quinn_proto::{
    ConnectionError as Reason, ConnectionEvent, ConnectionHandle, EndpointEvent, Event,
    StreamEvent, StreamId, Transmit, TransportError, TransportErrorCode, VarInt,
};
use rustc_hash::FxHashMap;
use tokio::{
    sync::Notify,
    time::{Sleep, sleep_until},
};

use super::{
    super::socket::Outlet,
    endpoint::Shared as Endpoint,
    error::ConnectionError,
    handover::{self, Alarm, Engine, Handover},
    recv::{Poured, Reader, pour},
};
use crate::waker_list::WakerList;

/// Bytes sent in a row before others get their turn: whoever writes waits meanwhile. Mostly one call
/// to the system.
const BURST: usize = 32 << 10;

pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What all handles of a connection share.
pub(super) type Shared = Handover<Wire>;

type Turn = handover::Turn<Instant>;

/// What of it needs no lock.
pub(super) struct Wire {
    pub(super) handle: ConnectionHandle,
    endpoint: Arc<Endpoint>,
    pub(super) notices: Notices,
}

/// Who waits for what of a connection.
#[derive(Default)]
pub(super) struct Notices {
    pub(super) connected: Notify,
    pub(super) closed: Notify,
    pub(super) stream_arrived: Notify,
    pub(super) may_open: Notify,
    pub(super) datagram_arrived: Notify,
    pub(super) may_send_datagram: Notify,
}

/// The engine's connection and what belongs to it.
pub(super) struct State {
    pub(super) quic: quinn_proto::Connection,
    pub(super) connected: bool,
    /// Why it is over.
    pub(super) error: Option<ConnectionError>,
    /// Who waits to read, to write, or to hear that all was acknowledged.
    pub(super) readers: FxHashMap<StreamId, Reader>,
    pub(super) writers: FxHashMap<StreamId, Waker>,
    pub(super) finishers: FxHashMap<StreamId, Waker>,
    outlet: Outlet,
    /// What the system had no room for.
    unsent: Option<(Transmit, Vec<u8>)>,
    #[cfg(any(test, feature = "testing"))]
    pub(super) trap: bool,
}

thread_local! {
    /// Where the engine writes datagrams. One for each thread: idle connections need none.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection, for which a task is to [`run`].
pub(super) fn begin(
    handle: ConnectionHandle,
    quic: quinn_proto::Connection,
    endpoint: Arc<Endpoint>,
    outlet: Outlet,
) -> Arc<Shared> {
    let state = State {
        quic,
        connected: false,
        error: None,
        readers: FxHashMap::default(),
        writers: FxHashMap::default(),
        finishers: FxHashMap::default(),
        outlet,
        unsent: None,
        #[cfg(any(test, feature = "testing"))]
        trap: false,
    };
    let wire = Wire { handle, endpoint, notices: Notices::default() };
    Arc::new(Handover::new(wire, state))
}

/// The task of a connection, until nothing of it is left.
pub(super) async fn run(shared: Arc<Shared>) {
    let _end = End(&shared);
    let mut timer = Timer(pin!(sleep_until(now().into())));
    poll_fn(|cx| shared.poll(cx, &mut timer)).await;
}

impl Shared {
    /// Ends it: `code` and `reason` are told to the peer.
    pub(super) fn close(&self, code: VarInt, reason: Bytes) {
        self.end(Reason::LocallyClosed, |state| {
            state.spring();
            state.quic.close(now(), code, reason);
        });
    }

    /// It is over without a word: nothing will be received any more.
    pub(super) fn lose(&self, error: Reason) {
        self.end(error, |_| {});
    }
}

impl Engine for Wire {
    type State = State;
    type Event = ConnectionEvent;
    type Time = Instant;
    type Reason = Reason;

    const MAX_WAITING: usize = 4_096;
    const PART: usize = 128;

    /// Handshakes are work: many of them should use all processors.
    fn takes_volunteers(state: &State) -> bool {
        state.connected
    }

    fn take(&self, state: &mut State, event: ConnectionEvent) {
        state.spring();
        let State { quic, outlet, .. } = state;
        outlet.link().lend(|| quic.handle_event(event));
    }

    /// Tells everybody who waits. The first reason stays.
    fn end(&self, state: &mut State, error: Reason, wakes: &mut WakerList) {
        state.error.get_or_insert_with(|| ConnectionError::new(error));
        let State { readers, writers, finishers, .. } = state;
        readers.retain(|_, reader| match reader {
            Reader::Task(waker) | Reader::Sink(_, waker) => {
                wakes.add(waker.clone());
                false
            }
            Reader::Over(_) => true,
        });
        wakes.extend(writers.drain().chain(finishers.drain()).map(|(_, waker)| waker));
        let Notices {
            connected,
            closed,
            stream_arrived,
            may_open,
            datagram_arrived,
            may_send_datagram,
        } = &self.notices;
        for notice in
            [connected, closed, stream_arrived, may_open, datagram_arrived, may_send_datagram]
        {
            notice.notify_waiters();
        }
    }

    /// Passes on what happened, sends what may be sent, and minds the time.
    fn turn(&self, state: &mut State, cx: Option<&mut Context<'_>>, wakes: &mut WakerList) -> Turn {
        let now = now();
        // What the application gets gives credit, which goes out with the rest.
        self.pass_on(state, wakes);
        let mut turn = state.send(now, cx);
        turn.next = state.quic.poll_timeout();
        if turn.next.is_some_and(|at| at <= now) {
            state.quic.handle_timeout(now);
            turn.again = true;
        }
        while let Some(event) = state.quic.poll_endpoint_events() {
            if let Some(answer) = self.endpoint.tell(self.handle, event) {
                state.quic.handle_event(answer);
                turn.again = true;
            }
        }
        turn.again |= self.pass_on(state, wakes);
        let done = state.quic.is_closed() && !turn.again && state.unsent.is_none();
        turn.over = state.quic.is_drained() || (done && self.endpoint.skips_draining());
        turn
    }

    fn fault() -> Reason {
        fault()
    }
}

impl Wire {
    /// Passes on what happened. True if there is something to send because of it.
    fn pass_on(&self, state: &mut State, wakes: &mut WakerList) -> bool {
        let mut gave_credit = false;
        while let Some(event) = state.quic.poll() {
            let notices = &self.notices;
            match event {
                Event::HandshakeDataReady => {}
                Event::Connected => {
                    state.connected = true;
                    notices.connected.notify_waiters();
                }
                Event::ConnectionLost { reason } => {
                    self.end(state, reason, wakes);
                }
                Event::Stream(StreamEvent::Readable { id }) => {
                    gave_credit |= state.readable(id, wakes);
                }
                Event::Stream(StreamEvent::Writable { id }) => {
                    wakes.extend(state.writers.remove(&id));
                }
                Event::Stream(StreamEvent::Finished { id }) => {
                    wakes.extend(state.finishers.remove(&id));
                }
                Event::Stream(StreamEvent::Stopped { id, .. }) => {
                    wakes.extend(state.finishers.remove(&id));
                    wakes.extend(state.writers.remove(&id));
                }
                Event::Stream(StreamEvent::Opened { .. }) => {
                    notices.stream_arrived.notify_waiters();
                }
                Event::Stream(StreamEvent::Available { .. }) => notices.may_open.notify_waiters(),
                Event::DatagramReceived => notices.datagram_arrived.notify_waiters(),
                Event::DatagramsUnblocked => notices.may_send_datagram.notify_waiters(),
            }
        }
        gave_credit
    }
}

impl State {
    /// There is something to read: pours it, or calls who reads. True if that gave credit.
    fn readable(&mut self, id: StreamId, wakes: &mut WakerList) -> bool {
        match self.readers.entry(id) {
            Entry::Vacant(_) => false,
            Entry::Occupied(mut reader) => match reader.get() {
                Reader::Over(_) => false,
                Reader::Task(_) => {
                    if let Reader::Task(waker) = reader.remove() {
                        wakes.add(waker);
                    }
                    false
                }
                Reader::Sink(sink, waker) => {
                    let (poured, gave_credit) = pour(&mut self.quic, id, sink.as_ref(), wakes);
                    match poured {
                        Poured::Dry => {}
                        Poured::Held => {
                            wakes.add(waker.clone());
                            reader.remove();
                        }
                        Poured::Over(end) => {
                            wakes.add(waker.clone());
                            reader.insert(Reader::Over(end));
                        }
                    }
                    gave_credit
                }
            },
        }
    }

    /// What a test set is met: a panic.
    fn spring(&mut self) {
        #[cfg(any(test, feature = "testing"))]
        assert!(!mem::take(&mut self.trap), "trapped");
    }

    /// Sends until there is nothing more, or no room, or it is the turn of others. With `cx` it
    /// waits for room.
    fn send(&mut self, now: Instant, mut cx: Option<&mut Context<'_>>) -> Turn {
        let mut turn = Turn::default();
        let mut buffer = BUFFER.take();
        let mut sent = 0;
        while sent < BURST {
            let transmit = match self.unsent.take() {
                Some((transmit, contents)) => {
                    buffer = contents;
                    transmit
                }
                None => {
                    buffer.clear();
                    let segments = self.outlet.segments(self.quic.current_mtu());
                    match self.quic.poll_transmit(now, segments, &mut buffer) {
                        Some(transmit) => transmit,
                        None => break,
                    }
                }
            };
            let contents = buffer.get(..transmit.size).unwrap_or_default();
            sent += contents.len();
            if let Err(error) = self.outlet.send(&transmit, contents) {
                debug_assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                self.unsent = Some((transmit, mem::take(&mut buffer)));
                match cx.as_mut().map(|cx| self.outlet.poll_room(cx)) {
                    // Once there is room the task is called.
                    Some(Poll::Pending) => return turn,
                    Some(Poll::Ready(())) => {}
                    None => {
                        turn.stuck = true;
                        return turn;
                    }
                }
            }
        }
        turn.again = sent >= BURST;
        BUFFER.set(buffer);
        turn
    }
}

/// Why a connection ends that met a panic.
pub(super) fn fault() -> Reason {
    let mut fault = TransportError::from(TransportErrorCode::INTERNAL_ERROR);
    fault.reason = "a fault of this node".to_owned();
    Reason::TransportError(fault)
}

/// The task's alarm.
struct Timer<'a>(Pin<&'a mut Sleep>);

impl Alarm<Instant> for Timer<'_> {
    fn set(&mut self, at: Instant) {
        self.0.as_mut().reset(at.into());
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// Tells the endpoint and everybody else when the task is gone, even if it was dropped.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let Self(shared) = self;
        shared.lose(Reason::LocallyClosed);
        let mut state = shared.lock();
        state.outlet.close();
        if !state.quic.is_drained() {
            let _ = shared.engine.endpoint.tell(shared.engine.handle, EndpointEvent::drained());
        }
    }
}
