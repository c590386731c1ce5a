//! Messages of streams that nobody claimed, on their way to the application.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{self, Notify, mpsc};

use crate::{Event, EventEmitter, EventKind, SessionId};

/// Messages that wait for [`crate::Node::receive`]; beyond them their streams wait.
const QUEUE: usize = 1_024;
/// Bytes of messages that are kept in case that somebody receives later.
const KEPT_BYTES: u64 = 1 << 20;
/// Streams that wait although their session is over, of as many bytes at most.
const MAX_LEFT_BEHIND: usize = 64;

/// A message that arrived on a stream which nobody claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packet {
    /// The session that brought it.
    pub session_id: SessionId,
    /// The stream's number.
    pub stream_id: u32,
    /// The message.
    pub data: Bytes,
}

/// Who gets such messages: [`crate::Node::receive`] once it was called, before that the handlers of
/// `data_received`, and before there are any nobody.
pub(crate) struct Packets {
    events: EventEmitter,
    queue: mpsc::Sender<Packet>,
    /// Bytes that may wait before streams have to.
    most: u64,
    /// Bytes that wait, what is kept included.
    bytes: AtomicU64,
    taken: Notify,
    receiving: AtomicBool,
    started: Notify,
    /// Held while listeners are told of a message and it joins those that wait.
    kept: Mutex<Kept>,
    /// Had by the stream whose message the handlers are dealing with.
    turn: sync::Mutex<()>,
    /// Streams and bytes of sessions that are over, which wait for whoever receives.
    left_behind: Mutex<(usize, u64)>,
}

/// A place among the streams that wait although their session is over.
pub(crate) struct LeftBehind<'a> {
    packets: &'a Packets,
    bytes: u64,
}

impl Drop for LeftBehind<'_> {
    fn drop(&mut self) {
        let mut all = self.packets.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        *all = (all.0.saturating_sub(1), all.1.saturating_sub(self.bytes));
    }
}

/// The last messages from before `receive` was called.
#[derive(Default)]
struct Kept {
    packets: VecDeque<Packet>,
    bytes: u64,
}

/// Leave to pass on a message.
pub(crate) enum Taker<'a> {
    /// A place in the queue of `receive`.
    Queue(mpsc::Permit<'a, Packet>),
    /// The handlers have dealt with the message before.
    Handlers(sync::MutexGuard<'a, ()>),
    /// Nobody is there, and the session is over.
    Nobody,
}

impl Packets {
    /// With a queue of `most` bytes, whose other end is returned.
    pub(crate) fn new(events: EventEmitter, most: u64) -> (Self, mpsc::Receiver<Packet>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let packets = Self {
            events,
            queue,
            most,
            bytes: AtomicU64::new(0),
            taken: Notify::new(),
            receiving: AtomicBool::new(false),
            started: Notify::new(),
            kept: Mutex::default(),
            turn: sync::Mutex::default(),
            left_behind: Mutex::default(),
        };
        (packets, receiver)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of messages that wait for `receive`.
    pub(crate) fn waiting(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// From now on everything is for `receive`. Gives what was kept for it, one after the other.
    pub(crate) fn receive_kept(&self) -> Option<Packet> {
        let mut kept = self.kept();
        if !self.receiving.swap(true, Ordering::AcqRel) {
            self.started.notify_waiters();
        }
        kept.pop(&self.bytes)
    }

    /// A message left the queue of `receive`.
    pub(crate) fn left(&self, packet: &Packet) {
        let before = self.bytes.fetch_sub(packet.len(), Ordering::AcqRel);
        if before > self.most {
            self.taken.notify_waiters();
        }
    }

    /// Ready once a message of a session may be passed on, which ends with `over`; `None` once the
    /// node stopped.
    pub(crate) async fn taker(&self, over: impl Future<Output = ()>) -> Option<Taker<'_>> {
        let started = self.started.notified();
        let mut started = std::pin::pin!(started);
        started.as_mut().enable();
        if !self.receiving.load(Ordering::Acquire) {
            let handlers = async {
                self.events.heard(EventKind::DataReceived).await;
                self.turn.lock().await
            };
            tokio::select! {
                biased;
                () = started => {}
                turn = handlers => return Some(Taker::Handlers(turn)),
                () = over => return Some(Taker::Nobody),
            }
        }
        loop {
            let taken = self.taken.notified();
            let mut taken = std::pin::pin!(taken);
            taken.as_mut().enable();
            if self.bytes.load(Ordering::Acquire) <= self.most {
                break;
            }
            taken.await;
        }
        self.queue.reserve().await.ok().map(Taker::Queue)
    }

    /// Passes a message on, or gives it back when others are to get it by now. Listeners are told of
    /// messages in the order in which `receive` gets them.
    pub(crate) async fn pass_on(&self, packet: Packet, taker: Taker<'_>) -> Option<Packet> {
        let _turn = match taker {
            Taker::Queue(place) => {
                self.enqueue(packet, place);
                return None;
            }
            Taker::Handlers(turn) => turn,
            Taker::Nobody => return Some(packet),
        };
        let handled = {
            let mut kept = self.kept();
            let alone = !self.receiving.load(Ordering::Acquire)
                && self.events.listens(EventKind::DataReceived);
            if !alone {
                return Some(packet);
            }
            let handled = self.events.emit_tracked(packet.event());
            kept.push(packet, self.most, &self.bytes);
            handled
        };
        handled.await;
        None
    }

    /// A place for a stream with `bytes` unread whose session is over, if there are not too many.
    pub(crate) fn leave_behind(&self, bytes: usize) -> Option<LeftBehind<'_>> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut all = self.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = all.1.saturating_add(bytes);
        if all.0 >= MAX_LEFT_BEHIND || sum > self.most.min(KEPT_BYTES) {
            return None;
        }
        *all = (all.0 + 1, sum);
        Some(LeftBehind { packets: self, bytes })
    }

    fn enqueue(&self, packet: Packet, place: mpsc::Permit<'_, Packet>) {
        self.bytes.fetch_add(packet.len(), Ordering::AcqRel);
        if !self.events.wants(EventKind::DataReceived) {
            return place.send(packet);
        }
        // Streams have a task each, which may run at the same time.
        let order = self.kept();
        self.events.emit(packet.event());
        place.send(packet);
        drop(order);
    }
}

impl Kept {
    /// The oldest give way to it.
    fn push(&mut self, packet: Packet, most: u64, total: &AtomicU64) {
        let most = most.min(KEPT_BYTES);
        if packet.len() > most {
            return;
        }
        while self.packets.len() >= QUEUE || self.bytes + packet.len() > most {
            if self.pop(total).is_none() {
                break;
            }
        }
        self.bytes += packet.len();
        total.fetch_add(packet.len(), Ordering::AcqRel);
        self.packets.push_back(packet);
    }

    fn pop(&mut self, total: &AtomicU64) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.bytes = self.bytes.saturating_sub(packet.len());
        total.fetch_sub(packet.len(), Ordering::AcqRel);
        Some(packet)
    }
}

impl Packet {
    fn len(&self) -> u64 {
        u64::try_from(self.data.len()).unwrap_or(u64::MAX)
    }

    fn event(&self) -> Event {
        Event::DataReceived {
            session_id: self.session_id,
            stream_id: self.stream_id,
            data: self.data.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u8, len: usize) -> Packet {
        let data = Bytes::from(vec![number; len]);
        Packet { session_id: SessionId::from_bytes([1; 8]), stream_id: 1, data }
    }

    #[tokio::test]
    async fn what_is_kept_is_the_last_and_bounded() {
        let (packets, _queue) = Packets::new(EventEmitter::new(), 100);
        let keep = |packet| packets.kept().push(packet, 100, &packets.bytes);
        keep(packet(0, 101));
        assert_eq!(packets.waiting(), 0, "one that is too long for it");
        for number in 0..20 {
            keep(packet(number, 10));
        }
        assert_eq!(packets.waiting(), 100);
        for number in 10..20 {
            assert_eq!(packets.receive_kept().unwrap().data[0], number);
        }
        assert!(packets.receive_kept().is_none());
        for _ in 0..2 * QUEUE {
            keep(packet(0, 0));
        }
        assert_eq!(packets.kept().packets.len(), QUEUE);
    }

    #[tokio::test]
    async fn who_receives_has_precedence_and_nobody_gets_only_what_is_over() {
        let (packets, _queue) = Packets::new(EventEmitter::new(), 100);
        let over = || std::future::ready(());
        assert!(matches!(packets.taker(over()).await, Some(Taker::Nobody)));
        let place = packets.leave_behind(100).unwrap();
        assert!(packets.leave_behind(1).is_none());
        drop(place);
        assert!(packets.leave_behind(1).is_some());
        assert!(packets.receive_kept().is_none());
        assert!(matches!(packets.taker(over()).await, Some(Taker::Queue(_))));
    }
}
