//! One way for datagrams: through which of this node's ends, and to where.

use std::net::{IpAddr, SocketAddr};

/// What datagrams travel over. A route through another node will be a third kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouteKind {
    /// UDP datagrams.
    Udp,
    /// Binary messages of a WebSocket.
    WebSocket,
}

impl RouteKind {
    /// The number that stands for it in route datagrams and in FINAL (docs/protocol.md, ROUTE-3).
    pub(crate) const fn id(self) -> u8 {
        match self {
            Self::Udp => 1,
            Self::WebSocket => 2,
        }
    }

    /// The kind with that number.
    pub(crate) const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Udp),
            2 => Some(Self::WebSocket),
            _ => None,
        }
    }
}

impl std::fmt::Display for RouteKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::WebSocket => "websocket",
        })
    }
}

/// This node's end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Via {
    /// The UDP socket with this number.
    Udp(u32),
    /// The WebSocket whose stand-in is the remote address.
    WebSocket,
}

/// A path: two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    pub(crate) via: Via,
    /// As the system gives it, or a stand-in.
    pub(crate) remote: SocketAddr,
}

impl Path {
    pub(crate) const fn kind(&self) -> RouteKind {
        match self.via {
            Via::Udp(_) => RouteKind::Udp,
            Via::WebSocket => RouteKind::WebSocket,
        }
    }

    /// Whether what was learned of bandwidth on one holds for the other: same kind, same host. A
    /// new port alone is a NAT's doing most of the time (RFC 9000, section 9.4).
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        let host = |path: &Self| (path.kind(), path.host());
        host(self) == host(other)
    }

    /// The host at the other end, if the path tells. WebSockets are all alike.
    fn host(&self) -> Option<IpAddr> {
        (self.kind() == RouteKind::Udp).then(|| self.remote.ip().to_canonical())
    }
}
