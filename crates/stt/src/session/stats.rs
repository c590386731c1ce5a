//! Figures of one session.

use std::time::Duration;

use super::SessionShared;
use crate::delivery::AssemblerStats;

/// Figures of one session, from its start until now.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SessionStats {
    /// Time since the handshake completed.
    pub age: Duration,
    /// Time that the handshake took, from the first datagram to the confirmation.
    pub handshake_time: Duration,
    /// Smoothed round-trip time.
    pub round_trip: Duration,
    /// Bytes of all datagrams sent.
    pub bytes_sent: u64,
    /// Bytes of all datagrams received.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Packets sent that were found lost, MTU probes not counted.
    pub packets_lost: u64,
    /// Largest datagram that the path is known to carry, in bytes.
    pub path_mtu: u16,
    /// Bytes that may be under way at once.
    pub congestion_window: u64,
    /// Streams in which something may still happen.
    pub active_streams: usize,
    /// What arrived of repair-coded messages.
    pub repair: AssemblerStats,
    /// Datagrams of a kind that this side does not know.
    pub unknown_datagrams: u64,
    /// Messages and frames outside of any order that arrived and found their queue full.
    pub dropped_messages: u64,
}

impl SessionStats {
    pub(super) fn of(session: &SessionShared) -> Self {
        let quic = session.connection.stats();
        let (unknown_datagrams, dropped_messages) = session.datagrams.lost();
        Self {
            age: session.since.elapsed(),
            handshake_time: session.handshake_time,
            round_trip: quic.round_trip,
            bytes_sent: quic.bytes_sent,
            bytes_received: quic.bytes_received,
            datagrams_sent: quic.datagrams_sent,
            datagrams_received: quic.datagrams_received,
            packets_lost: quic.packets_lost,
            path_mtu: quic.path_mtu,
            congestion_window: quic.congestion_window,
            active_streams: session.table().active() + session.labelled().active(),
            repair: session.datagrams.assembled(),
            unknown_datagrams,
            dropped_messages,
        }
    }
}
