//! Streams that peers began and no program has accepted yet.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use stt::{NodeId, Stream};
use stt_streams::{BidirectionalStream, StreamsError};
use tokio::sync::Notify;

/// Streams that wait, of all peers and of one.
const WAITING_MAX: (usize, usize) = (256, 32);
/// How long one that its peer has closed waits for a program, as long as one that is silent.
const CLOSED_WAITS: Duration = Duration::from_secs(300);
/// Tells a peer that nobody takes its stream.
pub(crate) const NOBODY: u32 = 1;

/// What waits here.
pub(crate) trait Arrival {
    /// Whether nobody can use it any more, after it has waited so long.
    fn is_gone(&self, waited: Duration) -> bool;
    /// There is no room for it.
    fn refuse(self);
}

impl Arrival for Stream {
    fn is_gone(&self, _waited: Duration) -> bool {
        self.session().close_reason().is_some()
    }

    fn refuse(self) {
        self.reset(NOBODY);
    }
}

impl Arrival for BidirectionalStream {
    fn is_gone(&self, waited: Duration) -> bool {
        match self.stream().ended() {
            None => false,
            // The peer has closed it, and what it sent before is acknowledged.
            Some(StreamsError::Closed) => {
                waited > CLOSED_WAITS || self.stream().metrics().inbound_bytes == 0
            }
            Some(_) => true,
        }
    }

    fn refuse(self) {
        self.stream().abort();
    }
}

struct Waiting<S> {
    peer: NodeId,
    stream: S,
    since: Instant,
}

impl<S: Arrival> Waiting<S> {
    fn is_gone(&self) -> bool {
        self.stream.is_gone(self.since.elapsed())
    }
}

/// They wait in the order of their arrival.
pub(crate) struct Arrivals<S> {
    waiting: Mutex<VecDeque<Waiting<S>>>,
    news: Notify,
}

impl<S> Default for Arrivals<S> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), news: Notify::new() }
    }
}

impl<S: Arrival> Arrivals<S> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting<S>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn offer(&self, peer: NodeId, stream: S) {
        let mut waiting = self.lock();
        waiting.retain(|one| !one.is_gone());
        let of_peer = waiting.iter().filter(|one| one.peer == peer).count();
        if waiting.len() >= WAITING_MAX.0 || of_peer >= WAITING_MAX.1 {
            drop(waiting);
            stream.refuse();
            return;
        }
        waiting.push_back(Waiting { peer, stream, since: Instant::now() });
        drop(waiting);
        self.news.notify_waiters();
    }

    fn try_take(&self, wanted: Option<NodeId>) -> Option<(NodeId, S)> {
        let mut waiting = self.lock();
        let at = waiting
            .iter()
            .position(|one| wanted.is_none_or(|wanted| wanted == one.peer) && !one.is_gone())?;
        waiting.remove(at).map(|one| (one.peer, one.stream))
    }

    /// The one that has waited longest, of `wanted` if that is said.
    pub(crate) async fn take(&self, wanted: Option<NodeId>) -> (NodeId, S) {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            // From here on no arrival is missed.
            news.as_mut().enable();
            if let Some(arrived) = self.try_take(wanted) {
                return arrived;
            }
            news.await;
        }
    }
}
