//! What a node may be made to hold: one number that follows from its settings.

use super::Limits;

/// A session that does nothing: measured 38 KiB.
const SESSION: u64 = 48 << 10;
/// A stream of QUIC that a peer opened, with the task that reads it and its place in the engine.
const STREAM: u64 = 3 << 10;
/// What the engine may hold of a session before its credit grows.
const FIRST_CREDIT: u64 = 64 << 10;
/// What the control stream and the streams without a header may hold.
const UNCOUNTED: u64 = 128 << 10;
/// An unfinished handshake, with the datagrams that wait for it.
const HANDSHAKE: u64 = 64 << 10;
/// A WebSocket: what is read and not whole, and what waits for a peer that takes nothing.
const WEBSOCKET: u64 = 640 << 10;
/// What all have in common: buffers of the socket and of received datagrams, used knocks,
/// addresses.
const NODE: u64 = 24 << 20;

impl Limits {
    /// QUIC streams that a peer may have at once: for those with numbers, for as many of protocols,
    /// for messages with a deadline, and a few for the session itself.
    pub(crate) fn peer_streams(&self) -> usize {
        let most = self.max_streams.saturating_mul(2).saturating_add(80);
        most.min(1 << 10)
    }

    /// Bytes that peers can make a node hold by what they send, at most: those of the number of
    /// nodes and addresses that they have, and of what they leave out. Without `websockets` none
    /// are listened for.
    pub(crate) fn memory_bound(&self, websockets: bool) -> u64 {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let (sessions, half_open) = (count(self.max_sessions), count(self.max_half_open));
        let unread = self.max_node_buffer;
        let each = SESSION
            + FIRST_CREDIT
            + UNCOUNTED
            + count(self.datagram_buffer)
            + STREAM.saturating_mul(count(self.peer_streams()));
        let shares = (unread / sessions.max(1)).max(16 << 10).saturating_mul(sessions);
        let peers = sessions.saturating_add(half_open);
        [
            unread,
            shares,
            // In the engine, not read yet; short pieces that hold their buffers; for `receive`.
            unread,
            unread / 8,
            unread / 4,
            each.saturating_mul(sessions),
            HANDSHAKE.saturating_mul(half_open),
            if websockets { WEBSOCKET.saturating_mul(peers) } else { 0 },
            NODE,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_follows_from_the_settings() {
        let bound = |limits: Limits| limits.memory_bound(false) >> 20;
        let low = Limits::low_memory();
        assert!((60..100).contains(&bound(low)), "{}", bound(low));
        assert!(low.memory_bound(true) > low.memory_bound(false));
        let fewer = Limits { max_sessions: 8, ..low };
        assert!(bound(fewer) < bound(low));
        let more = Limits { max_node_buffer: 64 << 20, ..low };
        assert!(bound(more) > bound(low) + 120);
        let all = Limits { max_sessions: usize::MAX, max_node_buffer: u64::MAX, ..low };
        assert_eq!(all.memory_bound(true), u64::MAX);
    }
}
