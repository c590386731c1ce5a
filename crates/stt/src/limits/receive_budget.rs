//! Bytes that arrived and nobody took, of all sessions of a node together.
//!
//! While there is room, every stream may fill its own window. Once the node's room is used up, the
//! sessions that hold more than a small share are not read from, so that QUIC's flow control stops
//! their senders; those that hold less go on as if nothing were.

use std::sync::{
    Arc,
    atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

use tokio::sync::Notify;

/// What a session may hold in any case, where there may be very many of them.
const LEAST_SHARE: u64 = 16 << 10;

/// What a short piece may hold that is left in the buffer that it came in.
const BUFFER: u64 = 64 << 10;

/// The part of the limit that such buffers may take beyond it.
const PINNED_PART: u64 = 8;

/// The unread bytes of a node.
#[derive(Debug)]
pub(crate) struct NodeBudget {
    limit: u64,
    /// What each session may hold beyond it. It does not depend on how many there are just now: those
    /// that came early would keep what was a share then.
    share: u64,
    total: AtomicU64,
    /// Short pieces that are left where they came.
    pinned: AtomicUsize,
    max_pinned: usize,
    /// Readers that wait for room. In one order with the bytes: who takes some must see who waits,
    /// or who waits must see the room.
    waiting: AtomicUsize,
    room: Notify,
}

/// The unread bytes of one session, counted in those of its node.
#[derive(Debug)]
pub(crate) struct SessionBudget {
    node: Arc<NodeBudget>,
    bytes: AtomicU64,
}

impl NodeBudget {
    /// A node that may hold `limit` bytes, of `max_sessions` at most.
    pub(crate) fn new(limit: u64, max_sessions: usize) -> Self {
        let max_sessions = u64::try_from(max_sessions).unwrap_or(u64::MAX).max(1);
        Self {
            limit,
            share: (limit / max_sessions).max(LEAST_SHARE),
            total: AtomicU64::new(0),
            pinned: AtomicUsize::new(0),
            max_pinned: usize::try_from(limit / PINNED_PART / BUFFER).unwrap_or(usize::MAX),
            waiting: AtomicUsize::new(0),
            room: Notify::const_new(),
        }
    }

    /// What the unread bytes of all sessions take.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(SeqCst)
    }
}

impl SessionBudget {
    /// A new session that holds nothing.
    pub(crate) fn new(node: Arc<NodeBudget>) -> Self {
        Self { node, bytes: AtomicU64::new(0) }
    }

    /// That of a test, without bounds.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn boundless() -> Arc<Self> {
        Arc::new(Self::new(Arc::new(NodeBudget::new(u64::MAX, 1))))
    }

    /// `bytes` arrived, or what arrived takes so many more.
    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, SeqCst);
        self.node.total.fetch_add(bytes, SeqCst);
    }

    /// `bytes` were taken or thrown away.
    pub(crate) fn remove(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, SeqCst);
        self.node.total.fetch_sub(bytes, SeqCst);
        if self.node.waiting.load(SeqCst) > 0 && !self.must_wait() {
            self.node.room.notify_waiters();
        }
    }

    /// Whether one more short piece may hold the whole buffer that it came in. It is to be given
    /// back with [`Self::unpin`].
    pub(crate) fn pin(&self) -> bool {
        let more = |pinned| (pinned < self.node.max_pinned).then(|| pinned + 1);
        self.node.pinned.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// So many pieces hold their buffers no more.
    pub(crate) fn unpin(&self, pieces: usize) {
        self.node.pinned.fetch_sub(pieces, Relaxed);
    }

    /// Whether nothing more should be read for this session now.
    pub(crate) fn must_wait(&self) -> bool {
        self.node.total.load(SeqCst) > self.node.limit && self.bytes.load(SeqCst) > self.node.share
    }

    /// The largest piece to read at once: a task that was let in may wait for its bytes, and then
    /// takes so much, whatever was read meanwhile.
    pub(crate) fn piece(&self) -> usize {
        usize::try_from(self.node.limit / 4_096).unwrap_or(usize::MAX).max(1 << 10)
    }

    /// Waits until more may be read.
    pub(crate) async fn room(&self) {
        while self.must_wait() {
            self.node.waiting.fetch_add(1, SeqCst);
            let leave = Leave(&self.node);
            let room = self.node.room.notified();
            let mut room = std::pin::pin!(room);
            room.as_mut().enable();
            // It may have come between the two.
            if !self.must_wait() {
                return;
            }
            room.await;
            drop(leave);
        }
    }
}

impl Drop for SessionBudget {
    fn drop(&mut self) {
        let left = *self.bytes.get_mut();
        self.node.total.fetch_sub(left, SeqCst);
        if self.node.waiting.load(SeqCst) > 0 {
            self.node.room.notify_waiters();
        }
    }
}

/// What one thing takes of a session's account, until dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    held: Arc<SessionBudget>,
    bytes: u64,
}

impl Charge {
    /// Nothing yet.
    pub(crate) const fn new(held: Arc<SessionBudget>) -> Self {
        Self { held, bytes: 0 }
    }

    /// How much it is.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// It is as much as this now.
    pub(crate) fn set(&mut self, bytes: u64) {
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => self.held.add(more),
            None => self.held.remove(self.bytes - bytes),
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Somebody who waits, until dropped.
struct Leave<'a>(&'a NodeBudget);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    #[test]
    fn only_who_holds_more_than_a_share_waits() {
        let node = Arc::new(NodeBudget::new(1_000 * KIB, 10));
        let [greedy, modest] = [(); 2].map(|()| SessionBudget::new(Arc::clone(&node)));
        greedy.add(1_000 * KIB);
        assert!(!greedy.must_wait(), "there was room");
        modest.add(100 * KIB);
        assert!(greedy.must_wait());
        assert!(!modest.must_wait());
        modest.add(1);
        assert!(modest.must_wait());
        greedy.remove(600 * KIB);
        assert!(!greedy.must_wait() && !modest.must_wait());
        drop(greedy);
        assert_eq!(node.total(), 100 * KIB + 1);
    }

    #[test]
    fn however_many_come_one_after_the_other_all_hold_twice_the_limit_at_most() {
        let limit = 16 * KIB * 64;
        let node = Arc::new(NodeBudget::new(limit, 64));
        let sessions: Vec<_> = (0..64).map(|_| SessionBudget::new(Arc::clone(&node))).collect();
        for session in &sessions {
            while !session.must_wait() {
                session.add(KIB);
            }
        }
        assert!(node.total() <= 2 * limit + 64 * KIB, "{}", node.total());
    }

    #[tokio::test]
    async fn who_waits_is_told_of_room_and_of_sessions_that_end() {
        let node = Arc::new(NodeBudget::new(100 * KIB, 1_000));
        let [a, b] = [(); 2].map(|()| Arc::new(SessionBudget::new(Arc::clone(&node))));
        let wait = |held: &Arc<SessionBudget>| {
            let held = Arc::clone(held);
            tokio::spawn(async move { held.room().await })
        };
        a.add(80 * KIB);
        b.add(80 * KIB);
        let waiting = wait(&a);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        b.remove(60 * KIB);
        waiting.await.unwrap();
        b.add(60 * KIB);
        let waiting = wait(&a);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(b);
        waiting.await.unwrap();
        assert_eq!(node.waiting.load(SeqCst), 0);
    }
}
