//! What the wire counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::limits::Rejected;

/// Defines the counters and their snapshot alike.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters that everything on the wire adds to.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
        }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct TransportStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> TransportStats {
                TransportStats { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Bytes of datagrams sent, without IP and UDP headers.
    bytes_sent,
    /// Datagrams sent.
    datagrams_sent,
    /// Bytes of datagrams received, those of strangers included.
    bytes_received,
    /// Datagrams received, those of strangers included.
    datagrams_received,
    /// Sends that the system refused. The packets count as lost and are sent again.
    send_errors,
    /// Receives that failed.
    receive_errors,
    /// Answers that the engine wanted to give outside of a session, and that were not sent.
    answers_withheld,
    /// Datagrams dropped because a member sent them that speaks another version of the wire.
    dropped_other_version,
    /// Knocks of members dropped because they expect another node here.
    dropped_other_node,
    /// Datagrams, and requests for a WebSocket, dropped because no seed of the keyring fits:
    /// strangers, or a wrong seed.
    dropped_unknown,
    /// Knocks of members dropped because their time is too far from ours: a wrong clock.
    dropped_stale,
    /// Knocks of members dropped because they were used before.
    dropped_replayed,
    /// Knocks of members dropped because they may have been used before this node's memory of used
    /// ones begins, which is its start or, with a log of knocks, that of the machine.
    dropped_forgotten,
    /// Knocks of members dropped because they carry no time, and no more of those are let in.
    dropped_timeless,
    /// Knocks of members dropped because there was no room to remember them as used: of clocks that
    /// are ahead, or of a second in which there were too many.
    dropped_full,
    /// Knocks of members dropped because their address began too many handshakes lately.
    dropped_too_often,
    /// Knocks of members dropped because there are too many unfinished handshakes.
    dropped_crowded,
    /// TCP connections to the WebSocket listener dropped because there are too many that did not send
    /// their request, or too many of their address.
    dropped_requests,
    /// First flights of members dropped because they did not verify.
    dropped_tampered,
    /// Used knocks that could not be written to their log.
    knock_log_errors,
    /// Handshakes that failed after a genuine knock.
    handshakes_failed,
    /// Those of them with a peer that speaks other versions of the protocol. It was told so.
    handshakes_other_version,
    /// Handshakes of members that were not finished in time, or gave way to others.
    handshakes_expired,
}

impl TransportStats {
    /// Who did not get in and why, for an operator: a stable name, how often, and what it means. Only
    /// reasons that occurred. But for `other_protocol` nobody was given an answer.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
        [
            ("unknown", self.dropped_unknown, "no seed and no session of this node fits: a stranger, a peer with another seed, or one whose session this node has ended or forgotten, by a restart for example"),
            ("stale", self.dropped_stale, "a peer's clock and this one differ by more than the window: set both; or somebody sends an old recording"),
            ("replayed", self.dropped_replayed, "a first packet that was used before: somebody sends a recording, or the network repeats"),
            ("forgotten", self.dropped_forgotten, "a first packet of a time of which this node does not know what was used, before its start as a rule: a peer whose clock is behind, or somebody sends a recording"),
            ("timeless", self.dropped_timeless, "a device without a clock, and no more of those are let in"),
            ("full", self.dropped_full, "too many handshakes within the clock window: a flood, and a peer whose clock is ahead has to wait"),
            ("other_version", self.dropped_other_version, "a peer speaks another version of the wire: one side needs an update"),
            ("other_protocol", self.handshakes_other_version, "a peer speaks no version of the protocol that this node speaks, and was told so: one side needs an update"),
            ("other_node", self.dropped_other_node, "a peer expects a node with another id here"),
            ("tampered", self.dropped_tampered, "a first packet of a peer did not verify: it was changed on the way"),
            ("too_often", self.dropped_too_often, "one address began too many handshakes"),
            ("crowded", self.dropped_crowded, "there are too many unfinished handshakes"),
            ("requests", self.dropped_requests, "TCP connections to the WebSocket port, too many of which had not sent their request"),
        ]
        .into_iter()
        .filter(|(_, count, _)| *count > 0)
    }
}

impl Counters {
    /// The counter of knocks that the door was shut to.
    pub(crate) const fn shut(&self, why: Rejected) -> &AtomicU64 {
        match why {
            Rejected::TooOften => &self.dropped_too_often,
            Rejected::Crowded => &self.dropped_crowded,
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds `amount`.
pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(u64::try_from(amount).unwrap_or(u64::MAX), Relaxed);
}
