//! What the tasks of one session share.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use stt_transport::{
    Connection, Established, Exporter, Renewal, SessionRoute, internal::CloseLatch,
};
use tokio::{
    runtime,
    sync::{Notify, Semaphore, watch},
};

use super::{
    Session,
    adaptive::Adaptive,
    control::Control,
    datagrams::{self, Datagrams},
    deadline::{self, Deadlines},
    driver,
    host::{Common, SessionHost},
    labelled::LabelledTable,
    resets::Headers,
    stream_reader,
    stream_table::Table,
    stream_writer,
    write_order::WriteOrder,
};
use crate::{
    CloseReason, Delivery, NodeId, SessionId, StreamError, StreamOptions,
    limits::{Grown, SendWindow, SessionBudget, Throttle},
    stream::{StreamShared, inline_task::InlineTask, recv_queue::End, send_queue::Pushed},
};

/// What a session is made from.
pub(crate) struct SessionStart {
    pub(crate) established: Established,
    pub(crate) common: Arc<Common>,
    pub(crate) host: Arc<dyn SessionHost>,
}

/// One session, as its tasks and handles see it.
pub(crate) struct SessionShared {
    pub(crate) id: SessionId,
    pub(crate) peer: NodeId,
    pub(crate) initiator: bool,
    pub(crate) connection: Connection,
    pub(crate) exporter: Exporter,
    pub(crate) suite: stc::aead::Suite,
    pub(crate) handshake_time: Duration,
    pub(crate) peer_listens: Vec<SocketAddr>,
    pub(crate) since: Instant,
    pub(crate) common: Arc<Common>,
    pub(crate) host: Arc<dyn SessionHost>,
    pub(crate) control: Control,
    pub(crate) renewal: Arc<Renewal>,
    pub(super) datagrams: Datagrams,
    pub(super) deadlines: Deadlines,
    /// Places for streams without a whole header.
    pub(super) headers: Semaphore,
    pub(crate) adaptive: Adaptive,
    /// Bytes that arrived and nobody took.
    pub(super) held: Arc<SessionBudget>,
    /// Bytes that may be handed to QUIC before others were acknowledged.
    pub(super) send_window: SendWindow,
    /// Who of the streams that wait for it goes first.
    pub(super) precedence: WriteOrder,
    /// The bandwidth of this session alone.
    pub(super) throttle: Throttle,
    pub(crate) route: SessionRoute,
    latch: CloseLatch,
    table: Mutex<Table>,
    labelled: Mutex<LabelledTable>,
    peer_headers: Mutex<Headers>,
    /// A stream of the peer that nobody has claimed came in.
    arrived: Notify,
    /// Why it ended; `None` while it lives.
    ended: watch::Sender<Option<CloseReason>>,
    /// What this side said when it closed, since QUIC only says that it did.
    closing: Mutex<Option<CloseReason>>,
    /// Something with the same id goes on after it, and tells its end.
    outlived: AtomicBool,
    /// Where its tasks run; handles may be dropped anywhere.
    runtime: runtime::Handle,
}

impl std::fmt::Debug for SessionShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("peer", &self.peer).finish()
    }
}

impl SessionShared {
    /// Makes the session and starts its driver.
    pub(crate) fn start(start: SessionStart) -> Arc<Self> {
        let SessionStart { established, common, host } = start;
        // Its driver closes it.
        established.unclaimed.claim();
        let limits = common.limits;
        let held = Arc::new(SessionBudget::new(Arc::clone(&common.unread)));
        let session = Arc::new(Self {
            id: established.session_id,
            peer: established.peer,
            initiator: established.initiator,
            exporter: established.exporter,
            suite: established.suite,
            handshake_time: established.handshake_time,
            peer_listens: established.peer_listens,
            since: Instant::now(),
            control: Control::default(),
            renewal: established.renewal,
            datagrams: Datagrams::new(limits.datagram_buffer.saturating_mul(8), Arc::clone(&held)),
            deadlines: Deadlines::default(),
            headers: Semaphore::new(stream_reader::MAX_HEADLESS),
            adaptive: Adaptive::default(),
            route: established.route,
            latch: established.latch,
            table: Mutex::new(Table::new(
                established.initiator,
                limits.max_streams,
                limits.max_frame_size,
                Arc::clone(&held),
            )),
            labelled: Mutex::new(LabelledTable::new(
                established.initiator,
                limits.max_streams,
                limits.max_frame_size,
                Arc::clone(&held),
            )),
            peer_headers: Mutex::default(),
            held,
            precedence: WriteOrder::default(),
            send_window: SendWindow::new(limits.max_in_flight, Arc::clone(&common.in_flight)),
            throttle: Throttle::new(limits.session_bandwidth),
            arrived: Notify::new(),
            ended: watch::Sender::new(None),
            closing: Mutex::new(None),
            outlived: AtomicBool::new(false),
            runtime: runtime::Handle::current(),
            connection: established.connection,
            common,
            host,
        });
        let (driver, datagrams) =
            (driver::run(Arc::clone(&session)), datagrams::run(Arc::clone(&session)));
        tokio::spawn(async { tokio::join!(driver, datagrams) });
        session
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn labelled(&self) -> MutexGuard<'_, LabelledTable> {
        self.labelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of the peer's QUIC streams have shown their header.
    pub(super) fn peer_headers(&self) -> MutexGuard<'_, Headers> {
        self.peer_headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All streams, those of protocols included.
    fn all_streams(&self) -> Vec<Arc<StreamShared>> {
        let mut streams = self.table().all();
        streams.extend(self.labelled().all());
        streams
    }

    // --- streams ---

    /// Opens or meets a stream and claims it.
    pub(crate) fn open(&self, options: &StreamOptions) -> Result<Arc<StreamShared>, StreamError> {
        if let Some(reason) = self.end_reason() {
            return Err(StreamError::SessionEnded(reason));
        }
        let stream = match options.id {
            Some(id) => self.table().get_or_make(id)?,
            None => self.table().make()?,
        };
        stream.configure(options);
        stream.claim();
        Ok(stream)
    }

    /// The stream for the node's `send_to_…`, which claims nothing.
    pub(crate) fn sending(&self, id: u32) -> Result<Arc<StreamShared>, StreamError> {
        if let Some(reason) = self.end_reason() {
            return Err(StreamError::SessionEnded(reason));
        }
        self.table().get_or_make(id)
    }

    /// Queues a message without waiting; false when the queue is full.
    pub(crate) fn try_send(
        self: &Arc<Self>,
        stream: &Arc<StreamShared>,
        message: &Bytes,
    ) -> Result<bool, StreamError> {
        let pushed = stream.outbound.push_message_bytes(message)?;
        self.ensure_writer(stream);
        if pushed == Pushed::Answer {
            stream.outbound.call();
        }
        Ok(pushed != Pushed::Full)
    }

    /// Sends a message in another way than as a part of its reliable stream.
    pub(crate) async fn send_apart(
        self: &Arc<Self>,
        stream: &Arc<StreamShared>,
        message: &[u8],
        delivery: Delivery,
    ) -> Result<(), StreamError> {
        match delivery {
            Delivery::Deadline(within) => {
                deadline::send(self, stream, Bytes::copy_from_slice(message), within).await
            }
            Delivery::Probabilistic(chance) => {
                let wanted = chance.for_message(message);
                datagrams::send_coded(self, stream, message, wanted).await
            }
            Delivery::Reliable | Delivery::Datagram => {
                datagrams::send_message(self, stream, message).await
            }
        }
    }

    /// The next stream that the peer opened and nobody claimed, claimed for the caller.
    pub(crate) async fn accept(&self) -> Result<Arc<StreamShared>, StreamError> {
        let mut ended = self.ended.subscribe();
        loop {
            let arrived = self.arrived.notified();
            let mut arrived = std::pin::pin!(arrived);
            arrived.as_mut().enable();
            let next = self
                .table()
                .all()
                .into_iter()
                .filter(|stream| stream.has_arrived() && !stream.is_claimed())
                .filter(|stream| stream.id != Session::FRAME_STREAM)
                .min_by_key(|stream| stream.inbound_quic.load(Ordering::Acquire));
            if let Some(stream) = next {
                if stream.claim() {
                    return Ok(stream);
                }
                continue;
            }
            let ended_now = ended.borrow_and_update().clone();
            if let Some(reason) = ended_now {
                return Err(StreamError::SessionEnded(reason));
            }
            tokio::select! {
                () = arrived => {}
                _ = ended.changed() => {}
            }
        }
    }

    pub(super) fn stream_arrived(&self) {
        self.arrived.notify_waiters();
    }

    /// Starts the task that writes this stream's sending direction, once.
    pub(crate) fn ensure_writer(self: &Arc<Self>, stream: &Arc<StreamShared>) {
        if !stream.is_writing() && stream.start_writing() {
            let work = InlineTask::new(stream_writer::run(Arc::clone(self), Arc::clone(stream)));
            stream.set_writer(Arc::downgrade(&work));
            self.runtime.spawn(work.run());
        }
    }

    /// Its last handle was dropped.
    pub(crate) fn let_go(self: &Arc<Self>, stream: &Arc<StreamShared>) {
        if stream.let_go() && self.end_reason().is_none() {
            self.ensure_writer(stream);
        }
    }

    /// Tells the peer how far it may go on this stream now.
    pub(crate) fn raise_credit(self: &Arc<Self>, stream: &StreamShared) {
        let budget = self.common.limits.max_session_buffer;
        let plain = self.table().windows();
        let mut spare = budget.saturating_sub(plain);
        {
            let labelled = self.labelled();
            spare = spare.saturating_sub(labelled.windows());
            if let Some(part) = &stream.labelled {
                let share = budget / LabelledTable::SHARE;
                spare = spare.min(share.saturating_sub(labelled.windows_of(part.label)));
            }
        }
        if let Some(raise) = stream.inbound.raise(self.connection.rtt(), spare) {
            let quic = stream.inbound_quic.load(Ordering::Acquire);
            self.control.raise(self, quic, raise.limit);
        }
    }

    // --- limits ---

    /// The largest piece that may pass at once, if the session or its node has a bandwidth.
    pub(super) fn throttled_piece(&self) -> Option<usize> {
        match (self.throttle.piece(), self.common.throttle.piece()) {
            (Some(own), Some(all)) => Some(own.min(all)),
            (own, all) => own.or(all),
        }
    }

    /// Waits until `bytes` may go.
    pub(super) async fn pass(&self, bytes: usize) {
        self.throttle.pass(bytes).await;
        self.common.throttle.pass(bytes).await;
    }

    /// `bytes` were handed to QUIC: perhaps it is time for a larger window.
    pub(super) fn fed(&self, bytes: usize) {
        if !self.send_window.wrote(bytes) {
            return;
        }
        match self.send_window.follow(self.connection.congestion_window()) {
            Grown::To(window) => self.connection.set_send_window(window),
            Grown::Not => {}
            Grown::Refused => self.host.reclaim(),
        }
    }

    /// Gives back what a quiet session has of the node's bytes in flight.
    pub(crate) fn give_back(&self) {
        if let Some(window) = self.send_window.give_back() {
            self.connection.set_send_window(window);
        }
    }

    // --- the end ---

    /// Why it ended, or `None` while it lives.
    pub(crate) fn end_reason(&self) -> Option<CloseReason> {
        self.ended.borrow().clone()
    }

    /// Waits for the end.
    pub(crate) async fn closed(&self) -> CloseReason {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(CloseReason::Timeout),
            Err(_) => CloseReason::Timeout,
        }
    }

    /// Ends it now: the peer is told `reason`; what was not delivered may be lost.
    pub(crate) fn abort(&self, reason: CloseReason) {
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, text) = closing.get_or_insert(reason).to_wire();
        self.latch.close();
        self.connection.close(code, text.as_bytes());
    }

    /// The connection is over, whoever ended it: it needs no other route.
    pub(super) fn over(&self) {
        self.latch.close();
    }

    /// Ends it after what was sent has arrived, or after `patience` (docs/streams.md, CLOSE-2).
    pub(crate) async fn close(self: &Arc<Self>, reason: CloseReason, patience: Duration) {
        let streams = self.all_streams();
        for stream in &streams {
            if stream.outbound.close() {
                self.ensure_writer(stream);
            }
        }
        let delivered = async {
            for stream in streams.iter().filter(|stream| stream.is_writing()) {
                // A stream that failed has nothing left to deliver.
                let _ = stream.outbound.wait_closed().await;
            }
        };
        let _ = tokio::time::timeout(patience, delivered).await;
        self.abort(reason);
        self.closed().await;
    }

    pub(crate) fn is_outlived(&self) -> bool {
        self.outlived.load(Ordering::Relaxed)
    }

    /// Under the lock of the node's sessions, for which an end waits.
    pub(crate) fn set_outlived(&self) {
        self.outlived.store(true, Ordering::Relaxed);
    }

    /// What this side said when it closed.
    pub(super) fn said(&self) -> Option<CloseReason> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells every stream and everybody who waits.
    pub(super) fn finish(&self, reason: &CloseReason) {
        let streams = self.all_streams();
        for stream in streams {
            let error = StreamError::SessionEnded(reason.clone());
            stream.outbound.session_over(error.clone());
            stream.inbound.end(End::Failed(error));
        }
        self.ended.send_replace(Some(reason.clone()));
    }
}
