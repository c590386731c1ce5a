//! How one stream's messages are to be delivered, and what came of it.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    delivery::{Delivery, OverheadCap, Plan},
    priority::PriorityReport,
};

/// What a stream's delivery mode did so far. All zero for a reliable stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DeliveryStats {
    /// Messages sent in a mode other than reliable.
    pub messages: u64,
    /// Datagrams that carried them.
    pub packets: u64,
    /// Datagrams that repair them.
    pub repair_packets: u64,
    /// Messages for which the overhead cap did not allow the probability that was asked for.
    pub shortfalls: u64,
    /// Messages given up because their deadline passed.
    pub late: u64,
    /// How the last message with a probability was sent, the chance it had included.
    pub last_plan: Option<Plan>,
}

/// The choices and figures of one sending direction.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    state: Mutex<State>,
    /// Something was chosen, so every message has to ask what. Most streams have all defaults, and
    /// their messages take no lock for this.
    chosen: AtomicBool,
}

/// What is known at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    pub(crate) delivery: Delivery,
    pub(crate) cap: OverheadCap,
    pub(crate) adaptive: bool,
    pub(crate) stats: DeliveryStats,
    pub(crate) report: Option<PriorityReport>,
}

impl Sending {
    /// Whether a delivery mode or adaptive priority was ever chosen.
    pub(crate) fn is_chosen(&self) -> bool {
        self.chosen.load(Ordering::Acquire)
    }

    /// To be called with every choice.
    pub(crate) fn choose(&self) {
        self.chosen.store(true, Ordering::Release);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
