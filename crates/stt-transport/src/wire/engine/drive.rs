//! A connection's state, and what moves it: datagrams, time, and the room to send.

use std::{
    cell::Cell,
    collections::{VecDeque, hash_map::Entry},
    future::{Future, poll_fn},
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use quinn_proto::{
    ConnectionError as Engine, ConnectionEvent, ConnectionHandle, EndpointEvent, Event,
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
    recv::{Poured, Reader, pour},
};
use crate::waker_list::WakerList;

/// Datagrams of one connection that wait for its task. More are lost, as they would be in the
/// system's buffer.
const MAX_WAITING: usize = 4_096;
/// How many of them are worked on in one turn: others wait for the connection meanwhile.
const PART: usize = 128;
/// Places for such datagrams that a connection keeps while there are none.
const MAX_SPARE: usize = 64;
/// Bytes sent in a row before others get their turn: whoever writes waits meanwhile. Mostly one call
/// to the system.
const BURST: usize = 32 << 10;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What all handles of a connection share.
pub(super) struct Shared {
    pub(super) handle: ConnectionHandle,
    endpoint: Arc<Endpoint>,
    state: Mutex<State>,
    /// What came while somebody else had the state, or was too much for whoever brought it.
    waiting: Mutex<VecDeque<ConnectionEvent>>,
    task: Mutex<Option<Waker>>,
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
    /// When the task wakes by itself.
    alarm: Option<Instant>,
    /// What waited and is being worked on, a part with each turn.
    taken: VecDeque<ConnectionEvent>,
    /// A panic left it as it was at that moment.
    broken: bool,
    #[cfg(any(test, feature = "testing"))]
    pub(super) trap: bool,
}

/// How far a turn came.
#[derive(Default)]
struct Turn {
    /// There is more to do at once.
    again: bool,
    /// There is no room to send, and nobody waits for it.
    full: bool,
    over: bool,
    /// When there is something to do at the latest.
    next: Option<Instant>,
}

thread_local! {
    /// Where the engine writes datagrams. One for each thread: idle connections need none.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Shared {
    pub(super) fn new(
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        endpoint: Arc<Endpoint>,
        outlet: Outlet,
    ) -> Arc<Self> {
        Arc::new(Self {
            handle,
            endpoint,
            state: Mutex::new(State {
                quic,
                connected: false,
                error: None,
                readers: FxHashMap::default(),
                writers: FxHashMap::default(),
                finishers: FxHashMap::default(),
                outlet,
                unsent: None,
                alarm: None,
                taken: VecDeque::new(),
                broken: false,
                #[cfg(any(test, feature = "testing"))]
                trap: false,
            }),
            waiting: Mutex::default(),
            task: Mutex::default(),
            notices: Notices::default(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Has the task take a turn.
    pub(super) fn call(&self) {
        let task = lock(&self.task).clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Takes in what came. A `few` datagrams are worked on here and now, if nobody else is at it and
    /// none came before them.
    pub(super) fn deliver(&self, events: impl Iterator<Item = ConnectionEvent>, few: bool) {
        if few {
            match self.state.try_lock() {
                // Handshakes are work: many of them should use all processors.
                Ok(mut state)
                    if state.connected
                        && state.taken.is_empty()
                        && lock(&self.waiting).is_empty() =>
                {
                    let take = || {
                        for event in events {
                            state.take(event);
                        }
                        state
                    };
                    if let Some(state) = self.guarded(take) {
                        self.turn_here(state);
                    }
                    return;
                }
                Ok(_) | Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => {}
            }
        }
        let mut waiting = lock(&self.waiting);
        let room = MAX_WAITING.saturating_sub(waiting.len());
        waiting.extend(events.take(room));
        drop(waiting);
        self.call();
    }

    /// Works on a part of what waits. True if there is more.
    fn take_waiting(&self, state: &mut State) -> bool {
        if state.taken.is_empty() {
            mem::swap(&mut *lock(&self.waiting), &mut state.taken);
        }
        for _ in 0..PART {
            let Some(event) = state.taken.pop_front() else { break };
            state.take(event);
        }
        if !state.taken.is_empty() {
            return true;
        }
        // What a burst needed is not kept for ever.
        if state.taken.capacity() > MAX_SPARE {
            state.taken = VecDeque::new();
        }
        !lock(&self.waiting).is_empty()
    }

    /// Does something of this connection for somebody else, who must not meet its faults: a panic
    /// ends this connection alone.
    fn guarded<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(act)).ok();
        if done.is_none() {
            self.lose(fault());
            self.lock().broken = true;
            self.call();
        }
        done
    }

    /// Does what there is to do; what takes longer is left to the task.
    pub(super) fn turn_here(&self, mut state: MutexGuard<'_, State>) {
        let act = || {
            let turned = self.turn(&mut state, None);
            (state, turned)
        };
        let Some((state, (turn, wakes))) = self.guarded(act) else { return };
        let alarm = state.alarm;
        let earlier = match (turn.next, alarm) {
            (Some(next), Some(alarm)) => next < alarm,
            (next, _) => next.is_some(),
        };
        drop(state);
        wakes.wake();
        if turn.again || turn.full || turn.over || earlier {
            self.call();
        }
    }

    /// Ends it: `code` and `reason` are told to the peer.
    pub(super) fn close(&self, code: VarInt, reason: Bytes) {
        let mut state = self.lock();
        state.quic.close(now(), code, reason);
        let wakes = self.end(&mut state, Engine::LocallyClosed);
        drop(state);
        wakes.wake();
        self.call();
    }

    /// It is over without a word: nothing will be received any more.
    pub(super) fn lose(&self, error: Engine) {
        let mut state = self.lock();
        let wakes = self.end(&mut state, error);
        drop(state);
        wakes.wake();
    }

    /// Tells everybody who waits. The first reason stays.
    fn end(&self, state: &mut State, error: Engine) -> WakerList {
        let mut wakes = WakerList::default();
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
        wakes
    }

    /// Passes on what happened, sends what may be sent, and minds the time.
    fn turn(&self, state: &mut State, cx: Option<&mut Context<'_>>) -> (Turn, WakerList) {
        let (now, mut wakes) = (now(), WakerList::default());
        // What the application gets gives credit, which goes out with the rest.
        self.pass_on(state, &mut wakes);
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
        turn.again |= self.pass_on(state, &mut wakes);
        let done = state.quic.is_closed() && !turn.again && state.unsent.is_none();
        turn.over = state.quic.is_drained() || (done && self.endpoint.skips_draining());
        (turn, wakes)
    }

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
                    wakes.append(&mut self.end(state, reason));
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

    /// The task of the connection, until nothing of it is left.
    pub(super) async fn run(self: Arc<Self>) {
        let _end = End(&self);
        let mut sleep = pin!(sleep_until(now().into()));
        poll_fn(|cx| self.poll(cx, sleep.as_mut())).await;
    }

    fn poll(&self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<()> {
        {
            let mut task = lock(&self.task);
            if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
        }
        loop {
            let mut state = self.lock();
            if state.broken {
                return Poll::Ready(());
            }
            let more = self.take_waiting(&mut state);
            let (turn, wakes) = self.turn(&mut state, Some(cx));
            state.set_alarm(turn.next, sleep.as_mut());
            let sleeps = state.alarm.is_some();
            drop(state);
            wakes.wake();
            if turn.over {
                return Poll::Ready(());
            }
            if turn.again || more {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !sleeps || sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.lock().alarm = None;
        }
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

    fn take(&mut self, event: ConnectionEvent) {
        #[cfg(any(test, feature = "testing"))]
        assert!(!mem::take(&mut self.trap), "trapped");
        let Self { quic, outlet, .. } = self;
        outlet.link().lend(|| quic.handle_event(event));
    }

    /// Sets the alarm of the task for when there is something to do. One that is too early stays:
    /// most are put off with every packet, and to move one costs more than to wake for nothing.
    fn set_alarm(&mut self, next: Option<Instant>, sleep: Pin<&mut Sleep>) {
        if let Some(next) = next
            && self.alarm.is_none_or(|alarm| next < alarm)
        {
            self.alarm = Some(next);
            sleep.reset(next.into());
        }
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
                        turn.full = true;
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
fn fault() -> Engine {
    let mut fault = TransportError::from(TransportErrorCode::INTERNAL_ERROR);
    fault.reason = "a fault of this node".to_owned();
    Engine::TransportError(fault)
}

/// Tells the endpoint and everybody else when the task is gone, even if it was dropped.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let Self(shared) = self;
        let panics = std::thread::panicking();
        shared.lose(if panics { fault() } else { Engine::LocallyClosed });
        let mut state = shared.lock();
        state.outlet.close();
        if !state.quic.is_drained() {
            let _ = shared.endpoint.tell(shared.handle, EndpointEvent::drained());
        }
    }
}
