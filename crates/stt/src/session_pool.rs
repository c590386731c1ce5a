//! The affinity pool of a node's sessions.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    ContentId, Node, Session, SessionId,
    affinity::{AffinityPool, AffinityStats},
};

/// Picks the session of a node whose peer most likely holds a content, among those that live.
///
/// The peers' node ids are ranked, not the sessions', so a peer that reconnects is asked for the
/// same contents as before. What is reported also feeds the adaptive priorities of the session.
#[derive(Debug)]
pub struct SessionPool {
    node: Node,
    pool: Mutex<AffinityPool<crate::NodeId>>,
}

impl SessionPool {
    /// A pool of all sessions that `node` has and will have.
    #[must_use]
    pub fn new(node: Node) -> Self {
        Self { node, pool: Mutex::new(AffinityPool::new()) }
    }

    /// The session to ask for this content, if there is any.
    pub fn pick(&self, content: &ContentId) -> Option<Session> {
        let sessions = self.node.sessions();
        let peer = self.current(&sessions).pick(content)?;
        newest_with(sessions, peer)
    }

    /// The sessions to ask, best first: for a second try, or for copies. One for each peer.
    #[must_use]
    pub fn rank(&self, content: &ContentId, count: usize) -> Vec<Session> {
        let sessions = self.node.sessions();
        let peers = self.current(&sessions).rank(content, count);
        peers.into_iter().filter_map(|peer| newest_with(sessions.clone(), peer)).collect()
    }

    /// Says whether the peer of a session held a content.
    pub fn report(&self, content: &ContentId, session: SessionId, held: bool) {
        let Some(session) = self.node.session(session) else { return };
        let peer = session.peer_node_id();
        let mut pool = self.current(&self.node.sessions());
        pool.report(content, peer, held);
        if let Some(stats) = pool.member_stats(peer) {
            session.set_affinity(stats.hit_ratio());
        }
    }

    /// Hits, misses, and how members were picked.
    #[must_use]
    pub fn stats(&self) -> AffinityStats {
        self.lock().stats()
    }

    fn lock(&self) -> MutexGuard<'_, AffinityPool<crate::NodeId>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool, with the peers of these sessions and no others as members.
    fn current(&self, sessions: &[Session]) -> MutexGuard<'_, AffinityPool<crate::NodeId>> {
        let mut pool = self.lock();
        let mut peers: Vec<_> = sessions.iter().map(Session::peer_node_id).collect();
        peers.sort_unstable();
        peers.dedup();
        for gone in pool.members() {
            if peers.binary_search(&gone).is_err() {
                pool.leave(gone);
            }
        }
        for peer in peers {
            pool.join(peer);
        }
        pool
    }
}

fn newest_with(sessions: Vec<Session>, peer: crate::NodeId) -> Option<Session> {
    let with_peer = sessions.into_iter().filter(|session| session.peer_node_id() == peer);
    with_peer.min_by_key(|session| session.stats().age)
}
