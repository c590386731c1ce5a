//! A node behind an endpoint manager.

use std::{collections::HashSet, sync::Arc};

use stc::Cause;
use tokio::sync::Notify;

use super::{EndpointError, EndpointId, EndpointManager, ManagerConfig, Outgoing, SendFailure};
use crate::{EventKind, Fields, Node, NodeId, Session, SessionId, Stream, events::Subscription};

/// An [`EndpointManager`] whose endpoints are the peers of a node, by their node ids.
///
/// A peer becomes an endpoint when its first session is ready and stops being one when its last
/// session ended; its address follows the route of a session. Endpoints that the application adds
/// with a peer's id are left alone. Messages
/// travel on one stream of each session. What arrives on it is delivered to the manager, and a full
/// inbox pushes back on that stream only. Dropping this value ends the connection between the two.
///
/// A peer that finds the manager full, or whose endpoint the application removed, becomes an endpoint
/// when next a session of the node begins or ends and there is room. Until then nothing of its stream
/// is read, which pushes back on it; only a message that was read before its endpoint went is lost.
#[derive(Debug)]
pub struct NodeEndpoints {
    manager: EndpointManager,
    _subscriptions: Vec<Subscription>,
    task: tokio::task::AbortHandle,
}

impl NodeEndpoints {
    /// Puts `node` behind a new manager, on stream `stream_id` of all its sessions.
    ///
    /// # Errors
    /// [`EndpointError::OutOfRange`], and [`EndpointError::Events`] when the node's events cannot
    /// be listened to.
    pub fn new(node: &Node, stream_id: u32, config: ManagerConfig) -> Result<Self, EndpointError> {
        let sender = {
            let node = node.clone();
            move |outgoing: Outgoing| send(node.clone(), stream_id, outgoing)
        };
        let manager = EndpointManager::with_config(config, Some(Box::new(sender)))?;
        // Events only say that something changed: a missed one is made up for by the next.
        let changed = Arc::new(Notify::new());
        let mut subscriptions = Vec::new();
        for kind in [
            EventKind::SessionCreated,
            EventKind::SessionClosed,
            EventKind::PeerDisconnected,
            EventKind::RouteChanged,
        ] {
            let changed = Arc::clone(&changed);
            subscriptions.push(node.on(kind, move |_| {
                changed.notify_one();
                std::future::ready(())
            })?);
        }
        changed.notify_one();
        let task = tokio::spawn(follow(node.clone(), manager.clone(), stream_id, changed));
        Ok(Self { manager, _subscriptions: subscriptions, task: task.abort_handle() })
    }

    /// The manager.
    #[must_use]
    pub const fn manager(&self) -> &EndpointManager {
        &self.manager
    }
}

impl Drop for NodeEndpoints {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps endpoints and sessions the same.
async fn follow(node: Node, manager: EndpointManager, stream_id: u32, changed: Arc<Notify>) {
    // Sessions whose endpoint exists and whose stream is read.
    let mut known: HashSet<SessionId> = HashSet::new();
    let mut added: HashSet<NodeId> = HashSet::new();
    // Dropped, and so aborted, with this task.
    let mut receiving = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            () = changed.notified() => {}
            Some(ended) = receiving.join_next() => {
                let Ok((session, peer, missed)) = ended else { continue };
                known.remove(&session);
                // Else it is read again once something changes.
                if !(missed && manager.contains(&peer)) {
                    continue;
                }
            }
        }
        let sessions = node.sessions();
        let peers: HashSet<NodeId> = sessions.iter().map(Session::peer_node_id).collect();
        added.retain(|peer| peers.contains(peer) || !manager.remove_endpoint(&(*peer).into()));
        known.retain(|id| sessions.iter().any(|session| session.id() == *id));
        for session in sessions {
            let (id, peer) = (session.id(), session.peer_node_id());
            // Asked for at once, so that `Node::receive` does not get what is meant for the manager.
            let stream = (!known.contains(&id)).then(|| session.get_stream(stream_id));
            if !manager.contains(&peer.into()) {
                if manager.add_endpoint(peer, session.remote_address(), Fields::new()).is_err() {
                    continue;
                }
                added.insert(peer);
            } else if added.contains(&peer) {
                let _ = manager.set_address(&peer.into(), session.remote_address());
            }
            if let Some(Ok(stream)) = stream {
                known.insert(id);
                let (manager, peer) = (manager.clone(), EndpointId::from(peer));
                receiving.spawn(async move {
                    let missed = receive(stream, &manager, &peer).await;
                    (id, peer, missed)
                });
            }
        }
    }
}

/// Delivers what arrives until the stream ends, or, which it says, there is no such endpoint.
async fn receive(stream: Stream, manager: &EndpointManager, peer: &EndpointId) -> bool {
    while let Ok(Some(message)) = stream.receive().await {
        if let Err(EndpointError::Unknown { .. }) = manager.deliver(peer, message).await {
            return true;
        }
    }
    false
}

async fn send(node: Node, stream_id: u32, outgoing: Outgoing) -> Result<(), SendFailure> {
    let peer = <[u8; NodeId::LEN]>::try_from(outgoing.id.as_bytes()).map(NodeId::from_bytes);
    let session = peer.ok().and_then(|peer| node.sessions_with(peer).into_iter().next());
    let Some(session) = session else {
        return Err(SendFailure::new(Cause::text("there is no session with this peer"), true));
    };
    Ok(session.get_stream(stream_id)?.send(outgoing.data).await?)
}
