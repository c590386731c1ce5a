//! Why a route was not changed.

use stc::{Cause, Coded};

use super::{AddressError, migration::Failure, path::RouteKind};
use crate::wire::WireError;

/// Why a session or a node did not change its route. The session goes on over the route that it
/// has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// It is no address, or not one for this.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The name has no address.
    #[error("the host {host} was not found: {cause}")]
    HostNotFound {
        /// The name.
        host: String,
        /// What the operating system said.
        #[source]
        cause: Cause,
    },
    /// None of this node's sockets is of the family of the address.
    #[error("{host} has only addresses of another family than this node's sockets")]
    Family {
        /// The name.
        host: String,
    },
    /// The peer did not answer there.
    #[error("the peer did not answer over the new {kind} route")]
    NoAnswer {
        /// Of the route that was tried.
        kind: RouteKind,
    },
    /// No WebSocket could be opened.
    #[error("no WebSocket to the peer: {cause}")]
    WebSocket {
        /// What went wrong.
        #[source]
        cause: Cause,
    },
    /// A later call moves the session elsewhere.
    #[error("a later move took the place of this one")]
    Superseded,
    /// The session is over.
    #[error("the session is over")]
    Ended,
    /// The node has as many sockets as it may.
    #[error("this node has {max} sockets, which is the most it may have")]
    TooManySockets {
        /// The limit.
        max: usize,
    },
    /// The new socket could not be opened.
    #[error(transparent)]
    Bind(WireError),
}

impl RouteError {
    /// Codes of the variants that are this type's own, as `docs/errors.md` lists them.
    pub const CODES: &'static [&'static str] = &[
        "route.host_not_found",
        "route.family",
        "route.no_answer",
        "route.websocket",
        "route.superseded",
        "route.ended",
        "route.too_many_sockets",
    ];

    pub(super) fn of(kind: RouteKind, failure: Failure) -> Self {
        match failure {
            Failure::NoAnswer => Self::NoAnswer { kind },
            Failure::Dial(cause) => Self::WebSocket { cause },
            Failure::Superseded => Self::Superseded,
        }
    }
}

impl Coded for RouteError {
    fn code(&self) -> &'static str {
        match self {
            Self::Address(error) => error.code(),
            Self::HostNotFound { .. } => "route.host_not_found",
            Self::Family { .. } => "route.family",
            Self::NoAnswer { .. } => "route.no_answer",
            Self::WebSocket { .. } => "route.websocket",
            Self::Superseded => "route.superseded",
            Self::Ended => "route.ended",
            Self::TooManySockets { .. } => "route.too_many_sockets",
            Self::Bind(error) => error.code(),
        }
    }

    fn retry_helps(&self) -> bool {
        match self {
            Self::HostNotFound { .. }
            | Self::NoAnswer { .. }
            | Self::WebSocket { .. }
            | Self::TooManySockets { .. } => true,
            Self::Bind(error) => error.retry_helps(),
            Self::Address(_) | Self::Family { .. } | Self::Superseded | Self::Ended => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Family { .. } => {
                Some("open one first: Node::rebind to an address of that family")
            }
            Self::NoAnswer { .. } => {
                Some("the peer must be reachable there, and listen for that kind of route")
            }
            Self::TooManySockets { .. } => {
                Some("sockets that were left are closed a second after their last session moved")
            }
            Self::Address(error) => error.hint(),
            Self::Bind(error) => error.hint(),
            _ => None,
        }
    }
}
