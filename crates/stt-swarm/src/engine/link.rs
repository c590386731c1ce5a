//! A link: the part of a session with a peer that the swarm uses.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use libp2p_identity::PeerId;
use stt::{NodeId, ProtocolStream, RouteKind, Session};
use tokio::sync::{mpsc, oneshot};

use super::{hello::Hello, links::Links};

/// The label of the stream that a link lives as long as.
pub(crate) const CONTROL: &str = "stt/swarm-link/1";
/// The label of the streams inside of it.
pub(crate) const SUBSTREAM: &str = "stt/swarm/1";
/// What a node says of a link's stream that makes no sense, or that it wants no more.
pub(crate) const NONSENSE: u32 = 0x100;

/// Streams that wait for the engine, at most; those beyond are refused.
const WAITING: usize = 64;
/// How long a session that only the swarm used may have streams of others before it is left to
/// them.
const UNUSED_WITHIN: Duration = Duration::from_secs(5);

/// What the table keeps of a link.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) session: Session,
    pub(crate) streams: mpsc::Sender<ProtocolStream>,
    /// The link's own, shared with its keeper: it also tells links apart.
    pub(crate) serves: Arc<AtomicBool>,
    /// Dropped when another link takes its place.
    _replaced: oneshot::Sender<()>,
}

/// What the engine has of a link. Dropped, the link ends.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    pub(crate) peer_id: PeerId,
    pub(crate) session: Session,
    pub(crate) streams: mpsc::Receiver<ProtocolStream>,
    /// Ends with the link.
    pub(crate) over: oneshot::Receiver<()>,
    _released: oneshot::Sender<()>,
}

/// What keeps a link until one side lets go of it.
pub(crate) struct Keeper {
    session: SessionHold,
    serves: Arc<AtomicBool>,
    replaced: oneshot::Receiver<()>,
    released: oneshot::Receiver<()>,
    _over: oneshot::Sender<()>,
}

/// A session, and whether the swarm opened it.
#[derive(Debug)]
pub(crate) struct SessionHold {
    pub(crate) session: Session,
    opened: bool,
}

impl SessionHold {
    /// One that was there.
    pub(crate) const fn shared(session: Session) -> Self {
        Self { session, opened: false }
    }

    /// One that was opened for the swarm, which is closed with the hold.
    pub(crate) const fn opened(session: Session) -> Self {
        Self { session, opened: true }
    }
}

impl Drop for SessionHold {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.opened, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let session = self.session.clone();
        runtime.spawn(async move {
            let unused = async {
                while session.stats().active_streams > 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            if tokio::time::timeout(UNUSED_WITHIN, unused).await.is_ok() {
                session.close("the swarm needs it no longer").await;
            }
        });
    }
}

impl Handle {
    /// Where the peer is, if others can reach it there: it takes sessions, and this one is over
    /// UDP.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let serves = self.serves.load(Ordering::Relaxed);
        serves.then(|| udp_address(&self.session)).flatten()
    }
}

/// Where the peer's datagrams come from.
pub(crate) fn udp_address(session: &Session) -> Option<SocketAddr> {
    let route = session.route();
    (route.kind == RouteKind::Udp).then_some(route.remote)
}

/// The parts of a new link.
pub(crate) fn parts(session: SessionHold, peer_id: PeerId) -> (Handle, Link, Keeper) {
    let (streams, waiting) = mpsc::channel(WAITING);
    let serves = Arc::new(AtomicBool::new(false));
    let (replaced_sender, replaced) = oneshot::channel();
    let (released_sender, released) = oneshot::channel();
    let (over_sender, over) = oneshot::channel();
    let handle = Handle {
        session: session.session.clone(),
        streams,
        serves: Arc::clone(&serves),
        _replaced: replaced_sender,
    };
    let link = Link {
        peer: session.session.peer_node_id(),
        peer_id,
        session: session.session.clone(),
        streams: waiting,
        over,
        _released: released_sender,
    };
    (handle, link, Keeper { session, serves, replaced, released, _over: over_sender })
}

impl Keeper {
    /// Notes what the peer said of itself.
    pub(crate) fn note(&self, hello: Hello) {
        self.serves.store(hello.serves, Ordering::Relaxed);
    }

    /// What tells this link from others, also over one session.
    pub(crate) const fn serves(&self) -> &Arc<AtomicBool> {
        &self.serves
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session.session
    }

    /// Keeps the link until one side lets go of it, the session ends, or another link takes its
    /// place.
    pub(crate) async fn run(mut self, links: &Links, control: ProtocolStream) {
        let session = self.session().clone();
        loop {
            tokio::select! {
                _ = &mut self.released => break,
                _ = &mut self.replaced => break,
                _ = session.closed() => break,
                said = control.receive() => match said {
                    // Of a later version.
                    Ok(Some(_)) => {}
                    _ => break,
                },
            }
        }
        links.ended(session.peer_node_id(), &self.serves);
        control.reset(NONSENSE);
    }
}
