//! The sessions of one fetch with its providers, and what it learned of them.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use stc::Cause;
use stt::{ConnectOptions, Node, NodeId, Session};
use tokio::task::JoinSet;

use crate::{DialFailure, Provider, failure::listed};

/// Between the dials to two addresses of one provider.
const STAGGER: Duration = Duration::from_millis(250);
/// How long a provider that was not reached is left alone by the files that follow.
const REST: Duration = Duration::from_secs(30);

/// Sessions that there were are left; those that began for the fetch end with this.
#[derive(Debug)]
pub(super) struct Sessions {
    node: Node,
    patience: Duration,
    opened: Mutex<Vec<Session>>,
    peers: Mutex<HashMap<NodeId, Peer>>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Who holds it dials; the others wait, and use the session then.
    turn: Arc<tokio::sync::Mutex<()>>,
    avoided: Option<Avoided>,
}

/// None of a provider's addresses answered.
#[derive(Debug)]
pub(super) struct Unreached(Vec<DialFailure>);

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("the ticket has no address of it"),
            failures => f.write_str(&listed(failures, ", ")),
        }
    }
}

impl Error for Unreached {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.first().map(|failure| failure as _)
    }
}

/// Why nothing is asked of a provider.
#[derive(Clone, Debug)]
pub(super) struct Avoided {
    pub(super) why: Cause,
    /// It lied, which is not forgiven.
    pub(super) lied: bool,
    since: Instant,
}

impl Sessions {
    /// `patience` is for one dial.
    pub(super) fn new(node: &Node, patience: Duration) -> Self {
        Self { node: node.clone(), patience, opened: Mutex::default(), peers: Mutex::default() }
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<NodeId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the files that follow not ask a provider, for a while or for good.
    pub(super) fn avoid(&self, node_id: NodeId, why: Cause, lied: bool) {
        let avoided = Avoided { why, lied, since: Instant::now() };
        self.peers().entry(node_id).or_default().avoided = Some(avoided);
    }

    /// Why a provider is not asked, if so.
    pub(super) fn avoided(&self, node_id: NodeId) -> Option<Avoided> {
        let avoided = self.peers().get(&node_id)?.avoided.clone()?;
        (avoided.lied || avoided.since.elapsed() < REST).then_some(avoided)
    }

    /// A session with the provider: one that is there, or a new one.
    pub(super) async fn reach(&self, provider: &Provider) -> Result<Session, Unreached> {
        if let Some(session) = self.known(provider.node_id) {
            return Ok(session);
        }
        let turn = Arc::clone(&self.peers().entry(provider.node_id).or_default().turn);
        let _turn = turn.lock().await;
        if let Some(session) = self.known(provider.node_id) {
            return Ok(session);
        }
        let mut dials = JoinSet::new();
        for (at, address) in (0u32..).zip(&provider.addresses) {
            let (node, peer, address) = (self.node.clone(), provider.node_id, address.to_string());
            let patience = self.patience;
            dials.spawn(async move {
                tokio::time::sleep(STAGGER * at).await;
                let dialled = node
                    .connect_with(&address, &ConnectOptions::new().expect(peer).timeout(patience))
                    .await;
                dialled.map_err(|error| DialFailure { address, cause: error.into() })
            });
        }
        let (mut causes, mut reached) = (Vec::new(), None);
        while let Some(dialled) = dials.join_next().await {
            match dialled {
                Ok(Ok(session)) => {
                    let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
                    opened.push(session.clone());
                    // One that was there at the same time ends with the others.
                    dials.abort_all();
                    reached.get_or_insert(session);
                }
                Ok(Err(cause)) => causes.push(cause),
                Err(_) => {}
            }
        }
        if let Some(session) = reached {
            return Ok(session);
        }
        Err(Unreached(causes))
    }

    fn known(&self, node_id: NodeId) -> Option<Session> {
        let sessions = self.node.sessions_with(node_id);
        sessions.into_iter().find(|session| session.close_reason().is_none())
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        // Without a runtime there is nobody left to tell.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        for session in opened.drain(..) {
            runtime.spawn(async move { session.close("").await });
        }
    }
}
