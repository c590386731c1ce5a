//! Streams that peers began and no program has accepted yet.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use stt::{NodeId, Stream};
use stt_streams::BidirectionalStream;
use tokio::sync::Notify;

/// Streams that wait, of all peers and of one.
const WAITING_MAX: (usize, usize) = (256, 32);
/// Tells a peer that nobody takes its stream.
pub(crate) const NOBODY: u32 = 1;

/// What waits here.
pub(crate) trait Arrival {
    /// Whether nobody can use it any more.
    fn is_gone(&self) -> bool;
    /// There is no room for it.
    fn refuse(self);
}

impl Arrival for Stream {
    fn is_gone(&self) -> bool {
        self.session().close_reason().is_some()
    }

    fn refuse(self) {
        self.reset(NOBODY);
    }
}

impl Arrival for BidirectionalStream {
    fn is_gone(&self) -> bool {
        self.stream().ended().is_some()
    }

    fn refuse(self) {
        self.stream().abort();
    }
}

/// They wait in the order of their arrival.
pub(crate) struct Arrivals<S> {
    waiting: Mutex<VecDeque<(NodeId, S)>>,
    news: Notify,
}

impl<S> Default for Arrivals<S> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), news: Notify::new() }
    }
}

impl<S: Arrival> Arrivals<S> {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(NodeId, S)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn offer(&self, peer: NodeId, stream: S) {
        let mut waiting = self.lock();
        waiting.retain(|(_, stream)| !stream.is_gone());
        let of_peer = waiting.iter().filter(|(from, _)| *from == peer).count();
        if waiting.len() >= WAITING_MAX.0 || of_peer >= WAITING_MAX.1 {
            drop(waiting);
            stream.refuse();
            return;
        }
        waiting.push_back((peer, stream));
        drop(waiting);
        self.news.notify_waiters();
    }

    fn try_take(&self, wanted: Option<NodeId>) -> Option<(NodeId, S)> {
        let mut waiting = self.lock();
        let at = waiting.iter().position(|(peer, stream)| {
            wanted.is_none_or(|wanted| wanted == *peer) && !stream.is_gone()
        })?;
        waiting.remove(at)
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
