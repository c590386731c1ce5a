//! The sending direction of one stream: a bounded queue between the application and QUIC.
//!
//! Sending appends to the queue and returns; a task (`session::outbound`) writes what has gathered,
//! so that many small messages cost one call into QUIC, not one each.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::{StreamError, flow_control::SendCredit, varint};

/// Bytes that may wait in the queue before a sender has to wait.
pub(crate) const QUEUE_LIMIT: usize = 1 << 20;
/// Short messages gather in blocks: at first of the smallest size, then as large as what waits
/// already, up to the largest. One buffer that grew instead would be copied as it grows, and come
/// fresh from the system each time, page by page.
const BLOCK: (usize, usize) = (512, 64 << 10);
/// From this length on a message is queued as it is instead of being copied behind others.
pub(crate) const COPY_BELOW: usize = 4 << 10;

/// What the writing task should do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write these.
    Write(Vec<Bytes>),
    /// All is written and the direction is to be closed.
    Finish,
    /// Give the direction up with this code.
    Reset(u32),
    /// There is nothing to do, or no credit to do it with.
    Wait,
    /// The direction is over.
    Over,
}

/// What became of an attempt to queue something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// It is alone in the queue and answers something: whoever queued it had better write it, or
    /// call [`Outbound::call`].
    Answer,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Nothing was sent yet.
    Idle,
    Open,
    /// No more may be queued; what is queued still goes out.
    Closing,
    /// To be given up with this code.
    Resetting(u32),
    /// The peer's transport has all of it.
    Closed,
}

#[derive(Debug)]
struct State {
    segments: VecDeque<Bytes>,
    tail: BytesMut,
    /// Bytes queued and not yet handed to QUIC, those being written included.
    queued: usize,
    credit: SendCredit,
    life: Life,
    error: Option<StreamError>,
    raw: Option<bool>,
    /// It may carry both, as its protocol says.
    mixed: bool,
    max_frame_size: u64,
    priority: i32,
    messages: u64,
    bytes: u64,
    /// The application took something and has not answered yet.
    answering: bool,
    /// The writing task waits for the peer's transport to have all of it.
    finishing: bool,
    waker: Option<Waker>,
}

/// The sending direction of one stream.
#[derive(Debug)]
pub(crate) struct Outbound {
    id: u32,
    state: Mutex<State>,
    /// For the writing task.
    work: Notify,
    /// For senders that wait for space, for the end or for an error.
    progress: Notify,
}

impl Outbound {
    pub(crate) fn new(id: u32, max_frame_size: u64) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                segments: VecDeque::new(),
                tail: BytesMut::new(),
                queued: 0,
                credit: SendCredit::default(),
                life: Life::Idle,
                error: None,
                raw: None,
                mixed: false,
                max_frame_size,
                priority: 0,
                messages: 0,
                bytes: 0,
                answering: false,
                finishing: false,
                waker: None,
            }),
            work: Notify::new(),
            progress: Notify::new(),
        }
    }

    /// That of a protocol's stream, which may carry messages and raw bytes.
    pub(crate) fn mixed(id: u32, max_frame_size: u64) -> Self {
        let outbound = Self::new(id, max_frame_size);
        outbound.lock().mixed = true;
        outbound
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progressed(&self, mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        self.progress.notify_waiters();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    // --- the application's side ---

    /// Queues a message.
    ///
    /// # Errors
    /// The message is too long, the direction carries raw bytes, or it is over.
    pub(crate) fn push_message(&self, message: &[u8]) -> Result<Pushed, StreamError> {
        self.push(false, message.len(), |state| state.copy(message))
    }

    /// Queues a message without copying it when it is long.
    ///
    /// # Errors
    /// As [`Self::push_message`].
    pub(crate) fn push_message_bytes(&self, message: &Bytes) -> Result<Pushed, StreamError> {
        self.push(false, message.len(), |state| state.append(message))
    }

    /// Queues raw bytes.
    ///
    /// # Errors
    /// The direction carries messages, or it is over.
    pub(crate) fn push_raw(&self, bytes: &Bytes) -> Result<Pushed, StreamError> {
        self.push(true, bytes.len(), |state| state.append(bytes))
    }

    fn push(
        &self,
        raw: bool,
        len: usize,
        append: impl FnOnce(&mut State),
    ) -> Result<Pushed, StreamError> {
        let mut state = self.lock();
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        if !matches!(state.life, Life::Idle | Life::Open) {
            return Err(StreamError::Closed { id: self.id });
        }
        let length = u64::try_from(len).unwrap_or(u64::MAX);
        if !raw && length > state.max_frame_size {
            return Err(StreamError::FrameTooLarge { len: length, max: state.max_frame_size });
        }
        match state.raw {
            Some(is) if is != raw && !state.mixed => {
                return Err(StreamError::Kind { id: self.id, raw: is });
            }
            _ => state.raw = Some(raw),
        }
        if state.queued >= QUEUE_LIMIT {
            return Ok(Pushed::Full);
        }
        let was_empty = state.queued == 0;
        let answers = std::mem::take(&mut state.answering) && was_empty && !raw;
        if !raw {
            state.make_room(varint::MAX_LEN);
            varint::put(&mut state.tail, length);
            state.queued += varint::len(length);
            state.messages += 1;
        }
        append(&mut state);
        state.queued += len;
        state.bytes += length;
        state.life = Life::Open;
        drop(state);
        if answers {
            return Ok(Pushed::Answer);
        }
        if was_empty {
            self.work.notify_one();
        }
        Ok(Pushed::Queued)
    }

    /// Calls the writing task.
    pub(crate) fn call(&self) {
        self.work.notify_one();
    }

    /// What is sent next is taken for an answer: it will not be the first of many.
    pub(crate) fn will_answer(&self) {
        self.lock().answering = true;
    }

    /// Repeats `attempt` until it is not held up by a full queue.
    ///
    /// # Errors
    /// What `attempt` says.
    pub(crate) async fn wait_for_space(
        &self,
        attempt: impl Fn() -> Result<Pushed, StreamError>,
    ) -> Result<(), StreamError> {
        loop {
            let progress = self.progress.notified();
            let mut progress = std::pin::pin!(progress);
            progress.as_mut().enable();
            match attempt()? {
                Pushed::Queued => return Ok(()),
                Pushed::Answer => {
                    self.call();
                    return Ok(());
                }
                Pushed::Full => progress.await,
            }
        }
    }

    /// Ready once the queue has space, or it is known that there will be none.
    pub(crate) fn poll_space(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.queued < QUEUE_LIMIT || state.error.is_some() {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready once the queue was handed to QUIC.
    pub(crate) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<Result<(), StreamError>> {
        let mut state = self.lock();
        if let Some(error) = &state.error {
            return Poll::Ready(Err(error.clone()));
        }
        if state.queued == 0 {
            return Poll::Ready(Ok(()));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready once the peer's transport acknowledged everything after [`Self::close`].
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<Result<(), StreamError>> {
        let mut state = self.lock();
        if state.life == Life::Closed {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = &state.error {
            return Poll::Ready(Err(error.clone()));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// No more will be sent; what is queued still goes out. False if nothing was ever sent, so that
    /// there is no QUIC stream to close.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.lock();
        let started = state.life != Life::Idle;
        if matches!(state.life, Life::Idle | Life::Open) {
            state.life = Life::Closing;
        }
        drop(state);
        self.work.notify_one();
        started
    }

    /// As [`Self::close`]; an empty direction says that it carries what the other one does.
    pub(crate) fn close_like(&self, raw: bool) {
        {
            let mut state = self.lock();
            state.raw.get_or_insert(raw);
        }
        self.close();
    }

    /// Gives the direction up: what is queued is thrown away.
    pub(crate) fn reset(&self, code: u32) {
        let mut state = self.lock();
        if state.life != Life::Closed {
            state.life = Life::Resetting(code);
            state.drop_queue();
        }
        self.progressed(state);
        self.work.notify_one();
    }

    /// Whether no more may be queued.
    pub(crate) fn is_closed(&self) -> bool {
        let state = self.lock();
        state.error.is_some() || !matches!(state.life, Life::Idle | Life::Open)
    }

    /// Whether there is nothing left to do for this direction, or never was.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        state.error.is_some() || matches!(state.life, Life::Idle | Life::Closed)
    }

    /// Whether it came to its end.
    pub(crate) fn has_ended(&self) -> bool {
        let state = self.lock();
        state.error.is_some() || state.life == Life::Closed
    }

    /// Whether it broke, or is given up: what is queued does not arrive.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.lock();
        state.error.is_some() || matches!(state.life, Life::Resetting(_))
    }

    /// Waits until the peer's transport acknowledged everything after [`Self::close`].
    ///
    /// # Errors
    /// Why that will not happen.
    pub(crate) async fn wait_closed(&self) -> Result<(), StreamError> {
        loop {
            let progress = self.progress.notified();
            let mut progress = std::pin::pin!(progress);
            progress.as_mut().enable();
            {
                let state = self.lock();
                if state.life == Life::Closed {
                    return Ok(());
                }
                if let Some(error) = &state.error {
                    return Err(error.clone());
                }
            }
            progress.await;
        }
    }

    /// Waits until the queue was handed to QUIC.
    ///
    /// # Errors
    /// Why that will not happen.
    pub(crate) async fn wait_flushed(&self) -> Result<(), StreamError> {
        loop {
            let progress = self.progress.notified();
            let mut progress = std::pin::pin!(progress);
            progress.as_mut().enable();
            {
                let state = self.lock();
                if let Some(error) = &state.error {
                    return Err(error.clone());
                }
                if state.queued == 0 {
                    return Ok(());
                }
            }
            progress.await;
        }
    }

    pub(crate) fn set_max_frame_size(&self, max: u64) {
        self.lock().max_frame_size = max;
    }

    pub(crate) fn max_frame_size(&self) -> u64 {
        self.lock().max_frame_size
    }

    pub(crate) fn set_priority(&self, priority: i32) {
        self.lock().priority = priority;
    }

    pub(crate) fn priority(&self) -> i32 {
        self.lock().priority
    }

    /// Messages and bytes that were queued.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.messages, state.bytes)
    }

    // --- the writing side ---

    /// Whether raw bytes were queued first.
    pub(crate) fn is_raw(&self) -> bool {
        self.lock().raw.unwrap_or(false)
    }

    /// What to do now.
    pub(crate) fn next(&self) -> Next {
        let mut state = self.lock();
        if state.error.is_some() {
            return Next::Over;
        }
        match state.life {
            Life::Resetting(code) => return Next::Reset(code),
            Life::Closed => return Next::Over,
            Life::Idle | Life::Open | Life::Closing => {}
        }
        let batch = state.take_batch();
        if !batch.is_empty() {
            return Next::Write(batch);
        }
        if state.life == Life::Closing && state.queued == 0 {
            state.finishing = true;
            return Next::Finish;
        }
        Next::Wait
    }

    /// Waits until [`Self::next`] may say something new.
    pub(crate) async fn wait_for_work(&self) {
        let mut work = std::pin::pin!(self.work.notified());
        // An answer is queued without a call: whoever queued it takes this step.
        poll_fn(
            |cx| {
                if self.lock().can_write() { Poll::Ready(()) } else { work.as_mut().poll(cx) }
            },
        )
        .await;
    }

    /// Ready once the direction is to be given up.
    pub(crate) async fn resetting(&self) {
        loop {
            let progress = self.progress.notified();
            let mut progress = std::pin::pin!(progress);
            progress.as_mut().enable();
            if matches!(self.lock().life, Life::Resetting(_)) {
                return;
            }
            progress.await;
        }
    }

    /// `bytes` of the last batch were handed to QUIC.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = self.lock();
        state.queued = state.queued.saturating_sub(bytes);
        if state.queued < QUEUE_LIMIT {
            self.progressed(state);
        }
    }

    /// The peer allows bytes up to `limit`.
    pub(crate) fn raise(&self, limit: u64) {
        self.lock().credit.raise(limit);
        self.work.notify_one();
    }

    /// The peer's transport has all of it.
    pub(crate) fn acknowledged(&self) {
        let mut state = self.lock();
        state.life = Life::Closed;
        self.progressed(state);
    }

    /// The session is over. Whether all had arrived before, the writing task knows if it waits for
    /// just that: the end may have come together with the acknowledgement.
    pub(crate) fn session_over(&self, error: StreamError) {
        if !self.lock().finishing {
            self.fail(error);
        }
    }

    /// It broke. The first reason stays.
    pub(crate) fn fail(&self, error: StreamError) {
        let mut state = self.lock();
        if state.life != Life::Closed && state.error.is_none() {
            state.error = Some(error);
            state.drop_queue();
        }
        self.progressed(state);
        self.work.notify_one();
    }
}

impl State {
    fn can_write(&self) -> bool {
        (!self.tail.is_empty() || !self.segments.is_empty()) && self.credit.available() > 0
    }

    fn append(&mut self, bytes: &Bytes) {
        if bytes.len() < COPY_BELOW {
            self.copy(bytes);
        } else {
            self.seal_tail();
            self.segments.push_back(bytes.clone());
        }
    }

    /// Copies bytes to the end of the queue.
    fn copy(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.make_room(1);
            let room = self.tail.capacity() - self.tail.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.tail.extend_from_slice(now);
            bytes = later;
        }
    }

    /// Begins a new block when this one has no room for `bytes` more.
    fn make_room(&mut self, bytes: usize) {
        if self.tail.capacity() - self.tail.len() < bytes {
            self.seal_tail();
            self.tail = BytesMut::with_capacity(self.queued.clamp(BLOCK.0, BLOCK.1));
        }
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.segments.push_back(self.tail.split().freeze());
        }
    }

    fn drop_queue(&mut self) {
        self.segments.clear();
        self.tail.clear();
        self.queued = 0;
    }

    /// Everything queued that the credit covers.
    fn take_batch(&mut self) -> Vec<Bytes> {
        self.seal_tail();
        let mut batch = Vec::with_capacity(self.segments.len());
        while let Some(first) = self.segments.front_mut() {
            let room = self.credit.available();
            if room == 0 {
                break;
            }
            let piece = if first.len() <= room {
                self.segments.pop_front().unwrap_or_default()
            } else {
                first.split_to(room)
            };
            self.credit.spend(piece.len());
            batch.push(piece);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::{super::flow_control::INITIAL_WINDOW, *};
    use crate::CloseReason;

    fn written(outbound: &Outbound) -> Vec<u8> {
        match outbound.next() {
            Next::Write(batch) => {
                let bytes = batch.concat();
                outbound.written(bytes.len());
                bytes
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_that_gathered_are_written_together() {
        let outbound = Outbound::new(1, 100);
        outbound.push_message(b"ab").unwrap();
        outbound.push_message(b"").unwrap();
        outbound.push_message_bytes(&Bytes::from_static(b"c")).unwrap();
        assert_eq!(written(&outbound), b"\x02ab\x00\x01c");
        assert_eq!(outbound.next(), Next::Wait);
    }

    #[test]
    fn a_long_message_is_not_copied() {
        let outbound = Outbound::new(1, 1 << 20);
        let message = Bytes::from(vec![5; 100_000]);
        outbound.push_message_bytes(&message).unwrap();
        let Next::Write(batch) = outbound.next() else { panic!() };
        assert!(batch.iter().any(|piece| piece.as_ptr() == message.as_ptr()));
    }

    #[test]
    fn the_queue_pushes_back_and_takes_more_once_written() {
        let outbound = Outbound::new(1, u64::MAX);
        let message = Bytes::from(vec![0; QUEUE_LIMIT]);
        assert_eq!(outbound.push_message_bytes(&message), Ok(Pushed::Queued));
        assert_eq!(outbound.push_message(b"x"), Ok(Pushed::Full));
        written(&outbound);
        assert_eq!(outbound.push_message(b"x"), Ok(Pushed::Queued));
    }

    #[test]
    fn nothing_is_written_beyond_the_credit() {
        let outbound = Outbound::new(1, u64::MAX);
        let window = usize::try_from(INITIAL_WINDOW).unwrap();
        outbound.push_raw(&Bytes::from(vec![0; window + 10])).unwrap();
        assert_eq!(written(&outbound).len(), window);
        assert_eq!(outbound.next(), Next::Wait);
        outbound.raise(INITIAL_WINDOW + 4);
        assert_eq!(written(&outbound).len(), 4);
        outbound.close();
        assert_eq!(outbound.next(), Next::Wait);
        outbound.raise(INITIAL_WINDOW + 10);
        assert_eq!(written(&outbound).len(), 6);
        assert_eq!(outbound.next(), Next::Finish);
    }

    #[test]
    fn after_close_nothing_is_taken_and_the_rest_goes_out() {
        let outbound = Outbound::new(3, 100);
        outbound.push_message(b"a").unwrap();
        assert!(outbound.close());
        assert_eq!(outbound.push_message(b"b"), Err(StreamError::Closed { id: 3 }));
        assert_eq!(written(&outbound), b"\x01a");
        assert_eq!(outbound.next(), Next::Finish);
        outbound.acknowledged();
        assert_eq!(outbound.next(), Next::Over);
    }

    #[tokio::test]
    async fn an_acknowledgement_that_comes_with_the_end_of_the_session_counts() {
        let outbound = Outbound::new(3, 100);
        outbound.push_message(b"a").unwrap();
        written(&outbound);
        outbound.close();
        let over = StreamError::SessionEnded(CloseReason::Timeout);
        // Bytes are on their way yet.
        let other = Outbound::new(4, 100);
        other.push_message(b"a").unwrap();
        other.close();
        other.session_over(over.clone());
        assert_eq!(other.wait_closed().await, Err(over.clone()));
        assert_eq!(outbound.next(), Next::Finish);
        outbound.session_over(over.clone());
        outbound.acknowledged();
        assert_eq!(outbound.wait_closed().await, Ok(()));
        // The writing task says what it sees.
        let outbound = Outbound::new(5, 100);
        outbound.close();
        assert_eq!(outbound.next(), Next::Finish);
        outbound.session_over(over.clone());
        outbound.fail(over.clone());
        assert_eq!(outbound.wait_closed().await, Err(over));
    }

    #[test]
    fn a_frame_too_large_is_refused_whole_and_the_stream_goes_on() {
        let outbound = Outbound::new(1, 3);
        let error = StreamError::FrameTooLarge { len: 4, max: 3 };
        assert_eq!(outbound.push_message(b"abcd"), Err(error));
        assert_eq!(outbound.push_message(b"abc"), Ok(Pushed::Queued));
        assert_eq!(outbound.push_raw(&Bytes::new()), Err(StreamError::Kind { id: 1, raw: false }));
    }
}
