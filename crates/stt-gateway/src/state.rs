//! What the services share.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use stt::Node;
use stt_store::Chamber;
use stt_swarm::Swarm;
use tokio::sync::watch;

use crate::{
    LogLevels, arrivals::Arrivals, events::Events, health::HealthBoard, managed::Managed,
    metrics::Metrics, peers::PeerTable,
};

/// How far the end of the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Calls are taken.
    Serving,
    /// Calls that run may end; those that only watch do at once.
    Draining,
    /// Every call ends now.
    Ending,
}

/// What the services share.
pub(crate) struct State {
    pub(crate) node: Node,
    pub(crate) chamber: Chamber,
    /// What the node takes part in, if anything.
    pub(crate) swarm: Option<Swarm>,
    pub(crate) started: Instant,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) health: HealthBoard,
    pub(crate) events: Events,
    pub(crate) peers: PeerTable,
    pub(crate) arrivals: Arrivals<stt::Stream>,
    pub(crate) managed: Managed,
    pub(crate) metrics: Metrics,
    pub(crate) log_levels: Option<Arc<dyn LogLevels>>,
    /// Bytes of a message.
    pub(crate) max_message: usize,
}

/// The state, shared.
pub(crate) type Shared = Arc<State>;

impl State {
    /// Ready once the gateway is in `phase` or past it.
    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
