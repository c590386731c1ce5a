//! What a stream tells about itself.

use std::{sync::Arc, time::Duration};

use crate::{BreakerState, ErrorClass, Trigger};

/// Something happened to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamEvent {
    /// Which.
    pub stream: Arc<str>,
    /// What.
    pub kind: StreamEventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEventKind {
    /// The manager made it.
    Created,
    /// It has a transport, and the peer has answered.
    Connected,
    /// Its transport failed.
    Disconnected {
        /// How the failure is treated.
        class: ErrorClass,
        /// One line.
        cause: String,
    },
    /// A failed attempt to connect is made again.
    Retry {
        /// Which retry of this stream, from 1.
        retry: u32,
        /// The wait before it.
        delay: Duration,
        /// The last failure.
        cause: String,
    },
    /// The circuit breaker of its destination changed.
    Breaker(BreakerState),
    /// There is too much of something: send less.
    BackpressureOn(Trigger),
    /// It is over.
    BackpressureOff,
    /// The peer asks for half as much at once, because its application is slow; or no longer.
    Pace {
        /// Whether it asks for less.
        slower: bool,
    },
    /// Old messages of a lossy stream made room for a new one.
    Dropped {
        /// How many.
        messages: u64,
    },
    /// Nothing was heard in time.
    HeartbeatMissed {
        /// How many in a row.
        missed: u32,
    },
    /// It became healthy or unhealthy.
    Health {
        /// Which of the two.
        healthy: bool,
    },
    /// It ended; `cause` is `None` after an orderly close.
    Ended {
        /// The code of the error.
        cause: Option<&'static str>,
    },
}
