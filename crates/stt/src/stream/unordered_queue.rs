//! Messages that came whole and outside of any order: by datagram, repair code or deadline; and frames
//! of the application in datagrams.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use crate::limits::SessionBudget;

/// What the place of a message in a queue takes, beside its bytes.
const PLACE: u64 = 96;

/// A bounded queue; a message that does not fit is lost, as its delivery mode allows.
#[derive(Debug, Default)]
pub(crate) struct UnorderedQueue {
    messages: VecDeque<(Bytes, Share)>,
    bytes: usize,
}

/// Bytes that all queues of a session may hold together.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    used: Arc<AtomicUsize>,
    max: usize,
    /// Where all unread bytes of the session are counted.
    account: Arc<SessionBudget>,
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
struct Share {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// At most `max` bytes of one session.
    pub(crate) fn new(max: usize, account: Arc<SessionBudget>) -> Self {
        Self { used: Arc::default(), max, account }
    }

    fn take(&self, bytes: usize) -> Option<Share> {
        if self.account.must_wait() {
            return None;
        }
        let share = Share { budget: self.clone(), bytes };
        self.account.add(share.charge());
        let before = self.used.fetch_add(bytes, Ordering::AcqRel);
        // Dropped again, and so given back, when it is too much.
        (before == 0 || before + bytes <= self.max).then_some(share)
    }
}

impl Share {
    /// Empty messages take memory too, and there may be many of them.
    fn charge(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(u64::MAX).saturating_add(PLACE)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.account.remove(self.charge());
    }
}

impl UnorderedQueue {
    /// Messages that wait for the application, at most.
    pub(crate) const MAX_MESSAGES: usize = 1_024;
    /// Their bytes, at most; one message always fits.
    pub(crate) const MAX_BYTES: usize = 4 << 20;

    /// False if it does not fit.
    pub(crate) fn push(&mut self, message: Bytes, budget: &Budget) -> bool {
        let fits = self.messages.is_empty()
            || (self.messages.len() < Self::MAX_MESSAGES
                && self.bytes + message.len() <= Self::MAX_BYTES);
        let share = if fits { budget.take(message.len()) } else { None };
        let Some(share) = share else { return false };
        self.bytes += message.len();
        self.messages.push_back((message, share));
        true
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let (message, _share) = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(32 << 20, SessionBudget::boundless())
    }

    #[test]
    fn it_is_bounded_in_messages_and_bytes() {
        let (mut loose, budget) = (UnorderedQueue::default(), budget());
        assert!(loose.push(vec![0; 5 << 20].into(), &budget), "one always fits");
        assert!(!loose.push(Bytes::from_static(b"x"), &budget));
        loose.pop().unwrap();
        for _ in 0..UnorderedQueue::MAX_MESSAGES {
            assert!(loose.push(Bytes::new(), &budget));
        }
        assert!(!loose.push(Bytes::new(), &budget));
    }

    #[test]
    fn all_streams_together_are_bounded_and_give_back_what_they_held() {
        let budget = budget();
        let message = Bytes::from(vec![0; 4 << 20]);
        let mut streams: Vec<UnorderedQueue> = (0..9).map(|_| UnorderedQueue::default()).collect();
        let taken =
            streams.iter_mut().filter_map(|it| it.push(message.clone(), &budget).then_some(()));
        assert_eq!(taken.count(), 8);
        streams.truncate(4);
        assert!(streams[3].pop().is_some());
        assert!(streams[3].push(message, &budget));
        drop(streams);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
