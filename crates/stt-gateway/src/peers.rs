//! `PeerService`: whom the node talks to.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stt::{ConnectOptions, Node, NodeId, Session};
use stt_streams::{ErrorClass, TransportError};
use tonic::{Request, Response, Status};

use crate::{
    RequestError,
    files::metadata::{self, Metadata},
    proto::v1::{
        AddPeerRequest, GetPeerHealthRequest, GetPeerRequest, ListPeersRequest, ListPeersResponse,
        Peer, PeerHealth, PeerSession, PeerStatus, RemovePeerRequest, RemovePeerResponse,
        peer_service_server::PeerService,
    },
    state::Shared,
    status::ToStatus,
};

/// Peers that may be added.
const MAX_PEERS: usize = 1024;
/// Bytes of a host's name.
const HOST_MAX: usize = 255;
/// How long a peer has to answer a sign of life.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was said when a peer was added.
#[derive(Clone, Debug)]
struct Added {
    address: String,
    port: u16,
    metadata: Metadata,
    /// Held while it is dialled: all streams that lost their session ask at once.
    dialling: Arc<tokio::sync::Mutex<()>>,
}

/// Peers that were added.
#[derive(Default)]
pub(crate) struct PeerTable {
    added: Mutex<BTreeMap<NodeId, Added>>,
}

impl PeerTable {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Added>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> Result<(), RequestError> {
        if self.lock().len() < MAX_PEERS {
            return Ok(());
        }
        Err(RequestError::Full { what: "peers that were added", limit: MAX_PEERS })
    }

    fn ids(&self) -> Vec<NodeId> {
        self.lock().keys().copied().collect()
    }

    fn get(&self, id: NodeId) -> Option<Added> {
        self.lock().get(&id).cloned()
    }
}

/// How many peers have a session.
pub(crate) fn connected(node: &Node) -> u64 {
    let mut ids: Vec<_> = node.sessions().iter().map(Session::peer_node_id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len() as u64
}

/// A peer's id.
pub(crate) fn parse(text: &str) -> Result<NodeId, Status> {
    text.parse::<NodeId>().map_err(|error| error.to_status())
}

/// The newest session with a peer.
pub(crate) fn session(state: &Shared, id: NodeId) -> Result<Session, RequestError> {
    let sessions = state.node.sessions_with(id);
    match sessions.into_iter().min_by_key(|session| session.stats().age) {
        Some(session) => Ok(session),
        None if state.peers.get(id).is_some() => {
            Err(RequestError::NotConnected { id: id.to_string() })
        }
        None => Err(RequestError::UnknownPeer { id: id.to_string() }),
    }
}

/// A session with a peer: the newest, or a new one to where it was added.
pub(crate) async fn reach(state: &Shared, id: NodeId) -> Result<Session, TransportError> {
    if let Ok(session) = session(state, id) {
        return Ok(session);
    }
    let nowhere =
        || TransportError::new(ErrorClass::Transient, "it has no session, nor an address");
    let added = state.peers.get(id).ok_or_else(nowhere)?;
    let _turn = added.dialling.lock().await;
    // An earlier holder of the lock may have connected to it.
    if let Ok(session) = session(state, id) {
        return Ok(session);
    }
    let address = address(&added.address, added.port);
    let session = state.node.connect_with(&address, &ConnectOptions::new().expect(id)).await?;
    Ok(session)
}

/// What is dialled.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The service.
pub(crate) struct PeersOver(pub(crate) Shared);

impl PeersOver {
    fn describe(&self, id: NodeId) -> Option<Peer> {
        let sessions = self.0.node.sessions_with(id);
        let added = self.0.peers.get(id);
        if sessions.is_empty() && added.is_none() {
            return None;
        }
        let now = sessions.first().map(Session::remote_address);
        let (address, port) = match (now, &added) {
            (Some(now), _) => (now.ip().to_string(), now.port()),
            (None, Some(added)) => (added.address.clone(), added.port),
            (None, None) => return None,
        };
        let status =
            if sessions.is_empty() { PeerStatus::Disconnected } else { PeerStatus::Connected };
        Some(Peer {
            id: id.to_string(),
            address,
            port: port.into(),
            status: status.into(),
            metadata: added.map(|added| added.metadata).unwrap_or_default(),
            sessions: sessions.iter().map(describe_session).collect(),
        })
    }

    fn known(&self, text: &str) -> Result<(NodeId, Peer), Status> {
        let id = parse(text)?;
        let unknown = || RequestError::UnknownPeer { id: id.to_string() }.to_status();
        Ok((id, self.describe(id).ok_or_else(unknown)?))
    }
}

fn describe_session(session: &Session) -> PeerSession {
    let stats = session.stats();
    PeerSession {
        id: session.id().to_string(),
        route: session.route().kind.to_string(),
        initiator: session.is_initiator(),
        uptime_seconds: stats.age.as_secs_f64(),
        round_trip_ms: stats.round_trip.as_secs_f64() * 1e3,
        bytes_sent: stats.bytes_sent,
        bytes_received: stats.bytes_received,
    }
}

#[tonic::async_trait]
impl PeerService for PeersOver {
    async fn list_peers(
        &self,
        _request: Request<ListPeersRequest>,
    ) -> Result<Response<ListPeersResponse>, Status> {
        let mut ids = self.0.peers.ids();
        ids.extend(self.0.node.sessions().iter().map(Session::peer_node_id));
        ids.sort_unstable();
        ids.dedup();
        let peers = ids.into_iter().filter_map(|id| self.describe(id)).collect();
        Ok(Response::new(ListPeersResponse { peers }))
    }

    async fn get_peer(&self, request: Request<GetPeerRequest>) -> Result<Response<Peer>, Status> {
        Ok(Response::new(self.known(&request.get_ref().id)?.1))
    }

    async fn add_peer(&self, request: Request<AddPeerRequest>) -> Result<Response<Peer>, Status> {
        let wanted = request.into_inner();
        let invalid =
            |field, what: &str| RequestError::Invalid { field, what: what.to_owned() }.to_status();
        let host_ok = |host: &str| {
            (1..=HOST_MAX).contains(&host.len())
                && host
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '%'))
        };
        if !host_ok(&wanted.address) {
            return Err(invalid("address", "it is no host name and no IP address"));
        }
        let port = u16::try_from(wanted.port).ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| invalid("port", "it is not 1 to 65535"))?;
        metadata::check(&wanted.metadata).map_err(|error| error.to_status())?;
        let expect = match wanted.id.as_str() {
            "" => None,
            id => Some(parse(id)?),
        };
        self.0.peers.has_room().map_err(|error| error.to_status())?;
        let there = expect.and_then(|id| self.0.node.sessions_with(id).into_iter().next());
        let session = match there {
            Some(session) => session,
            None => {
                let address = address(&wanted.address, port);
                let dial =
                    self.0.node.connect_with(&address, &ConnectOptions::new().expect(expect)).await;
                let new = dial.map_err(|error| error.to_status())?;
                let mut all = self.0.node.sessions_with(new.peer_node_id()).into_iter();
                match all.find(|session| session.id() != new.id()) {
                    Some(before) => {
                        new.abort("there is a session already");
                        before
                    }
                    None => new,
                }
            }
        };
        let id = session.peer_node_id();
        let mut peers = self.0.peers.lock();
        let dialling = peers.get(&id).map(|known| Arc::clone(&known.dialling)).unwrap_or_default();
        let (address, metadata) = (wanted.address, wanted.metadata);
        peers.insert(id, Added { address, port, metadata, dialling });
        drop(peers);
        let gone = || RequestError::NotConnected { id: id.to_string() }.to_status();
        Ok(Response::new(self.describe(id).ok_or_else(gone)?))
    }

    async fn remove_peer(
        &self,
        request: Request<RemovePeerRequest>,
    ) -> Result<Response<RemovePeerResponse>, Status> {
        let (id, _) = self.known(&request.get_ref().id)?;
        self.0.peers.lock().remove(&id);
        let sessions = self.0.node.sessions_with(id);
        for session in &sessions {
            session.abort("the peer was removed");
        }
        let sessions_closed = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
        Ok(Response::new(RemovePeerResponse { sessions_closed }))
    }

    async fn get_peer_health(
        &self,
        request: Request<GetPeerHealthRequest>,
    ) -> Result<Response<PeerHealth>, Status> {
        let (id, peer) = self.known(&request.get_ref().id)?;
        let latency = match session(&self.0, id) {
            Ok(session) => tokio::time::timeout(PATIENCE, session.ping()).await.ok(),
            Err(_) => None,
        };
        let latency = latency.and_then(Result::ok);
        let ages = peer.sessions.iter().map(|session| session.uptime_seconds);
        Ok(Response::new(PeerHealth {
            id: peer.id,
            status: peer.status,
            latency_ms: latency.map(|latency| latency.as_secs_f64() * 1e3),
            uptime_seconds: ages.fold(0.0, f64::max),
        }))
    }
}
