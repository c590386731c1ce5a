//! What sessions need of the node that they belong to, and no more.

use std::{sync::Arc, time::Duration};

use stt_transport::{Route, internal::Pool};

use super::{Packets, SessionShared};
use crate::{
    CloseReason,
    limits::{LimitCounters, Limits, NodeBudget, Throttle},
    protocol::Protocols,
};

/// When a quiet session asks its peer for a sign of life, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    pub(crate) heartbeat: Duration,
    pub(crate) idle_timeout: Duration,
}

/// What the sessions of a node have in common.
pub(crate) struct Common {
    pub(crate) limits: Limits,
    pub(crate) pulse: Pulse,
    pub(crate) unread: Arc<NodeBudget>,
    pub(crate) in_flight: Arc<Pool>,
    /// The bandwidth of all of them together.
    pub(crate) throttle: Throttle,
    pub(crate) counters: LimitCounters,
    /// Who handles which protocol.
    pub(crate) protocols: Arc<Protocols>,
    /// Messages of streams that nobody claimed.
    pub(crate) packets: Packets,
}

/// Hears what becomes of its sessions.
pub(crate) trait SessionHost: Send + Sync {
    fn session_ended(&self, session: &Arc<SessionShared>, reason: &CloseReason);

    /// A resumable session that has its id outlives this one, and will tell when it is over. False
    /// if this one ended already.
    fn outlive(&self, session: &Arc<SessionShared>) -> bool;

    fn heartbeat_missed(&self, session: &SessionShared, missed: u32, silence: Duration);

    fn route_changed(&self, session: &SessionShared, from: Route, to: Route);

    /// Something needs the attention of the person who runs the node.
    fn warn(&self, code: &'static str, details: String);

    /// A session wants more in flight than the node has left: quiet ones give theirs back.
    fn reclaim(&self);
}
