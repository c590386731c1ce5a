//! What limits did.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the limits of a node refused or held up, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStats {
    /// Sessions refused because the node has as many as it may.
    pub sessions_refused: u64,
    /// Streams of peers refused because their session has as many as it may.
    pub streams_refused: u64,
    /// How often a session was not read from because the node holds as many unread bytes as it may
    /// and the session more than its share.
    pub reads_held_up: u64,
    /// How often a session could not have a larger send window because the node has as many
    /// unacknowledged bytes as it may.
    pub send_windows_held_down: u64,
    /// Bytes that arrived and nobody took, at this moment: of streams, of messages and frames in
    /// datagrams with a little for each, and of messages that are not whole yet.
    pub unread_bytes: u64,
    /// Handshakes that are not finished, at this moment.
    pub half_open: usize,
    /// Bytes that peers can make this node hold by what they send, at most, whatever their number
    /// and whatever they leave out: it follows from the settings (docs/sessions.md, "Limits"). What
    /// the application itself keeps and sends comes on top, and so do resumable sessions
    /// (docs/resume.md, "Bounds").
    pub memory_bound: u64,
}

/// The counters among them.
#[derive(Debug, Default)]
pub(crate) struct LimitCounters {
    pub(crate) sessions_refused: AtomicU64,
    pub(crate) streams_refused: AtomicU64,
    pub(crate) reads_held_up: AtomicU64,
    pub(crate) send_windows_held_down: AtomicU64,
}

impl LimitCounters {
    /// The counters, and what there is at this moment.
    pub(crate) fn snapshot(
        &self,
        unread_bytes: u64,
        half_open: usize,
        memory_bound: u64,
    ) -> LimitStats {
        LimitStats {
            sessions_refused: self.sessions_refused.load(Relaxed),
            streams_refused: self.streams_refused.load(Relaxed),
            reads_held_up: self.reads_held_up.load(Relaxed),
            send_windows_held_down: self.send_windows_held_down.load(Relaxed),
            unread_bytes,
            half_open,
            memory_bound,
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
