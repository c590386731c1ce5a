//! The receiving direction of one stream: what arrived, and who waits for it.
//!
//! Whoever moves the connection (`session::inbound`) feeds it as bytes arrive; the application takes
//! messages or raw bytes out. What bounds the bytes in between is the credit.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use stt_transport::internal::WakerList;
use tokio::time::Instant;

use super::{
    StreamError,
    flow_control::ReceiveCredit,
    reassembly::Reassembly,
    unordered_queue::{Budget, UnorderedQueue},
    varint,
    waker_registry::{Place, WakerRegistry},
};
use crate::limits::{Charge, SessionBudget};

/// Taken bytes are told to the session's account in pieces of this size, or when nothing is left.
const TELL_AFTER: u64 = 16 << 10;

/// How a direction came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer closed it after its last byte.
    Finished,
    /// It broke.
    Failed(StreamError),
}

/// What the application's side of it looks like at one moment.
pub(crate) enum Taken<T> {
    Got(T),
    Finished,
    Failed(StreamError),
    Wait,
}

#[derive(Debug)]
struct State {
    assembly: Reassembly,
    credit: ReceiveCredit,
    /// The direction carries raw bytes; unknown until its header arrived.
    raw: Option<bool>,
    /// It may carry both, as its protocol says.
    mixed: bool,
    /// Nobody takes anything any more.
    discarded: bool,
    end: Option<End>,
    /// Whole messages that are in no order.
    loose: UnorderedQueue,
    /// Length of the message whose bytes are being collected.
    length: Option<usize>,
    /// Its bytes so far, when it is longer than what was there at once.
    partial: Vec<u8>,
    /// A message was too long, or nobody wants more: what else comes is thrown away.
    refused: bool,
    max_frame_size: u64,
    messages: u64,
    bytes: u64,
    /// What the session's account has for this direction.
    charge: Charge,
    waiting: WakerRegistry,
}

/// Raising the limit of a stream: called with the new limit when it is time.
pub(crate) struct Raise {
    pub(crate) limit: u64,
}

/// The receiving direction of one stream.
#[derive(Debug)]
pub(crate) struct Inbound {
    id: u32,
    state: Mutex<State>,
}

impl Inbound {
    /// A direction whose unread bytes are counted in `account`.
    pub(crate) fn new(id: u32, max_frame_size: u64, account: Arc<SessionBudget>) -> Self {
        Self {
            id,
            state: Mutex::new(State {
                assembly: Reassembly::of(Arc::clone(&account)),
                credit: ReceiveCredit::default(),
                raw: None,
                mixed: false,
                discarded: false,
                end: None,
                loose: UnorderedQueue::default(),
                length: None,
                partial: Vec::new(),
                refused: false,
                max_frame_size,
                messages: 0,
                bytes: 0,
                charge: Charge::new(account),
                waiting: WakerRegistry::default(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it and wakes who waits.
    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut wakes = WakerList::default();
        let result = {
            let mut state = self.lock();
            state.waiting.call(&mut wakes);
            act(&mut state)
        };
        wakes.wake();
        result
    }

    // --- the feeding side ---

    /// The header arrived.
    pub(crate) fn start(&self, raw: bool) {
        self.change(|state| state.raw = Some(raw));
    }

    /// The header of a protocol's stream arrived.
    pub(crate) fn start_mixed(&self) {
        self.change(|state| {
            state.mixed = true;
            state.raw = Some(false);
        });
    }

    /// Nobody will take anything any more: what is here and what comes is thrown away.
    pub(crate) fn discard(&self) {
        self.change(|state| {
            state.discarded = true;
            state.end.get_or_insert(End::Finished);
            state.throw_away();
        });
    }

    /// Bytes after the header, at their offset after it. Who waits for them goes into `wakes`.
    ///
    /// # Errors
    /// The peer went beyond the limit it was given.
    pub(crate) fn feed(
        &self,
        offset: u64,
        bytes: Bytes,
        wakes: &mut WakerList,
    ) -> Result<(), StreamError> {
        let mut state = self.lock();
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if offset.saturating_add(len) > state.credit.limit() {
            return Err(StreamError::Protocol { id: self.id, rule: "more bytes than credit" });
        }
        if state.refused || state.discarded {
            return Ok(());
        }
        state.assembly.insert(offset, bytes);
        state.settle();
        if state.assembly.ready_len() > 0 {
            state.waiting.call(wakes);
        }
        Ok(())
    }

    /// A whole message that is in no order. False if there is no room for it.
    pub(crate) fn feed_loose(&self, message: Bytes, budget: &Budget) -> bool {
        self.change(|state| state.refused || state.loose.push(message, budget))
    }

    /// As [`Self::discard`], but the direction lasts until the peer ends it: a numbered stream that
    /// was over at once would be a new one to what is still under way. True if something was there
    /// that nobody took.
    pub(crate) fn ignore(&self) -> bool {
        self.change(|state| {
            let unread = state.assembly.ready_len() > 0 || !state.partial.is_empty();
            state.refused = true;
            state.throw_away();
            unread
        })
    }

    /// Whether it carries raw bytes.
    pub(crate) fn is_raw(&self) -> bool {
        self.lock().raw.unwrap_or(false)
    }

    /// This side's direction was given up before the peer saw it: one that nobody reads and that has
    /// not begun will not begin as its answer. False if it may, or somebody waits for it.
    pub(crate) fn never_asked_for(&self) -> bool {
        self.change(|state| {
            let unasked = state.refused && state.raw.is_none();
            if unasked {
                state.end.get_or_insert(End::Finished);
            }
            unasked
        })
    }

    /// No more bytes will come. The first reason stays.
    pub(crate) fn end(&self, end: End) {
        self.change(|state| {
            state.end.get_or_insert(end);
            state.give_up_partial();
            state.settle();
        });
    }

    // --- the application's side ---

    pub(crate) fn set_max_frame_size(&self, max: u64) {
        self.lock().max_frame_size = max;
    }

    pub(crate) fn max_frame_size(&self) -> u64 {
        self.lock().max_frame_size
    }

    /// Whether nothing more can be taken.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.lock();
        // A message whose rest will not come is no longer waited for.
        state.end.is_some() && state.assembly.ready_len() == 0 && state.loose.is_empty()
    }

    /// Messages and bytes that the application took.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.messages, state.bytes)
    }

    /// The window this direction may fill, for the session's budget.
    pub(crate) fn window(&self) -> u64 {
        self.lock().credit.window()
    }

    /// Raises the limit if half the window was used up.
    pub(crate) fn raise(&self, round_trip: Duration, spare: u64) -> Option<Raise> {
        let mut state = self.lock();
        (state.end.is_none() && state.credit.consume(0)).then(|| Raise {
            limit: state.credit.raise(Instant::now().into_std(), round_trip, spare),
        })
    }

    /// Waits until `take`, one of those below, says something new. Callers have asked it before.
    pub(crate) async fn wait_for<T>(&self, mut take: impl FnMut() -> Taken<T>) -> Taken<T> {
        let mut waiting = Waiting { inbound: self, place: None };
        poll_fn(|cx| {
            if waiting.place.is_some()
                && let taken @ (Taken::Got(_) | Taken::Finished | Taken::Failed(_)) = take()
            {
                return Poll::Ready(taken);
            }
            {
                let mut state = self.lock();
                let place = *waiting.place.get_or_insert_with(|| state.waiting.place());
                state.waiting.register(place, cx.waker());
            }
            // It may have come in between.
            match take() {
                Taken::Wait => Poll::Pending,
                taken => Poll::Ready(taken),
            }
        })
        .await
    }

    /// Bytes in order that nobody took.
    pub(crate) fn ready_len(&self) -> usize {
        self.lock().assembly.ready_len()
    }

    /// Whether more than `known` bytes are in order now, or nothing will come any more.
    pub(crate) fn changed_from(&self, known: usize) -> Taken<()> {
        let state = self.lock();
        if state.assembly.ready_len() == known && state.loose.is_empty() {
            state.at_end(self.id)
        } else {
            Taken::Got(())
        }
    }

    /// The next message, and whether it is time to raise the limit.
    pub(crate) fn take_message(&self) -> (Taken<Bytes>, bool) {
        let mut state = self.lock();
        let before = state.assembly.ready_len();
        let taken = state.take_message(self.id);
        let used = before - state.assembly.ready_len();
        state.give_up_partial();
        state.settle();
        let due = used > 0 && state.credit.consume(used);
        (taken, due && state.end.is_none())
    }

    /// The next raw bytes, at most `max`, and whether it is time to raise the limit.
    pub(crate) fn take_raw(&self, max: usize) -> (Taken<Bytes>, bool) {
        let mut state = self.lock();
        let taken = state.take_raw(self.id, max);
        let due = match &taken {
            Taken::Got(bytes) => {
                let used = bytes.len();
                state.settle();
                state.credit.consume(used)
            }
            _ => false,
        };
        (taken, due && state.end.is_none())
    }

    /// As [`Self::take_raw`], for readers that poll.
    pub(crate) fn poll_raw(&self, cx: &Context<'_>, max: usize) -> Poll<(Taken<Bytes>, bool)> {
        let got = self.take_raw(max);
        if !matches!(got.0, Taken::Wait) {
            return Poll::Ready(got);
        }
        self.lock().waiting.register(Place::POLLS, cx.waker());
        // Bytes may have come between the two locks.
        match self.take_raw(max) {
            (Taken::Wait, _) => Poll::Pending,
            got => Poll::Ready(got),
        }
    }
}

/// One who waits, until dropped.
struct Waiting<'a> {
    inbound: &'a Inbound,
    place: Option<Place>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.inbound.lock().waiting.forget(place);
        }
    }
}

impl State {
    /// Tells the account what is here; what was taken, now and then.
    fn settle(&mut self) {
        let partial = u64::try_from(self.partial.capacity()).unwrap_or(u64::MAX);
        let cost = self.assembly.cost().saturating_add(partial);
        let less = self.charge.bytes().saturating_sub(cost);
        if less == 0 || less >= TELL_AFTER || self.assembly.ready_len() == 0 {
            self.charge.set(cost);
        }
    }

    fn throw_away(&mut self) {
        self.assembly = Reassembly::default();
        self.partial = Vec::new();
        self.loose = UnorderedQueue::default();
        self.charge.set(0);
    }

    /// Frees the bytes of a message whose rest will not come.
    fn give_up_partial(&mut self) {
        if self.end.is_some() && self.assembly.ready_len() == 0 {
            self.partial = Vec::new();
        }
    }

    /// What there is to say when no bytes are left.
    fn at_end<T>(&self, id: u32) -> Taken<T> {
        match &self.end {
            None => Taken::Wait,
            Some(End::Failed(error)) => Taken::Failed(error.clone()),
            Some(End::Finished) if self.length.is_some() => Taken::Failed(StreamError::Protocol {
                id,
                rule: "the stream ended inside a message",
            }),
            Some(End::Finished) => Taken::Finished,
        }
    }

    fn take_message(&mut self, id: u32) -> Taken<Bytes> {
        if let Some(message) = self.loose.pop() {
            self.messages += 1;
            self.bytes += u64::try_from(message.len()).unwrap_or(u64::MAX);
            return Taken::Got(message);
        }
        if self.refused {
            return self.at_end(id);
        }
        match self.raw {
            Some(true) => return Taken::Failed(StreamError::Kind { id, raw: true }),
            None => return self.at_end(id),
            Some(false) => {}
        }
        let length = match self.length {
            Some(length) => length,
            None => {
                let Some(length) = varint::take(&mut self.assembly.ready()) else {
                    return self.at_end(id);
                };
                // STREAM-8: the length alone is enough to refuse.
                if length > self.max_frame_size {
                    let error =
                        StreamError::FrameTooLarge { len: length, max: self.max_frame_size };
                    self.end = Some(End::Failed(error.clone()));
                    self.refused = true;
                    let rest = self.assembly.ready_len();
                    let _ = self.assembly.take_exact(rest);
                    return Taken::Failed(error);
                }
                *self.length.insert(usize::try_from(length).unwrap_or(usize::MAX))
            }
        };
        let message = if self.partial.is_empty() { self.assembly.take_exact(length) } else { None };
        let message = match message {
            Some(message) => message,
            // Collected piece by piece, so that a message longer than the window gets through.
            None => {
                while self.partial.len() < length {
                    match self.assembly.take_piece(length - self.partial.len()) {
                        Some(piece) => collect(&mut self.partial, &piece, length),
                        None => return self.at_end(id),
                    }
                }
                std::mem::take(&mut self.partial).into()
            }
        };
        self.length = None;
        self.messages += 1;
        self.bytes += u64::try_from(message.len()).unwrap_or(u64::MAX);
        Taken::Got(message)
    }

    fn take_raw(&mut self, id: u32, max: usize) -> Taken<Bytes> {
        match self.raw {
            // Raw bytes may follow messages, but not begin within one.
            Some(false) if !self.mixed || self.length.is_some() => {
                return Taken::Failed(StreamError::Kind { id, raw: false });
            }
            None => return self.at_end(id),
            Some(_) => {}
        }
        match self.assembly.take_piece(max) {
            Some(piece) => {
                self.bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
                Taken::Got(piece)
            }
            None => self.at_end(id),
        }
    }
}

/// Appends a part of a message of `length` bytes, with no more room than those will take.
fn collect(partial: &mut Vec<u8>, piece: &[u8], length: usize) {
    if partial.capacity() - partial.len() < piece.len() {
        let doubled = partial.len().max(piece.len());
        partial.reserve_exact(doubled.min(length - partial.len()));
    }
    partial.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(inbound: &Inbound, offset: u64, bytes: Bytes) -> Result<(), StreamError> {
        inbound.feed(offset, bytes, &mut WakerList::default())
    }

    fn inbound(id: u32, max_frame_size: u64) -> Inbound {
        Inbound::new(id, max_frame_size, SessionBudget::boundless())
    }

    #[test]
    fn the_account_knows_what_was_not_taken() {
        let unread = Arc::new(crate::limits::NodeBudget::new(u64::MAX, 1));
        let inbound = Inbound::new(1, 100_000, Arc::new(SessionBudget::new(Arc::clone(&unread))));
        inbound.start(false);
        feed(&inbound, 0, Bytes::from_static(&[2, 1, 2, 3, 1, 2])).unwrap();
        assert!((6..6 + 100).contains(&unread.total()), "{}", unread.total());
        message(&inbound).unwrap();
        assert!(message(&inbound).is_none());
        feed(&inbound, 6, Bytes::from_static(&[3])).unwrap();
        message(&inbound).unwrap();
        assert_eq!(unread.total(), 0);
        // Behind a hole it is there all the same.
        feed(&inbound, 50, Bytes::from_static(&[3])).unwrap();
        assert!(unread.total() > 1);
        drop(inbound);
        assert_eq!(unread.total(), 0);
    }

    /// A byte at every second place takes far more memory than a byte.
    #[test]
    fn pieces_behind_holes_are_counted_with_their_places() {
        let unread = Arc::new(crate::limits::NodeBudget::new(u64::MAX, 1));
        let inbound = Inbound::new(1, 100_000, Arc::new(SessionBudget::new(Arc::clone(&unread))));
        inbound.start(true);
        for at in 1..=500_000 {
            feed(&inbound, 2 * at, Bytes::from_static(&[7])).unwrap();
        }
        assert!(unread.total() >= 64 * 500_000, "{}", unread.total());
        drop(inbound);
        assert_eq!(unread.total(), 0);
    }

    /// A byte must not hold the buffer of 64 KiB that it came in, in order or not.
    #[test]
    fn short_pieces_that_nobody_takes_hold_few_buffers() {
        let unread = Arc::new(crate::limits::NodeBudget::new(1 << 20, 1));
        let inbound = Inbound::new(1, 100_000, Arc::new(SessionBudget::new(Arc::clone(&unread))));
        inbound.start(true);
        let buffers: Vec<_> = (0..200).map(|_| Bytes::from(vec![7; 64 << 10])).collect();
        for (at, buffer) in buffers.iter().enumerate() {
            feed(&inbound, at as u64, buffer.slice(5..6)).unwrap();
        }
        let held = buffers.iter().filter(|buffer| !buffer.is_unique()).count();
        assert!(held <= 2, "{held}");
        assert!(unread.total() < 16 << 10, "{}", unread.total());
        let mut got = 0;
        while let Taken::Got(bytes) = inbound.take_raw(7).0 {
            got += bytes.len();
        }
        assert_eq!((got, unread.total()), (200, 0));
        assert!(buffers.iter().all(Bytes::is_unique));
    }

    fn message(inbound: &Inbound) -> Option<Bytes> {
        match inbound.take_message().0 {
            Taken::Got(message) => Some(message),
            _ => None,
        }
    }

    #[test]
    fn messages_keep_their_boundaries_whatever_the_cuts() {
        let mut wire = Vec::new();
        for len in [0usize, 1, 63, 64, 5_000] {
            varint::put(&mut wire, len as u64);
            wire.extend(vec![7; len]);
        }
        for cut in 1..=64 {
            let inbound = inbound(1, 10_000);
            inbound.start(false);
            let mut got = Vec::new();
            for (at, piece) in wire.chunks(cut).enumerate() {
                feed(&inbound, (at * cut) as u64, Bytes::copy_from_slice(piece)).unwrap();
                while let Some(message) = message(&inbound) {
                    got.push(message.len());
                }
            }
            inbound.end(End::Finished);
            assert_eq!(got, [0, 1, 63, 64, 5_000]);
            assert!(matches!(inbound.take_message().0, Taken::Finished));
            assert!(inbound.is_done());
        }
    }

    #[test]
    fn a_message_longer_than_allowed_is_refused_by_its_length_alone() {
        let inbound = inbound(1, 100);
        inbound.start(false);
        let mut wire = Vec::new();
        varint::put(&mut wire, 101);
        feed(&inbound, 0, wire.into()).unwrap();
        let error = StreamError::FrameTooLarge { len: 101, max: 100 };
        assert!(matches!(inbound.take_message().0, Taken::Failed(found) if found == error));
    }

    #[test]
    fn nothing_is_read_on_inside_of_a_message_that_was_refused() {
        let unread = Arc::new(crate::limits::NodeBudget::new(u64::MAX, 1));
        let inbound = Inbound::new(1, 100, Arc::new(SessionBudget::new(Arc::clone(&unread))));
        inbound.start(false);
        let mut wire = Vec::new();
        varint::put(&mut wire, 101);
        let head = wire.len() as u64;
        wire.extend([1, 7, 1, 7]);
        feed(&inbound, 0, wire.into()).unwrap();
        for _ in 0..3 {
            assert!(matches!(
                inbound.take_message().0,
                Taken::Failed(StreamError::FrameTooLarge { .. })
            ));
            feed(&inbound, head + 4, Bytes::from_static(&[1, 7])).unwrap();
        }
        assert!(inbound.is_done());
        assert_eq!(unread.total(), 0);
    }

    /// Giving a long message up is everyday use: its number and its bytes must come back.
    #[test]
    fn a_stream_that_ended_inside_a_message_is_over_and_holds_nothing() {
        let broken = End::Failed(StreamError::Closed { id: 1 });
        for end in [broken, End::Finished] {
            for read_before in [true, false] {
                let unread = Arc::new(crate::limits::NodeBudget::new(u64::MAX, 1));
                let inbound =
                    Inbound::new(1, 1_000, Arc::new(SessionBudget::new(Arc::clone(&unread))));
                inbound.start(false);
                feed(&inbound, 0, Bytes::from_static(&[60, 1, 2, 3, 4, 5])).unwrap();
                if read_before {
                    assert!(matches!(inbound.take_message().0, Taken::Wait));
                }
                inbound.end(end.clone());
                assert!(matches!(inbound.take_message().0, Taken::Failed(_)));
                assert!(matches!(inbound.take_message().0, Taken::Failed(_)));
                assert!(inbound.is_done());
                assert_eq!(unread.total(), 0);
            }
        }
    }

    #[test]
    fn a_message_longer_than_the_window_gets_through_when_somebody_reads() {
        let window = usize::try_from(super::super::flow_control::INITIAL_WINDOW).unwrap();
        let inbound = inbound(1, u64::MAX);
        inbound.start(false);
        let mut wire = Vec::new();
        varint::put(&mut wire, 3 * window as u64);
        let head = wire.len();
        wire.resize(head + 3 * window, 9);
        let (mut sent, mut limit) = (0, window);
        let got = loop {
            let end = limit.min(wire.len());
            feed(&inbound, sent as u64, Bytes::copy_from_slice(&wire[sent..end])).unwrap();
            sent = end;
            if let Some(message) = message(&inbound) {
                break message;
            }
            limit = usize::try_from(inbound.raise(Duration::ZERO, 0).unwrap().limit).unwrap();
        };
        assert_eq!(got.len(), 3 * window);
    }

    #[test]
    fn bytes_beyond_the_credit_are_refused() {
        let inbound = inbound(4, 100);
        inbound.start(true);
        let error =
            feed(&inbound, super::super::flow_control::INITIAL_WINDOW, Bytes::from_static(b"x"));
        assert_eq!(error, Err(StreamError::Protocol { id: 4, rule: "more bytes than credit" }));
    }

    #[test]
    fn a_stream_that_ends_inside_a_message_says_so() {
        let inbound = inbound(1, 100);
        inbound.start(false);
        feed(&inbound, 0, Bytes::from_static(&[5, 1, 2])).unwrap();
        inbound.end(End::Finished);
        assert!(matches!(
            inbound.take_message().0,
            Taken::Failed(StreamError::Protocol { rule: "the stream ended inside a message", .. })
        ));
    }

    /// Two that wait in one task have one waker: who gives up must not take the other's place.
    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_others_waiting() {
        let inbound = Arc::new(inbound(1, 100));
        inbound.start(false);
        let feeding = Arc::clone(&inbound);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut wakes = WakerList::default();
            feeding.feed(0, Bytes::from_static(&[1, 7]), &mut wakes).unwrap();
            wakes.wake();
        });
        let receive = || inbound.wait_for(|| inbound.take_message().0);
        let impatient = tokio::time::timeout(Duration::from_millis(10), receive());
        let waits = tokio::time::timeout(Duration::from_secs(1), receive());
        let (patient, impatient) = tokio::join!(biased; waits, impatient);
        assert!(impatient.is_err());
        assert!(matches!(patient, Ok(Taken::Got(message)) if message == [7][..]));
    }

    #[test]
    fn messages_are_not_read_as_raw_bytes_nor_the_other_way_round() {
        let inbound = inbound(1, 100);
        inbound.start(false);
        assert!(matches!(
            inbound.take_raw(1).0,
            Taken::Failed(StreamError::Kind { id: 1, raw: false })
        ));
    }
}
