//! The last step of a handshake on either side, and what it yields.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use stc::{Key, aead::Suite, kdf, random};
use subtle::ConstantTimeEq;

use super::{
    advertised_ports::{self, AdvertisedPorts},
    clock::Clock,
    crypto_adapter::PeerInfo,
    engine::{Connecting, Connection, ConnectionError},
    error::WireError,
    handshake::HandshakeError,
    key_update,
    path_aware::CloseLatch,
    rekey_exchange::Renewal,
    stats::{Counters, count},
    window_growth::{self, Growth},
};
use crate::{
    close_reason::{CloseReason, Refusal},
    id::{NodeId, SessionId},
    limits::HalfOpenGuard,
    route::{
        HostPort, Input, Link, Path, PathManager, RouteKeys, RouteKind, Routes, SessionRoute,
        SessionStarted, Start, Traffic, Web,
    },
};

/// Bytes of the proof in FINAL (docs/protocol.md, HS-6). Places follow.
const FINAL_LEN: usize = 32;

/// A session whose two sides have both proved themselves and know it.
///
/// To be kept as long as its connection is used: when `unclaimed` is dropped, so is the connection.
#[derive(Debug)]
pub struct Established {
    /// The engine's connection. Its first stream from the responder is used up already.
    pub connection: Connection,
    /// Who the peer proved to be.
    pub peer: NodeId,
    /// Equal on both sides, and unknown to everyone else.
    pub session_id: SessionId,
    /// Keys for applications.
    pub exporter: Exporter,
    /// Whether this side knocked.
    pub initiator: bool,
    /// The cipher of its packets.
    pub suite: Suite,
    /// From the first datagram to FINAL.
    pub handshake_time: Duration,
    /// Where the peer can be reached, as it says: only a responder is told.
    pub peer_listens: Vec<SocketAddr>,
    /// How it gets fresh keys.
    pub renewal: Arc<Renewal>,
    /// To be closed just before the connection is.
    pub latch: CloseLatch,
    /// Where its datagrams go.
    pub route: SessionRoute,
    /// Ends it unless it is taken.
    pub unclaimed: Unclaimed,
}

/// Closes a session that nobody took: of an attempt that finished together with the one that won,
/// or after the caller's patience. Its tasks hold the connection, so it would not end by itself.
#[derive(Debug)]
pub struct Unclaimed(Option<(Connection, CloseLatch)>);

impl Unclaimed {
    /// From now on someone else closes it.
    pub fn claim(mut self) {
        self.0 = None;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some((connection, latch)) = self.0.take() {
            latch.close();
            connection.close(0, b"");
        }
    }
}

/// What a connection is made with.
pub(super) struct ConnectParts {
    pub(super) link: Arc<Link>,
    pub(super) routes: Routes,
    pub(super) latch: CloseLatch,
    pub(super) started: Instant,
    pub(super) credit: Credit,
}

#[cfg(test)]
impl Established {
    /// What the keys did.
    pub(crate) fn meter(&self) -> Arc<super::meter::Meter> {
        Arc::clone(&peer_info(&self.connection).unwrap().meter)
    }
}

/// Derives keys that both sides of a session share and nobody else has.
#[derive(Clone)]
pub struct Exporter(Key);

impl Exporter {
    /// The key that belongs to `label` and `context`. Labels keep applications apart.
    pub fn derive(&self, label: &str, context: &[u8]) -> Key {
        kdf::derive(&self.0, "stt/1 export", &[label.as_bytes(), context])
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter(..)")
    }
}

/// A peer whose first flight authenticated: it holds the seed, and isn't known by name yet.
pub struct Incoming {
    pub(super) connecting: Connecting,
    pub(super) accepting: Arc<AtomicBool>,
    /// Where this node is reached, to be told to the peer.
    pub(super) places: AdvertisedPorts,
    pub(super) line: ConnectParts,
    /// Its place among the unfinished handshakes.
    pub(super) begun: HalfOpenGuard,
    pub(super) counters: Arc<Counters>,
}

/// What a session may receive before it has shown that it needs more, and how that grows.
#[derive(Clone, Debug)]
pub(super) struct Credit {
    pub(super) first: u32,
    pub(super) growth: Growth,
}

impl Incoming {
    /// Where it knocks from.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.connecting.remote_address()
    }

    /// Waits for the peer's proof, asks `admit` about it, and confirms the session.
    ///
    /// `admit` is not asked while the endpoint accepts nobody. A refused peer is told why. One that
    /// takes too long, or has to make room for others, is given up.
    ///
    /// # Errors
    /// [`WireError`]: the peer was refused, proved nothing, or went away.
    pub async fn finish<T>(
        mut self,
        admit: impl FnOnce(NodeId) -> Result<T, Refusal>,
    ) -> Result<(Established, T), WireError> {
        let (address, latch) = (self.remote_address(), self.line.latch.clone());
        let counters = Arc::clone(&self.counters);
        let mut expired = self.begun.expired();
        tokio::select! {
            biased;
            finished = self.finish_in_time(admit) => finished,
            () = &mut expired => {
                count(&counters.handshakes_expired);
                latch.close();
                Err(WireError::NoAnswer { address })
            }
        }
    }

    async fn finish_in_time<T>(
        self,
        admit: impl FnOnce(NodeId) -> Result<T, Refusal>,
    ) -> Result<(Established, T), WireError> {
        let address = self.remote_address();
        let lost = |error: ConnectionError| WireError::connection(address, error.engine());
        let connection = self.connecting.finish().await.map_err(lost)?;
        let peer = peer_info(&connection)?;
        let admitted = if self.accepting.load(Relaxed) {
            admit(peer.node_id)
        } else {
            Err(Refusal::NotAccepting)
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.line.latch.close();
                connection.close(refusal.wire_code(), b"");
                return Err(WireError::Refused(refusal));
            }
        };
        let mut stream = connection.open_uni().await.map_err(lost)?;
        let sent = async {
            let record = [peer.final_confirm.as_bytes(), self.places.encode().as_slice()].concat();
            stream.expect_more(true);
            let written = stream.write_chunk(record.into()).await;
            stream.finish();
            written.is_ok()
        };
        if !sent.await {
            let error = connection.close_reason();
            return Err(error.map_or(WireError::Closed, lost));
        }
        let session = established(connection, &peer, false, self.line, PeerAddresses::default())?;
        Ok((session, admitted))
    }
}

/// Waits for the responder's FINAL.
pub(super) async fn confirm(
    connecting: Connecting,
    line: ConnectParts,
    dialled: Option<Web>,
    clock: &Clock,
) -> Result<Established, WireError> {
    let address = connecting.remote_address();
    let lost = |error: ConnectionError| WireError::connection(address, error.engine());
    let connection = connecting.finish().await.map_err(lost)?;
    let peer = peer_info(&connection)?;
    let mut stream = connection.accept_uni().await.map_err(lost)?;
    let read = stream.read_to_end(FINAL_LEN + advertised_ports::MAX_LEN).await;
    if let Some(error) = connection.close_reason() {
        return Err(lost(error));
    }
    let record = read.unwrap_or_default();
    let (proof, told) = record.split_at_checked(FINAL_LEN).unwrap_or_default();
    if !bool::from(proof.ct_eq(peer.final_confirm.as_bytes())) {
        let (code, _) = CloseReason::AuthFailure.to_wire();
        line.latch.close();
        connection.close(code, b"");
        return Err(WireError::Handshake(HandshakeError::Tampered));
    }
    if let Some(time) = peer.time {
        clock.learn(time);
    }
    let knows = PeerAddresses::of(AdvertisedPorts::decode(told), dialled, &line);
    established(connection, &peer, true, line, knows)
}

/// In a box, which is wiped when it is dropped: what is moved out of it leaves a copy behind.
fn peer_info(connection: &Connection) -> Result<Box<PeerInfo>, WireError> {
    let info = connection.peer_identity().and_then(|info| info.downcast::<PeerInfo>().ok());
    info.ok_or(WireError::Handshake(HandshakeError::Internal))
}

/// Where else the peer may be reached.
#[derive(Default)]
struct PeerAddresses {
    web: Option<Web>,
    udp: Option<Path>,
}

impl PeerAddresses {
    fn of(told: AdvertisedPorts, dialled: Option<Web>, line: &ConnectParts) -> Self {
        let path = line.link.way().path;
        let reached = line.routes.remote(path);
        let host = reached.ip().to_canonical();
        let udp = || {
            let remote = SocketAddr::new(host, told.udp?);
            Some(line.routes.sockets.way_to(remote)?.path)
        };
        let web = |port| {
            let place = HostPort { host: host.to_string(), port, path: "/".into() };
            Web { place, secure: false }
        };
        match path.kind() {
            RouteKind::Udp => Self { web: told.websocket.map(web), udp: Some(path) },
            RouteKind::WebSocket => Self { web: dialled, udp: udp() },
        }
    }
}

fn established(
    connection: Connection,
    peer: &PeerInfo,
    initiator: bool,
    line: ConnectParts,
    knows: PeerAddresses,
) -> Result<Established, WireError> {
    let ConnectParts { link, routes, latch, started, credit } = line;
    let keys = RouteKeys::new(&peer.exporter, peer.suite, initiator);
    link.add_id(keys.receive_id);
    let path = link.way().path;
    let start = Start {
        keys,
        random: Box::new(|out| random::fill(out).is_ok()),
        initiator,
        path,
        rtt: connection.rtt(),
        can_dial: knows.web.is_some(),
        udp: knows.udp,
        traffic: Traffic { sealed: peer.meter.sealed.total(), opened: peer.meter.opened.total() },
    };
    let (state, route) = SessionRoute::new(Arc::clone(&link), routes.clone());
    routes.directory.inputs().send(Input::SessionStarted(Box::new(SessionStarted {
        link,
        mover: PathManager::new(tokio::time::Instant::now().into_std(), start),
        meter: Arc::clone(&peer.meter),
        seed: Arc::clone(&peer.seed),
        latch: latch.clone(),
        state,
        peer: peer.node_id,
        web: knows.web,
    })));
    let Credit { first, growth } = credit;
    let grow = window_growth::grow(connection.clone(), Arc::clone(&peer.meter), first, growth);
    let (renewal, pace) = (Arc::clone(&peer.renewal), key_update::Pace::DEFAULT);
    let update = key_update::update(connection.clone(), Arc::clone(&peer.meter), renewal, pace);
    // Both mostly sleep, so one task is enough.
    tokio::spawn(async { tokio::join!(grow, update) });
    let [a, b, c, d, e, f, g, h, ..] = *peer.session_id.as_bytes();
    let unclaimed = Unclaimed(Some((connection.clone(), latch.clone())));
    Ok(Established {
        connection,
        peer: peer.node_id,
        session_id: SessionId::from_bytes([a, b, c, d, e, f, g, h]),
        exporter: Exporter(peer.exporter.clone()),
        initiator,
        suite: peer.suite,
        handshake_time: started.elapsed(),
        peer_listens: peer.listens.clone(),
        renewal: Arc::clone(&peer.renewal),
        latch,
        route,
        unclaimed,
    })
}
