//! All limits of a node, with their defaults.

use std::num::NonZeroU64;

use super::DoorLimits;
use crate::congestion::{self, ReceiveWindow};

/// Bounds of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) door: DoorLimits,
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
    pub(crate) const HANDSHAKES_PER_SECOND: u32 = 128;
    pub(crate) const MAX_HALF_OPEN: usize = 1_024;
    pub(crate) const MAX_SESSIONS: usize = 16_384;
    pub(crate) const MAX_STREAMS: usize = 256;
    /// Bytes of a message.
    pub(crate) const MAX_FRAME_SIZE: u64 = 16 << 20;
    pub(crate) const MAX_SESSION_BUFFER: u64 = 256 << 20;
    pub(crate) const MAX_NODE_BUFFER: u64 = 1 << 30;
    pub(crate) const MAX_IN_FLIGHT: u64 = congestion::SEND_WINDOW;
    pub(crate) const MAX_NODE_IN_FLIGHT: u64 = 1 << 30;

    /// For devices with little memory.
    pub(crate) fn low_memory() -> Self {
        Self {
            door: DoorLimits { per_second: per_second(8), max_half_open: 16 },
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
            door: DoorLimits {
                per_second: per_second(Self::HANDSHAKES_PER_SECOND),
                max_half_open: Self::MAX_HALF_OPEN,
            },
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

/// At least one.
pub(crate) fn per_second(number: u32) -> NonZeroU64 {
    NonZeroU64::new(number.into()).unwrap_or(NonZeroU64::MIN)
}
