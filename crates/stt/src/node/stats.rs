//! Figures of a node.

use crate::NodeId;
pub use crate::limits::LimitStats;
pub use stt_transport::TransportStats;

/// Sessions of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionCounts {
    /// Since the node started.
    pub total: u64,
    /// Alive now.
    pub active: usize,
}

/// Figures of a node, from its start until now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeStats {
    /// Who it is.
    pub node_id: NodeId,
    /// Whether it has not been stopped.
    pub running: bool,
    /// Whether it was started in server mode.
    pub server_mode: bool,
    /// Whether peers get sessions at the moment.
    pub accepting_connections: bool,
    /// What went over UDP and WebSockets, and what was dropped and why.
    pub udp_transport: TransportStats,
    /// Sessions.
    pub sessions: SessionCounts,
    /// WebSockets that are open, dialled and accepted; one whose session is not there yet or no
    /// more included.
    pub websocket_connections: usize,
    /// What the limits of the node refused or held up.
    pub limits: LimitStats,
}
