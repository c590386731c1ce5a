//! Dials: which peers are dialled, and which requests wait for them.

use libp2p_core::{ConnectedPoint, transport::TransportError};
use libp2p_identity::PeerId;
use libp2p_swarm::{
    DialError,
    dial_opts::{DialOpts, PeerCondition},
};
use tokio::sync::mpsc;

use super::Driver;
use crate::{
    dht::ProviderFound,
    engine::{
        command::Reply,
        links::LinkError,
        peer,
        queries::{MAX_QUERIES, Query, Waiting, answer},
    },
    swarm_error::SwarmError,
};

impl Driver {
    /// Gives a provider to a search, once it is linked: where it is, is known then.
    pub(super) fn provider(&mut self, provider: PeerId, found: mpsc::Sender<ProviderFound>) {
        let Some(node_id) = peer::node_id(&provider) else { return };
        if node_id == self.me {
            let address = self.links.node().local_addr();
            let _ = found.try_send(ProviderFound { node_id, address });
        } else if let Some(session) = self.links.session(node_id) {
            let address = session.remote_address();
            let _ = found.try_send(ProviderFound { node_id, address });
        } else if self.dials.len() < MAX_QUERIES {
            self.wait_for(provider, Waiting::Provider(found));
        }
    }

    /// Dials a peer for somebody who waits. The addresses are the engine's: of its table, and of
    /// questions under way.
    pub(super) fn wait_for(&mut self, peer: PeerId, waiting: Waiting) {
        self.dials.entry(peer).or_default().push(waiting);
        if !self.dial(peer) {
            self.fail(peer);
        }
    }

    /// False if there is nowhere to dial.
    pub(super) fn dial(&mut self, peer: PeerId) -> bool {
        let condition = PeerCondition::DisconnectedAndNotDialing;
        let dial = DialOpts::peer_id(peer).condition(condition).build();
        match self.engine.dial(dial) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => true,
            Err(_) => false,
        }
    }

    pub(super) fn linked(&mut self, peer: PeerId, endpoint: &ConnectedPoint) {
        let Some(node) = peer::node_id(&peer) else { return };
        if let Some(address) = self.links.address(node) {
            self.kad().add_address(&peer, peer::multiaddr(address));
            self.join();
        }
        for waiting in self.dials.remove(&peer).unwrap_or_default() {
            match (waiting, self.links.session(node)) {
                (Waiting::Provider(found), Some(session)) => {
                    let address = session.remote_address();
                    let _ = found.try_send(ProviderFound { node_id: node, address });
                }
                (Waiting::Session { reply, .. }, Some(session)) => answer(reply, Ok(session)),
                (Waiting::Session { reply, .. }, None) => {
                    answer(reply, Err(SwarmError::Unreachable { node }));
                }
                (Waiting::Provider(_), None) => {}
            }
        }
        tracing::debug!(%node, dialled = endpoint.is_dialer(), "linked");
    }

    pub(super) fn not_linked(&mut self, peer: PeerId, error: &DialError) {
        tracing::debug!(%peer, %error, "not linked");
        if self.engine.is_connected(&peer) {
            return;
        }
        // The engine never forgets the last address of who is dead.
        if let DialError::Transport(errors) = error
            && errors.iter().all(|(_, error)| is_dead(error))
        {
            self.kad().remove_peer(&peer);
        }
        self.fail(peer);
    }

    /// Nobody answered where the peer was thought to be: looks for it where that was not done yet.
    fn fail(&mut self, peer: PeerId) {
        let mut look = false;
        for waiting in self.dials.remove(&peer).unwrap_or_default() {
            match waiting {
                Waiting::Session { reply, looked: false } => {
                    look = true;
                    let waiting = Waiting::Session { reply, looked: true };
                    self.dials.entry(peer).or_default().push(waiting);
                }
                Waiting::Session { reply, .. } => unreachable(peer, reply),
                Waiting::Provider(_) => {}
            }
        }
        if look {
            let id = self.kad().get_closest_peers(peer);
            self.queries.insert(id, Query::Connect(peer));
        }
    }

    pub(super) fn give_up(&mut self, peer: PeerId) {
        for waiting in self.dials.remove(&peer).unwrap_or_default() {
            if let Waiting::Session { reply, .. } = waiting {
                unreachable(peer, reply);
            }
        }
    }
}

fn unreachable(peer: PeerId, reply: Reply<stt::Session>) {
    let error = match peer::node_id(&peer) {
        Some(node) => SwarmError::Unreachable { node },
        None => SwarmError::Stopped,
    };
    answer(reply, Err(error));
}

/// Whether an address is worth nothing, rather than this node being full or linked otherwise.
fn is_dead(error: &TransportError<std::io::Error>) -> bool {
    match error {
        TransportError::MultiaddrNotSupported(_) => true,
        TransportError::Other(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<LinkError>());
            !matches!(inner, Some(LinkError::Full | LinkError::Otherwise))
        }
    }
}
