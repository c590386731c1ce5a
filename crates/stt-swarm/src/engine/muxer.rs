//! A link as the engine wants it: what opens and takes its streams.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p_core::{
    Multiaddr,
    multiaddr::Protocol,
    muxing::{StreamMuxer, StreamMuxerEvent},
};
use stt::ProtocolError;
use tokio::time::Sleep;

use super::{
    link::{self, Link, SUBSTREAM},
    peer,
    substream::{OpenStreams, Places, Substream},
};

/// Streams that this side opens at once, at most. The engine's own protocols need 34.
const MAX_OPEN: usize = 64;
/// How long to wait where the session itself has no room for a stream.
const NO_ROOM: Duration = Duration::from_millis(50);
/// How often it is looked whether the peer has moved.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A link's streams. Dropped, the link ends.
#[derive(Debug)]
pub(crate) struct Muxer {
    link: Link,
    open: Arc<OpenStreams>,
    places: Arc<Places>,
    no_room: Option<Pin<Box<Sleep>>>,
    /// Where the engine thinks that the peer is.
    address: Multiaddr,
    looked: Option<Instant>,
}

impl Muxer {
    /// The streams of `link`, to a peer that the engine dialled at, or met from, `address`.
    pub(crate) fn new(link: Link, address: Multiaddr, places: Arc<Places>) -> Self {
        Self { link, open: Arc::default(), places, no_room: None, address, looked: None }
    }

    /// The peer's address, if it is another one than the engine thinks.
    fn moved(&mut self) -> Option<Multiaddr> {
        let now = Instant::now();
        if self.looked.is_some_and(|at| now.saturating_duration_since(at) < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(now);
        let udp = link::udp_address(&self.link.session)?;
        let address = peer::multiaddr(udp).with(Protocol::P2p(self.link.peer_id));
        (address != self.address).then(|| {
            self.address = address.clone();
            address
        })
    }
}

fn over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the link is over")
}

impl StreamMuxer for Muxer {
    type Substream = Substream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream>> {
        let stream = std::task::ready!(self.link.streams.poll_recv(cx));
        let places = Arc::clone(&self.places);
        Poll::Ready(stream.map(|stream| Substream::accepted(stream, places)).ok_or_else(over))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Substream>> {
        if let Some(wait) = &mut self.no_room {
            std::task::ready!(wait.as_mut().poll(cx));
            self.no_room = None;
        }
        if self.open.count() >= MAX_OPEN {
            self.open.waker.register(cx.waker());
            // One may have ended in between.
            if self.open.count() >= MAX_OPEN {
                return Poll::Pending;
            }
        }
        match self.link.session.open_protocol(SUBSTREAM) {
            Ok(stream) => {
                let places = Arc::clone(&self.places);
                Poll::Ready(Ok(Substream::opened(stream, places, &self.open)))
            }
            Err(ProtocolError::TooMany { .. }) => {
                let mut wait = Box::pin(tokio::time::sleep(NO_ROOM));
                let _ = wait.as_mut().poll(cx);
                self.no_room = Some(wait);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.streams.close();
        Poll::Ready(Ok(()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        if Pin::new(&mut self.link.over).poll(cx).is_ready() {
            return Poll::Ready(Err(over()));
        }
        match self.moved() {
            Some(address) => Poll::Ready(Ok(StreamMuxerEvent::AddressChange(address))),
            None => Poll::Pending,
        }
    }
}
