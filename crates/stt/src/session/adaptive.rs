//! Adaptive priorities of one session.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::SessionShared;
use crate::{
    ContentId,
    priority::{AdaptivePriority, PriorityReport, Surroundings},
};

/// Made when the first stream asks for it.
#[derive(Debug, Default)]
pub(crate) struct Adaptive {
    state: Mutex<Option<Box<State>>>,
}

#[derive(Debug)]
struct State {
    contents: AdaptivePriority,
    shortest: Duration,
    affinity: f64,
}

impl Adaptive {
    fn lock(&self) -> MutexGuard<'_, Option<Box<State>>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The share of hits in the affinity pool, 0 to 1.
    pub(crate) fn set_affinity(&self, affinity: f64) {
        self.lock().get_or_insert_with(State::new).affinity = affinity;
    }

    /// A content was read or asked for.
    pub(crate) fn accessed(&self, content: &ContentId) {
        self.lock().get_or_insert_with(State::new).contents.accessed(content, Instant::now());
    }
}

impl State {
    fn new() -> Box<Self> {
        let contents = AdaptivePriority::new();
        Box::new(Self { contents, shortest: Duration::MAX, affinity: 0.5 })
    }
}

impl SessionShared {
    /// The priority of a message now.
    ///
    /// Congestion is the share of the round trip that is spent in queues: what it takes now over
    /// the shortest that was seen.
    pub(crate) fn assess(&self, message: &[u8]) -> PriorityReport {
        let content = ContentId::of(message);
        let now = self.connection.rtt();
        let mut state = self.adaptive.lock();
        let state = state.get_or_insert_with(State::new);
        state.shortest = state.shortest.min(now);
        let shortest = state.shortest.as_secs_f64();
        let congestion = if now.is_zero() { 0.0 } else { 1.0 - shortest / now.as_secs_f64() };
        let around = Surroundings { congestion, affinity: state.affinity };
        state.contents.assess(&content, around, Instant::now())
    }
}
