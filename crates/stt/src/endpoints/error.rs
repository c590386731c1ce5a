//! What can go wrong with endpoints.

use std::time::Duration;

use stc::Cause;

use super::EndpointId;
use crate::events::EventError;

/// Why an endpoint was not added, or bytes not sent or received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Nobody has this id or name.
    #[error("there is no endpoint {id}")]
    Unknown {
        /// What was looked for.
        id: EndpointId,
    },
    /// The id or name is in use.
    #[error("there is an endpoint {id} already")]
    Taken {
        /// The id.
        id: EndpointId,
    },
    /// There are as many endpoints as may be.
    #[error("there are {limit} endpoints already, as many as may be")]
    Full {
        /// Most endpoints.
        limit: usize,
    },
    /// A size is out of its range.
    #[error("{what} must be {min} to {max}, not {got}")]
    OutOfRange {
        /// Which size.
        what: &'static str,
        /// Smallest value.
        min: usize,
        /// Largest value.
        max: usize,
        /// The value that was given.
        got: usize,
    },
    /// The events of the node cannot be listened to.
    #[error(transparent)]
    Events(#[from] EventError),
    /// Nothing was set that could carry bytes to endpoints.
    #[error("nothing is set that carries bytes to endpoints")]
    NoSender,
    /// What carries the bytes refused them.
    #[error("sending to endpoint {id} failed: {cause}")]
    Send {
        /// To whom.
        id: EndpointId,
        /// Whether the same call may succeed later.
        retry_helps: bool,
        /// What happened.
        #[source]
        cause: Cause,
    },
    /// What carries the bytes did not take them in time.
    #[error("sending to endpoint {id} took longer than {} ms", within.as_millis())]
    SendTimeout {
        /// To whom.
        id: EndpointId,
        /// The time that it had.
        within: Duration,
    },
    /// The endpoint's queue, or that of all, is full: the message was dropped.
    #[error("the queue of endpoint {id} is full")]
    QueueFull {
        /// Whose queue.
        id: EndpointId,
    },
}

impl stc::Coded for EndpointError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "endpoint.unknown",
            Self::Taken { .. } => "endpoint.taken",
            Self::Full { .. } => "endpoint.full",
            Self::OutOfRange { .. } => "endpoint.out_of_range",
            Self::Events(error) => error.code(),
            Self::NoSender => "endpoint.no_sender",
            Self::Send { .. } => "endpoint.send",
            Self::SendTimeout { .. } => "endpoint.send_timeout",
            Self::QueueFull { .. } => "endpoint.queue_full",
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::Send { retry_helps, .. } => *retry_helps,
            Self::Events(error) => error.retry_helps(),
            Self::SendTimeout { .. } | Self::QueueFull { .. } => true,
            _ => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Events(error) => return error.hint(),
            Self::Unknown { .. } => "add the endpoint first",
            Self::Taken { .. } => "remove the old endpoint first, or choose another id",
            Self::Full { .. } => "remove endpoints, or raise `max_endpoints`",
            Self::OutOfRange { .. } => "choose a value inside the range",
            Self::NoSender => "make the manager with a send callback, or over a node",
            Self::Send { .. } | Self::SendTimeout { .. } => "see whether the peer is reachable",
            Self::QueueFull { .. } => "receive faster, or raise the limits of the inbox",
        })
    }
}
