//! The route of one session, as the session sees it.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use stc::Cause;
use tokio::sync::{oneshot, watch};

use super::{
    HostPort, RouteError, Table, Target, Web,
    driver::{Input, MoveRequest, RouteState},
    link::{Directory, Link},
    multi_socket::RouteSocket,
    path::{Path, RouteKind, Via},
};

/// How a session's datagrams travel at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// Over what.
    pub kind: RouteKind,
    /// This node's end. For UDP that is where its socket is bound, which may be all of its
    /// addresses; `None` when the route just ended.
    pub local: Option<SocketAddr>,
    /// The peer's end: where its UDP datagrams come from, or the other end of the TCP connection
    /// that carries the WebSocket, which may be a proxy's.
    pub remote: SocketAddr,
    /// Smoothed round-trip time of the session.
    pub round_trip: Duration,
}

/// What all routes of a node go through. Clones share it.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) sockets: Arc<RouteSocket>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) table: Arc<Table>,
    /// Whether the engine's first socket was of IPv6.
    pub(crate) engine_ipv6: bool,
}

impl Routes {
    /// The address that the engine is given for a peer at `to`: of the family that it knows.
    pub(crate) fn logical(&self, to: SocketAddr) -> SocketAddr {
        match (self.engine_ipv6, to) {
            (true, SocketAddr::V4(v4)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            // It is never sent to: the link knows where the peer is.
            (false, SocketAddr::V6(v6)) => {
                SocketAddr::new(Ipv4Addr::new(247, 255, 255, 255).into(), v6.port())
            }
            _ => to,
        }
    }

    /// The real address at the other end of a path.
    pub(crate) fn remote(&self, path: Path) -> SocketAddr {
        let remote = match path.via {
            Via::Udp(_) => path.remote,
            Via::WebSocket => {
                self.table.ends(path.remote).map_or(path.remote, |(_, remote)| remote)
            }
        };
        SocketAddr::new(remote.ip().to_canonical(), remote.port())
    }

    fn local(&self, path: Path) -> Option<SocketAddr> {
        match path.via {
            Via::Udp(number) => self.sockets.local(number).map(|local| local.address),
            Via::WebSocket => self.table.ends(path.remote).map(|(local, _)| local),
        }
    }
}

/// A session's hold on its route. Clones are the same.
#[derive(Clone)]
pub struct SessionRoute {
    link: Arc<Link>,
    routes: Routes,
    state: watch::Receiver<RouteState>,
}

impl SessionRoute {
    /// That of a session, and where its driver tells of changes.
    pub(crate) fn new(link: Arc<Link>, routes: Routes) -> (watch::Sender<RouteState>, Self) {
        let (sender, state) = watch::channel(RouteState { path: link.way().path, news: 0 });
        (sender, Self { link, routes, state })
    }

    /// The route at the moment.
    pub fn now(&self, round_trip: Duration) -> Route {
        let path = self.link.way().path;
        let (local, remote) = (self.routes.local(path), self.routes.remote(path));
        Route { kind: path.kind(), local, remote, round_trip }
    }

    /// Waits for the next change of the path, or for word of the peer that it follows.
    pub async fn news(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Moves to a route of this kind.
    ///
    /// # Errors
    /// [`RouteError`]: the peer is not reached that way, or the session is over.
    pub async fn move_to_kind(&self, kind: RouteKind) -> Result<(), RouteError> {
        self.wish(MoveRequest::Kind(kind)).await
    }

    /// Moves to `target`. For the crate `stt`, which finds out what an address names.
    ///
    /// # Errors
    /// As [`Self::move_to_kind`]; the host is unknown.
    #[doc(hidden)]
    pub async fn move_to(&self, target: &Target) -> Result<(), RouteError> {
        match target {
            Target::Any(place) | Target::Udp(place) => {
                let path = self.resolve(place).await?;
                self.wish(MoveRequest::Path(path)).await
            }
            Target::WebSocket(place) | Target::SecureWebSocket(place) => {
                let secure = matches!(target, Target::SecureWebSocket(_));
                self.wish(MoveRequest::Open(Web { place: place.clone(), secure })).await
            }
        }
    }

    /// The path over UDP to a place.
    async fn resolve(&self, place: &HostPort) -> Result<Path, RouteError> {
        let not_found = |cause: Cause| RouteError::HostNotFound { host: place.host.clone(), cause };
        let addresses = tokio::net::lookup_host((place.host.as_str(), place.port))
            .await
            .map_err(|error| not_found(error.into()))?;
        let mut ways = addresses.filter_map(|to| self.routes.sockets.way_to(to));
        let family = || RouteError::Family { host: place.host.clone() };
        Ok(ways.next().ok_or_else(family)?.path)
    }

    async fn wish(&self, wish: MoveRequest) -> Result<(), RouteError> {
        let kind = wish.kind();
        let (reply, answer) = oneshot::channel();
        let input = Input::Move { link: self.link.number, wish, reply };
        self.routes.directory.inputs().send(input);
        match answer.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failure)) => Err(RouteError::of(kind, failure)),
            Err(_) => Err(RouteError::Ended),
        }
    }
}

impl fmt::Debug for SessionRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRoute").field("link", &self.link).finish_non_exhaustive()
    }
}
