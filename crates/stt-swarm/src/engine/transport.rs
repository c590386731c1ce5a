//! How the engine reaches peers: by links over sealed sessions. It opens no socket.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use libp2p_core::{
    Multiaddr, Transport,
    multiaddr::Protocol,
    muxing::StreamMuxerBox,
    transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use libp2p_identity::PeerId;

use super::{
    link::{self, Link},
    links::{LinkError, Links},
    muxer::Muxer,
    peer,
};

/// What the engine makes a connection of.
pub(crate) type Output = (PeerId, StreamMuxerBox);
type Upgrade = BoxFuture<'static, Result<Output, LinkError>>;

/// Links over the sessions of one node.
pub(crate) struct SealedTransport {
    links: Arc<Links>,
    listener: Option<ListenerId>,
    events: VecDeque<TransportEvent<Upgrade, LinkError>>,
}

impl SealedTransport {
    pub(crate) const fn new(links: Arc<Links>) -> Self {
        Self { links, listener: None, events: VecDeque::new() }
    }
}

fn output(links: &Links, link: Link, address: Multiaddr) -> Output {
    let places = Arc::clone(links.places());
    (link.peer_id, StreamMuxerBox::new(Muxer::new(link, address, places)))
}

impl Transport for SealedTransport {
    type Output = Output;
    type Error = LinkError;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    /// The node listens already; this only lets peers in, from wherever they come.
    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<LinkError>> {
        if self.listener.is_some() {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        self.listener = Some(id);
        // The address of all interfaces is none that others could use.
        if peer::parse(&address).is_some() {
            let event = TransportEvent::NewAddress { listener_id: id, listen_addr: address };
            self.events.push_back(event);
        }
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.listener.take_if(|listener| *listener == id).is_some()
    }

    /// Only addresses that name the peer: whoever else answers there must not learn who calls.
    fn dial(
        &mut self,
        address: Multiaddr,
        _: DialOpts,
    ) -> Result<Upgrade, TransportError<LinkError>> {
        let parsed = peer::parse(&address);
        let Some((udp, node)) = parsed.and_then(|(udp, peer)| Some((udp, peer::node_id(&peer?)?)))
        else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let links = Arc::clone(&self.links);
        Ok(Box::pin(async move {
            let link = Arc::clone(&links).dial(node, udp).await?;
            Ok(output(&links, link, address))
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Upgrade, LinkError>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        let Some(listener_id) = self.listener else { return Poll::Pending };
        let Some(link) = self.links.next_incoming(cx) else { return Poll::Pending };
        let from = match link::udp_address(&link.session) {
            Some(udp) => peer::multiaddr(udp),
            // Nobody can be reached where its WebSocket comes from.
            None => {
                let remote = link.session.remote_address();
                let ip = Multiaddr::empty().with(remote.ip().to_canonical().into());
                ip.with(Protocol::Tcp(remote.port())).with(Protocol::Ws("/".into()))
            }
        };
        let from = from.with(Protocol::P2p(link.peer_id));
        let linked = output(&self.links, link, from.clone());
        Poll::Ready(TransportEvent::Incoming {
            listener_id,
            local_addr: peer::multiaddr(self.links.node().local_addr()),
            send_back_addr: from,
            upgrade: Box::pin(std::future::ready(Ok(linked))),
        })
    }
}
