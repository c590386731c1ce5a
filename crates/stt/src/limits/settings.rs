//! All limits of a node, with their defaults.

use std::num::NonZeroU64;

use stt_transport::{EndpointConfig, congestion::ReceiveWindow};

use super::SendWindow;

/// Bounds of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From one address.
    pub(crate) handshakes_per_second: u32,
    pub(crate) max_half_open: usize,
    pub(crate) max_sessions: usize,
    pub(crate) max_streams: usize,
    pub(crate) max_frame_size: u64,
    /// Bytes that may wait unread in all streams of one session before windows stop growing.
    pub(crate) max_session_buffer: u64,
    /// Bytes that may wait unread in all sessions before the greedy are not read from.
    pub(crate) max_node_buffer: u64,
    /// Bytes that one session may have under way.
    pub(crate) max_in_flight: u64,
    /// Bytes that all sessions may have under way, beyond a little for each.
    pub(crate) max_node_in_flight: u64,
    pub(crate) session_bandwidth: Option<NonZeroU64>,
    pub(crate) node_bandwidth: Option<NonZeroU64>,
    /// Bytes of datagrams of an application that wait in the engine, in each direction, and of
    /// messages in no order that wait for it.
    pub(crate) datagram_buffer: usize,
    /// Bytes that a peer may send on all streams before it heard of credit.
    pub(crate) first_window: u32,
    /// Buffers asked of the system for the socket.
    pub(crate) socket_buffer: usize,
}

impl Limits {
    pub(crate) const HANDSHAKES_PER_SECOND: u32 = EndpointConfig::DEFAULT_HANDSHAKES_PER_SECOND;
    pub(crate) const MAX_HALF_OPEN: usize = EndpointConfig::DEFAULT_MAX_HALF_OPEN;
    pub(crate) const MAX_SESSIONS: usize = 16_384;
    pub(crate) const MAX_STREAMS: usize = 256;
    /// Bytes of a message.
    pub(crate) const MAX_FRAME_SIZE: u64 = 16 << 20;
    pub(crate) const MAX_SESSION_BUFFER: u64 = 256 << 20;
    pub(crate) const MAX_NODE_BUFFER: u64 = EndpointConfig::DEFAULT_RECEIVE_POOL;
    pub(crate) const MAX_IN_FLIGHT: u64 = EndpointConfig::DEFAULT_SEND_WINDOW;
    pub(crate) const MAX_NODE_IN_FLIGHT: u64 = 1 << 30;

    /// What of it the transport keeps.
    pub(crate) fn apply(&self, config: EndpointConfig) -> EndpointConfig {
        config
            .handshakes_per_second(self.handshakes_per_second)
            .max_half_open(self.max_half_open)
            .max_websockets(self.max_sessions)
            .send_window(SendWindow::first(self.max_in_flight))
            .receive_window(self.first_window, self.max_node_buffer)
            .datagram_buffer(self.datagram_buffer)
            .socket_buffer(self.socket_buffer)
    }

    /// For devices with little memory.
    pub(crate) fn low_memory() -> Self {
        Self {
            handshakes_per_second: 8,
            max_half_open: 16,
            max_sessions: 64,
            max_streams: 16,
            max_frame_size: 1 << 20,
            max_session_buffer: 0,
            max_node_buffer: 4 << 20,
            max_in_flight: 256 << 10,
            max_node_in_flight: 0,
            session_bandwidth: None,
            node_bandwidth: None,
            datagram_buffer: 64 << 10,
            first_window: 64 << 10,
            socket_buffer: 256 << 10,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes_per_second: Self::HANDSHAKES_PER_SECOND,
            max_half_open: Self::MAX_HALF_OPEN,
            max_sessions: Self::MAX_SESSIONS,
            max_streams: Self::MAX_STREAMS,
            max_frame_size: Self::MAX_FRAME_SIZE,
            max_session_buffer: Self::MAX_SESSION_BUFFER,
            max_node_buffer: Self::MAX_NODE_BUFFER,
            max_in_flight: Self::MAX_IN_FLIGHT,
            max_node_in_flight: Self::MAX_NODE_IN_FLIGHT,
            session_bandwidth: None,
            node_bandwidth: None,
            datagram_buffer: 4 << 20,
            first_window: ReceiveWindow::FIRST,
            socket_buffer: 4 << 20,
        }
    }
}
