//! Why the gateway itself refuses a call.

/// Why the gateway itself refuses a call; what the node or the store refuse has their own codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A field of the request cannot be used. INVALID_ARGUMENT, with BadRequest in the details.
    #[error("{field}: {what}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// No token was shown, or a wrong one. UNAUTHENTICATED.
    #[error("this call needs the gateway's bearer token")]
    Unauthenticated,
    /// The caller's deadline passed. DEADLINE_EXCEEDED.
    #[error("the deadline of {millis} ms passed")]
    Deadline {
        /// Milliseconds that the call had.
        millis: u64,
    },
    /// A message is longer than the gateway's one limit. RESOURCE_EXHAUSTED.
    #[error("a message of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its length.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// There are as many of these as there may be. RESOURCE_EXHAUSTED.
    #[error("there are {limit} {what}, which is the most there may be")]
    Full {
        /// What.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The gateway is stopping. UNAVAILABLE.
    #[error("the gateway is stopping")]
    Stopping,
    /// Bytes are not those that were meant. DATA_LOSS.
    #[error("{what} does not fit its checksum")]
    Checksum {
        /// Which bytes.
        what: String,
    },
    /// A file changed or went away while something else was done to it. ABORTED.
    #[error("{key} was changed by another call meanwhile")]
    Conflict {
        /// Its key.
        key: String,
    },
    /// There is no such peer. NOT_FOUND.
    #[error("{id} is no peer of this node")]
    UnknownPeer {
        /// The id.
        id: String,
    },
    /// The peer was added but has no session. UNAVAILABLE.
    #[error("there is no session with {id}")]
    NotConnected {
        /// The peer.
        id: String,
    },
    /// The node takes part in no swarm. FAILED_PRECONDITION.
    #[error("the node takes part in no swarm")]
    NoSwarm,
    /// The node keeps no log. FAILED_PRECONDITION.
    #[error("the node keeps no log")]
    NoLog,
    /// Content of this hash is not offered. NOT_FOUND.
    #[error("{hash} is not shared")]
    NotShared {
        /// The hash.
        hash: String,
    },
    /// The node has a component of no such name. NOT_FOUND.
    #[error("there is no component {name}")]
    UnknownComponent {
        /// The name.
        name: String,
    },
    /// There is no such service to ask the health of. NOT_FOUND.
    #[error("there is no service {name}")]
    UnknownService {
        /// The name.
        name: String,
    },
    /// Another open call has this subscriber's id. ALREADY_EXISTS.
    #[error("another open call has the subscriber id {id}")]
    SubscriberTaken {
        /// The id.
        id: String,
    },
    /// Events after the given one are no longer kept. OUT_OF_RANGE.
    #[error("events after {after} are gone; the first one kept is {first}")]
    EventGap {
        /// The last event that was seen.
        after: u64,
        /// The first one kept.
        first: u64,
    },
    /// The position belongs to another run of the node. FAILED_PRECONDITION.
    #[error("the position is of run {given}, this is run {current}")]
    EventEpoch {
        /// The run of the position.
        given: u64,
        /// This run.
        current: u64,
    },
}

impl stc::Coded for RequestError {
    fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "request.invalid",
            Self::Unauthenticated => "request.unauthenticated",
            Self::Deadline { .. } => "request.deadline",
            Self::TooLarge { .. } => "request.too_large",
            Self::Full { .. } => "request.full",
            Self::Stopping => "request.stopping",
            Self::Checksum { .. } => "request.checksum",
            Self::Conflict { .. } => "request.conflict",
            Self::UnknownPeer { .. } => "request.unknown_peer",
            Self::NotConnected { .. } => "request.not_connected",
            Self::NoSwarm => "request.no_swarm",
            Self::NoLog => "request.no_log",
            Self::NotShared { .. } => "request.not_shared",
            Self::UnknownComponent { .. } => "request.unknown_component",
            Self::UnknownService { .. } => "request.unknown_service",
            Self::SubscriberTaken { .. } => "request.subscriber_taken",
            Self::EventGap { .. } => "events.gap",
            Self::EventEpoch { .. } => "events.epoch",
        }
    }

    fn retry_helps(&self) -> bool {
        matches!(
            self,
            Self::Deadline { .. }
                | Self::Full { .. }
                | Self::Stopping
                | Self::Conflict { .. }
                | Self::NotConnected { .. }
                | Self::SubscriberTaken { .. }
        )
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Invalid { .. } => "see the field in the details",
            Self::Unauthenticated => {
                "send `authorization: Bearer TOKEN`; the token is in the file that stt up names"
            }
            Self::Deadline { .. } => "give the call more time",
            Self::TooLarge { .. } => "send smaller messages, or raise the gateway's limit",
            Self::Full { .. } => "remove some",
            Self::Stopping => "call again when it runs",
            Self::Checksum { .. } => "send them again",
            Self::Conflict { .. } => "call again",
            Self::UnknownPeer { .. } => "add the peer first",
            Self::NotConnected { .. } => "add the peer again",
            Self::NoSwarm => "start the node with its swarm, without `no_swarm`",
            Self::NoLog => "start it with `stt up`",
            Self::NotShared { .. } => "ask for all that are shared",
            Self::UnknownComponent { .. } => "ask for all of them",
            Self::UnknownService { .. } => "reflection lists them",
            Self::SubscriberTaken { .. } => "choose another id",
            Self::EventGap { .. } | Self::EventEpoch { .. } => {
                "read the state anew, then subscribe without a position"
            }
        })
    }
}
