//! The handle of a stream that an application holds.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    RawStream, StreamError,
    delivery_settings::{DeliveryStats, Sending},
    inline_task::InlineTask,
    label::Label,
    recv_queue::{End, Inbound, Taken},
    send_queue::{COPY_BELOW, Outbound, Pushed},
};
use crate::{
    Payload,
    delivery::{Delivery, OverheadCap},
    limits::{Limits, SessionBudget},
    priority::{Priority, PriorityReport},
    session::SessionShared,
};

/// What is said of a stream whose holder panicked.
pub(crate) const PANICKED: u32 = 0x100;

/// How to open a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    pub(crate) id: Option<u32>,
    pub(crate) max_frame_size: Option<u64>,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) cap: Option<OverheadCap>,
    pub(crate) priority: Option<Priority>,
    pub(crate) adaptive: bool,
}

impl StreamOptions {
    /// All defaults: the next free number of this side, messages of up to
    /// [`Stream::DEFAULT_MAX_FRAME_SIZE`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number, shared with the peer. Default: the next free one, odd for the side that
    /// connected and even for the other.
    #[must_use]
    pub const fn id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// The longest message in bytes, sent or received, on this side. Default:
    /// [`Stream::DEFAULT_MAX_FRAME_SIZE`].
    #[must_use]
    pub const fn max_frame_size(mut self, bytes: u64) -> Self {
        self.max_frame_size = Some(bytes);
        self
    }

    /// How sure this side's messages arrive, and how late they may be. Default:
    /// [`Delivery::Reliable`]. The two sides need not agree.
    #[must_use]
    pub const fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// Most repair packets over data packets for [`Delivery::Probabilistic`]. Default: 100 %.
    #[must_use]
    pub const fn overhead_cap(mut self, cap: OverheadCap) -> Self {
        self.cap = Some(cap);
        self
    }

    /// How urgent this side's messages are. Default: 500.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Lets the priority follow each message, as [`crate::priority::AdaptivePriority`] says.
    #[must_use]
    pub const fn adaptive_priority(mut self) -> Self {
        self.adaptive = true;
        self
    }
}

/// What went through a stream, as its application saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStats {
    /// Messages queued for the peer.
    pub messages_sent: u64,
    /// Bytes of them, or raw bytes.
    pub bytes_sent: u64,
    /// Messages taken by `receive`.
    pub messages_received: u64,
    /// Bytes of them, or raw bytes.
    pub bytes_received: u64,
}

/// What a session keeps of a stream.
#[derive(Debug)]
pub(crate) struct StreamShared {
    pub(crate) id: u32,
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) outbound: Arc<Outbound>,
    /// The application took it, so its messages do not flow into the node's `receive`.
    claimed: AtomicBool,
    claim: Notify,
    /// The QUIC stream of the receiving direction, for credit; `u64::MAX` until there is one.
    pub(crate) inbound_quic: AtomicU64,
    /// A task writes the sending direction.
    writing: AtomicBool,
    /// Its work.
    writer: OnceLock<Weak<InlineTask>>,
    /// Delivery mode and priority of the sending direction.
    pub(crate) sending: Sending,
    /// A message came outside of any order.
    loose: AtomicBool,
    /// A task hands messages to the node.
    forwarding: AtomicBool,
    /// That of a protocol's stream.
    pub(crate) labelled: Option<Box<LabelledPart>>,
    /// Handles of it.
    handles: AtomicUsize,
    /// It ends with the last of them.
    owned: AtomicBool,
    /// It did.
    let_go: AtomicBool,
    /// More than was read came for one that was let go.
    unwanted: Notify,
}

/// What a stream of a protocol has besides.
#[derive(Debug)]
pub(crate) struct LabelledPart {
    pub(crate) label: Label,
    /// The receiving direction is not wanted any more, with this code.
    stop: OnceLock<u32>,
    stopping: Notify,
}

impl LabelledPart {
    /// Asks the reading task to stop the peer.
    pub(crate) fn stop(&self, code: u32) {
        let _ = self.stop.set(code);
        self.stopping.notify_waiters();
    }

    /// Ready once the peer is to be stopped.
    pub(crate) async fn stopped(&self) -> u32 {
        loop {
            let stopping = self.stopping.notified();
            let mut stopping = std::pin::pin!(stopping);
            stopping.as_mut().enable();
            if let Some(code) = self.stop.get() {
                return *code;
            }
            stopping.await;
        }
    }
}

impl StreamShared {
    pub(crate) fn new(id: u32, max_frame_size: u64, account: Arc<SessionBudget>) -> Self {
        Self::from_halves(
            id,
            Arc::new(Inbound::new(id, max_frame_size, account)),
            Arc::new(Outbound::new(id, max_frame_size)),
            false,
        )
    }

    /// A stream of the protocol `label`.
    pub(crate) fn labelled(
        label: Label,
        id: u32,
        max_frame_size: u64,
        account: Arc<SessionBudget>,
    ) -> Self {
        let part = LabelledPart { label, stop: OnceLock::new(), stopping: Notify::new() };
        let mut stream = Self::from_halves(
            id,
            Arc::new(Inbound::new(id, max_frame_size, account)),
            Arc::new(Outbound::mixed(id, max_frame_size)),
            false,
        );
        stream.labelled = Some(Box::new(part));
        stream
    }

    pub(crate) fn from_halves(
        id: u32,
        inbound: Arc<Inbound>,
        outbound: Arc<Outbound>,
        writing: bool,
    ) -> Self {
        Self {
            id,
            inbound,
            outbound,
            claimed: AtomicBool::new(false),
            claim: Notify::new(),
            inbound_quic: AtomicU64::new(u64::MAX),
            writing: AtomicBool::new(writing),
            writer: OnceLock::new(),
            sending: Sending::default(),
            loose: AtomicBool::new(false),
            forwarding: AtomicBool::new(false),
            labelled: None,
            handles: AtomicUsize::new(0),
            owned: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            unwanted: Notify::new(),
        }
    }

    /// Whether it ends with its last handle.
    pub(crate) fn set_owned(&self, owned: bool) {
        self.owned.store(owned, Ordering::Release);
    }

    /// Its last handle was dropped.
    pub(crate) fn is_let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }

    /// Nobody reads it any more, and something is there to be read.
    pub(crate) fn is_unwanted(&self) {
        self.unwanted.notify_one();
    }

    /// Ready once the peer is to be told that nobody reads it.
    pub(crate) async fn unwanted(&self) {
        self.unwanted.notified().await;
    }

    /// Nobody holds it any more: what is queued still goes out, and nothing more is taken. False if
    /// nobody has to be told, because the peer never heard of it.
    pub(crate) fn let_go(&self) -> bool {
        self.let_go.store(true, Ordering::Release);
        if self.inbound.ignore() {
            self.is_unwanted();
        }
        if std::thread::panicking() {
            self.outbound.reset(PANICKED);
        } else if self.has_arrived() || !self.outbound.is_over() {
            self.outbound.close_like(self.inbound.is_raw());
        } else {
            self.outbound.acknowledged();
            self.inbound.end(End::Finished);
            return false;
        }
        true
    }

    /// Whether it was let go, and waits only for a direction that the peer may never open.
    pub(crate) fn is_left(&self) -> bool {
        self.is_let_go() && self.outbound.is_over() && !self.has_started_receiving()
    }

    /// Takes it for an application. True for the first one.
    pub(crate) fn claim(&self) -> bool {
        let first = !self.claimed.swap(true, Ordering::AcqRel);
        if first {
            self.claim.notify_waiters();
        }
        first
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }

    /// Ready once it is claimed.
    pub(crate) async fn claimed(&self) {
        let claim = self.claim.notified();
        let mut claim = std::pin::pin!(claim);
        claim.as_mut().enable();
        if !self.is_claimed() {
            claim.await;
        }
    }

    pub(crate) fn has_started_receiving(&self) -> bool {
        self.inbound_quic.load(Ordering::Acquire) != u64::MAX
    }

    /// Whether anything came, in whatever way.
    pub(crate) fn has_arrived(&self) -> bool {
        self.has_started_receiving() || self.loose.load(Ordering::Acquire)
    }

    pub(crate) fn loose_arrived(&self) {
        self.loose.store(true, Ordering::Release);
    }

    /// True for the first caller, who hands this stream's messages to the node.
    pub(crate) fn start_forwarding(&self) -> bool {
        !self.forwarding.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn stop_forwarding(&self) {
        self.forwarding.store(false, Ordering::Release);
    }

    /// Takes over what was asked for when the stream was opened.
    pub(crate) fn configure(&self, options: &StreamOptions) {
        if let Some(max) = options.max_frame_size {
            self.inbound.set_max_frame_size(max);
            self.outbound.set_max_frame_size(max);
        }
        if let Some(priority) = options.priority {
            self.outbound.set_priority(priority.engine_order());
        }
        let mut sending = self.sending.lock();
        sending.delivery = options.delivery.unwrap_or(sending.delivery);
        sending.cap = options.cap.unwrap_or(sending.cap);
        sending.adaptive |= options.adaptive;
        if sending.delivery != Delivery::Reliable || sending.adaptive {
            self.sending.choose();
        }
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire)
    }

    /// True for the first caller, who has to start the writing task.
    pub(crate) fn start_writing(&self) -> bool {
        !self.writing.swap(true, Ordering::AcqRel)
    }

    /// The work of the writing task.
    pub(crate) fn set_writer(&self, writer: Weak<InlineTask>) {
        let _ = self.writer.set(writer);
    }

    /// Writes what is queued, or has it written.
    fn write_now(&self) {
        let writer = self.writer.get().and_then(Weak::upgrade);
        if !writer.is_some_and(|writer| writer.step()) {
            self.outbound.call();
        }
    }

    /// Whether neither direction has anything left to do.
    pub(crate) fn is_over(&self) -> bool {
        if self.labelled.is_some() {
            return self.outbound.has_ended() && self.inbound.is_done();
        }
        self.outbound.is_over()
            && (self.inbound.is_done() || (!self.has_started_receiving() && !self.is_claimed()))
    }
}

/// One of the numbered streams of a session. Clones are the same stream.
///
/// Sending and receiving are independent: each direction is closed by the side that sends in it.
///
/// # Dropping it
/// One that [`Session::open_stream`] numbered, or that came from [`Session::accept_stream`], ends
/// with its last handle: what was sent still goes out, then the peer's `receive` gives `None`; when
/// the peer sends more than was received, its sends fail with [`StreamError::Reset`], code 0x06.
/// While its holder panics, this side's direction is reset with code 0x100 instead, so that half an
/// answer is not taken for a whole one.
///
/// One that was asked for by number is the session's: whoever knows the number comes back to it, so
/// dropping its handles closes nothing.
///
/// [`Session::open_stream`]: crate::Session::open_stream
/// [`Session::accept_stream`]: crate::Session::accept_stream
#[derive(Debug)]
pub struct Stream {
    pub(crate) shared: Arc<StreamShared>,
    pub(crate) session: Arc<SessionShared>,
}

impl Clone for Stream {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared), Arc::clone(&self.session))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let last = self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && self.shared.owned.load(Ordering::Acquire) && !self.shared.is_let_go() {
            self.session.let_go(&self.shared);
        }
    }
}

impl Stream {
    pub(crate) fn new(shared: Arc<StreamShared>, session: Arc<SessionShared>) -> Self {
        shared.handles.fetch_add(1, Ordering::AcqRel);
        Self { shared, session }
    }

    /// Longest message unless the stream was opened with another limit: 16 MiB.
    pub const DEFAULT_MAX_FRAME_SIZE: u64 = Limits::MAX_FRAME_SIZE;

    /// The number that both sides use for it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.shared.id
    }

    /// Queues `message` for the peer, as one message: bytes or text, owned, borrowed or shared
    /// ([`Payload`]).
    ///
    /// Returns once the message is in this stream's queue (at most 1 MiB and one message beyond),
    /// from where it goes out by itself; waits while the queue is full, because the peer does not
    /// read or the path is slow. To know that the peer's machine has it, [`close`](Self::close) the
    /// stream; to know that its application has it, let that answer.
    ///
    /// # Cancel safety
    /// A dropped future has queued all of the message or nothing.
    ///
    /// # Errors
    /// [`StreamError::FrameTooLarge`], [`StreamError::Closed`], [`StreamError::Kind`] after raw
    /// bytes, [`StreamError::Reset`] when the peer gave the stream up, or
    /// [`StreamError::SessionEnded`].
    pub async fn send(&self, message: impl Payload) -> Result<(), StreamError> {
        if let Some(delivery) = self.prepare(message.as_slice())? {
            return self.session.send_apart(&self.shared, message.as_slice(), delivery).await;
        }
        let outbound = &self.shared.outbound;
        if message.as_slice().len() < COPY_BELOW {
            return self.queue(|| outbound.push_message(message.as_slice())).await;
        }
        let message = message.into_bytes();
        self.queue(|| outbound.push_message_bytes(&message)).await
    }

    /// As [`send`](Self::send), but never waits. Always reliable, whatever the stream's delivery
    /// mode.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`StreamError::Full`] while the queue is full.
    pub fn try_send(&self, message: impl Payload) -> Result<(), StreamError> {
        let outbound = &self.shared.outbound;
        let pushed = if message.as_slice().len() < COPY_BELOW {
            outbound.push_message(message.as_slice())?
        } else {
            outbound.push_message_bytes(&message.into_bytes())?
        };
        self.session.ensure_writer(&self.shared);
        match pushed {
            Pushed::Queued => {}
            Pushed::Answer => self.shared.write_now(),
            Pushed::Full => return Err(StreamError::Full { id: self.id() }),
        }
        Ok(())
    }

    /// Sets the priority, if it is adaptive, and gives back the delivery mode unless that is
    /// reliable.
    fn prepare(&self, message: &[u8]) -> Result<Option<Delivery>, StreamError> {
        if !self.shared.sending.is_chosen() {
            return Ok(None);
        }
        let (delivery, adaptive) = {
            let sending = self.shared.sending.lock();
            (sending.delivery, sending.adaptive)
        };
        if adaptive {
            let report = self.session.assess(message);
            self.shared.outbound.set_priority(report.priority.engine_order());
            self.shared.sending.lock().report = Some(report);
        }
        if delivery == Delivery::Reliable {
            return Ok(None);
        }
        let (len, max) = (u64::try_from(message.len()).unwrap_or(u64::MAX), self.max_frame_size());
        if len > max {
            return Err(StreamError::FrameTooLarge { len, max });
        }
        if let Some(reason) = self.session.end_reason() {
            return Err(StreamError::SessionEnded(reason));
        }
        if self.is_closed() {
            return Err(StreamError::Closed { id: self.id() });
        }
        Ok(Some(delivery))
    }

    async fn queue(
        &self,
        attempt: impl Fn() -> Result<Pushed, StreamError>,
    ) -> Result<(), StreamError> {
        let pushed = attempt()?;
        self.session.ensure_writer(&self.shared);
        match pushed {
            Pushed::Queued => Ok(()),
            Pushed::Answer => {
                self.shared.write_now();
                Ok(())
            }
            Pushed::Full => self.shared.outbound.wait_for_space(attempt).await,
        }
    }

    /// Waits until everything sent so far was handed to the transport.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn flush(&self) -> Result<(), StreamError> {
        self.shared.outbound.wait_flushed().await
    }

    /// The next message, or `None` once the peer closed its direction and all was received.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    ///
    /// # Errors
    /// [`StreamError::FrameTooLarge`] when the peer sent more than this side's `max_frame_size`,
    /// [`StreamError::Kind`] when it sends raw bytes, [`StreamError::Reset`],
    /// [`StreamError::Protocol`], or [`StreamError::SessionEnded`]; messages that arrived before are
    /// still received first.
    pub async fn receive(&self) -> Result<Option<Bytes>, StreamError> {
        match self.take_message() {
            Taken::Wait => self.shared.outbound.will_answer(),
            taken => return into_result(taken),
        }
        into_result(self.shared.inbound.wait_for(|| self.take_message()).await)
    }

    /// The messages that [`receive`](Self::receive) gives, up to the end or the first error.
    ///
    /// ```no_run
    /// # async fn example(stream: stt::Stream) -> Result<(), stt::StreamError> {
    /// use futures_util::TryStreamExt;
    ///
    /// let mut messages = std::pin::pin!(stream.messages());
    /// while let Some(message) = messages.try_next().await? {
    ///     println!("{} bytes", message.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn messages(
        &self,
    ) -> impl futures_util::Stream<Item = Result<Bytes, StreamError>> + Send + use<'_> {
        futures_util::stream::unfold(Some(self), |stream: Option<&Self>| async move {
            let stream = stream?;
            match stream.receive().await.transpose()? {
                Ok(message) => Some((Ok(message), Some(stream))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// One attempt to take a message, raising the peer's credit when it is time.
    pub(crate) fn take_message(&self) -> Taken<Bytes> {
        let (taken, due) = self.shared.inbound.take_message();
        if due {
            self.session.raise_credit(&self.shared);
        }
        taken
    }

    /// Turns the stream into raw bytes, for bulk: `AsyncRead` and `AsyncWrite`.
    ///
    /// A direction carries messages or raw bytes, whichever came first; both sides have to mean the
    /// same.
    #[must_use]
    pub fn into_raw(self) -> RawStream {
        RawStream::new(self)
    }

    /// Closes this side's direction: what is queued still goes out, then the peer's `receive` gives
    /// `None`. Returns once the peer's machine has all of it; receiving goes on.
    ///
    /// # Errors
    /// [`StreamError::Reset`] or [`StreamError::SessionEnded`] when that did not happen.
    pub async fn close(&self) -> Result<(), StreamError> {
        self.start_close();
        self.shared.outbound.wait_closed().await
    }

    pub(crate) fn start_close(&self) {
        self.shared.outbound.close();
        self.session.ensure_writer(&self.shared);
    }

    /// Gives this side's direction up: what is queued or under way may be lost, and the peer's
    /// `receive` fails with [`StreamError::Reset`] and `code`.
    pub fn reset(&self, code: u32) {
        self.shared.outbound.reset(code);
        self.session.ensure_writer(&self.shared);
    }

    /// Throws away what the peer sent and sends: nobody will receive it.
    pub(crate) fn ignore(&self) {
        self.shared.inbound.ignore();
    }

    /// Whether this side can send no more, because it closed the stream or the session ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.outbound.is_closed()
    }

    /// The longest message in bytes that this side sends or receives on it.
    #[must_use]
    pub fn max_frame_size(&self) -> u64 {
        self.shared.outbound.max_frame_size()
    }

    /// How urgent this side's direction is against the other streams of the session: of two that
    /// have bytes to send, the higher number goes first. Default: 500. It holds for what is queued
    /// already, too; datagrams go before all streams.
    pub fn set_priority(&self, priority: Priority) {
        self.shared.outbound.set_priority(priority.engine_order());
    }

    /// How urgent it is now.
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority::from_engine_order(self.shared.outbound.priority())
    }

    /// How the priority of the last message came about, if it is adaptive.
    #[must_use]
    pub fn priority_report(&self) -> Option<PriorityReport> {
        self.shared.sending.lock().report
    }

    /// How sure this side's messages arrive.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.shared.sending.lock().delivery
    }

    /// What the delivery mode did so far; here the sender sees a probability that the overhead cap
    /// does not allow. The first of a row is also a `warning` event, `delivery.shortfall`.
    #[must_use]
    pub fn delivery_stats(&self) -> DeliveryStats {
        self.shared.sending.lock().stats
    }

    /// What went through it.
    #[must_use]
    pub fn stats(&self) -> StreamStats {
        let (messages_sent, bytes_sent) = self.shared.outbound.counts();
        let (messages_received, bytes_received) = self.shared.inbound.counts();
        StreamStats { messages_sent, bytes_sent, messages_received, bytes_received }
    }

    /// The session it belongs to.
    #[must_use]
    pub fn session(&self) -> crate::Session {
        crate::Session::from_shared(Arc::clone(&self.session))
    }
}

/// What [`Stream::receive`] says.
pub(crate) fn into_result(taken: Taken<Bytes>) -> Result<Option<Bytes>, StreamError> {
    match taken {
        Taken::Got(message) => Ok(Some(message)),
        Taken::Failed(error) => Err(error),
        Taken::Finished | Taken::Wait => Ok(None),
    }
}
