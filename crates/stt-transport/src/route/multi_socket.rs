//! All the sockets of a node, as one.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use quinn_udp::{RecvMeta, Transmit};
use tokio::sync::mpsc;

use super::{
    link::{Link, NextHop},
    mapped_addrs::{Table, is_stand_in},
    path::{Path, Via},
    udp::{DatagramSocket, Room},
};

/// Most UDP sockets at once: one in use and one that is being left for each address family.
pub(crate) const MAX_LOCALS: usize = 8;

/// A UDP socket of this node.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) number: u32,
    pub(crate) udp: Arc<dyn DatagramSocket>,
    pub(crate) address: SocketAddr,
    /// A newer one took its place: it serves sessions that still use it, and no new ones.
    retired: AtomicBool,
    /// It cannot receive any more.
    failed: AtomicBool,
}

/// Sends over the way of a connection; receives from all.
pub(crate) struct RouteSocket {
    locals: RwLock<Vec<Arc<Local>>>,
    next: AtomicU32,
    table: Arc<Table>,
    received: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
    /// Who is asked first: they take turns, so that none keeps the others waiting.
    turn: AtomicUsize,
    /// Who receives, to be told of a new socket.
    receiver: Mutex<Option<Waker>>,
    /// The address that there was when the sockets were given up.
    left: Mutex<Option<SocketAddr>>,
}

impl Local {
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }
}

impl RouteSocket {
    pub(crate) fn new(
        udp: Arc<dyn DatagramSocket>,
        table: Arc<Table>,
        received: mpsc::Receiver<(SocketAddr, Bytes)>,
    ) -> io::Result<Self> {
        let socket = Self {
            locals: RwLock::default(),
            next: AtomicU32::new(0),
            table,
            received: Mutex::new(received),
            turn: AtomicUsize::new(0),
            receiver: Mutex::default(),
            left: Mutex::default(),
        };
        socket.add(udp)?;
        Ok(socket)
    }

    fn locals(&self) -> Vec<Arc<Local>> {
        self.locals.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Uses one more socket. Those of its address family are retired. `None` when there are too many.
    pub(crate) fn add(&self, udp: Arc<dyn DatagramSocket>) -> io::Result<Option<Arc<Local>>> {
        let address = udp.local_addr()?;
        let mut locals = self.locals.write().unwrap_or_else(PoisonError::into_inner);
        if locals.len() >= MAX_LOCALS {
            return Ok(None);
        }
        for local in locals.iter().filter(|local| local.address.is_ipv4() == address.is_ipv4()) {
            local.retired.store(true, Relaxed);
        }
        let number = self.next.fetch_add(1, Relaxed);
        let local = Arc::new(Local {
            number,
            udp,
            address,
            retired: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        });
        locals.push(Arc::clone(&local));
        drop(locals);
        self.wake_receiver();
        Ok(Some(local))
    }

    fn wake_receiver(&self) {
        let waker = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Closes retired sockets that no connection uses.
    pub(crate) fn prune(&self) {
        let mut locals = self.locals.write().unwrap_or_else(PoisonError::into_inner);
        locals.retain(|local| !local.is_retired() || Arc::strong_count(local) > 1);
    }

    /// Gives up all sockets, and waits for those that still use one: they end, too. Waits for
    /// `patience` at most.
    pub(crate) async fn close(&self, patience: Duration) {
        let locals: Vec<_> = {
            let mut locals = self.locals.write().unwrap_or_else(PoisonError::into_inner);
            let newest = newest(&locals).map(|local| local.address);
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = newest;
            std::mem::take(&mut *locals)
        };
        let unused = async {
            while locals.iter().any(|local| Arc::strong_count(local) > 1) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Who holds one for longer has it until then.
        let _ = tokio::time::timeout(patience, unused).await;
    }

    /// The address of the newest socket, or the last one that was.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let left = || *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        self.newest().map(|local| local.address).or_else(left)
    }

    /// Whether there are sockets that wait to be closed.
    pub(crate) fn has_retired(&self) -> bool {
        self.locals().iter().any(|local| local.is_retired())
    }

    /// The socket with this number.
    pub(crate) fn local(&self, number: u32) -> Option<Arc<Local>> {
        let locals = self.locals.read().unwrap_or_else(PoisonError::into_inner);
        locals.iter().find(|local| local.number == number).cloned()
    }

    /// The socket through which new peers at `remote` are reached, and the form that the address
    /// has there. An IPv6 socket reaches IPv4 as well, if it was opened so.
    pub(crate) fn towards(&self, remote: SocketAddr) -> Option<(Arc<Local>, SocketAddr)> {
        let mut locals = self.locals();
        locals.retain(|local| !local.is_retired());
        let canonical = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        if let Some(same) = locals.iter().find(|one| one.address.is_ipv4() == canonical.is_ipv4()) {
            return Some((Arc::clone(same), canonical));
        }
        let SocketAddr::V4(v4) = canonical else { return None };
        let wide = locals.iter().find(|local| local.address.ip().is_unspecified())?;
        let mapped = SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port());
        Some((Arc::clone(wide), mapped))
    }

    /// Whether this machine has a route to `remote`, as far as the system says.
    pub(crate) fn has_route(&self, remote: SocketAddr) -> bool {
        self.towards(remote).is_none_or(|(local, address)| local.udp.has_route(address))
    }

    /// Whether what comes through `via` is left to sessions that still use it.
    pub(crate) fn is_retired(&self, via: Via) -> bool {
        match via {
            Via::Udp(number) => self.local(number).is_none_or(|local| local.is_retired()),
            Via::WebSocket => false,
        }
    }

    /// The way back to where a datagram came from.
    pub(crate) fn way_back(&self, from: SocketAddr) -> Option<NextHop> {
        if is_stand_in(from.ip()) {
            return self.way_to(from);
        }
        let mut locals = self.locals();
        locals.retain(|local| !local.is_retired() && local.address.is_ipv4() == from.is_ipv4());
        let path = Path { via: Via::Udp(locals.first()?.number), remote: from };
        self.way(path, false)
    }

    /// The newest socket in use.
    pub(crate) fn newest(&self) -> Option<Arc<Local>> {
        newest(&self.locals.read().unwrap_or_else(PoisonError::into_inner)).cloned()
    }

    /// The way over `path`. `None` when its socket is gone.
    pub(crate) fn way(&self, path: Path, moved: bool) -> Option<NextHop> {
        match path.via {
            Via::Udp(number) => {
                Some(NextHop { path, local: Some(self.local(number)?), moved, source: None })
            }
            Via::WebSocket => Some(NextHop { path, local: None, moved, source: None }),
        }
    }

    /// The way to where a datagram without a link would go.
    pub(crate) fn way_to(&self, remote: SocketAddr) -> Option<NextHop> {
        if is_stand_in(remote.ip()) {
            return self.way(Path { via: Via::WebSocket, remote }, false);
        }
        let (local, remote) = self.towards(remote)?;
        self.way(Path { via: Via::Udp(local.number), remote }, false)
    }

    /// Sends what `transmit` holds over `way`, to wherever that leads.
    pub(crate) fn send(&self, way: &NextHop, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(local) = &way.local else {
            let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
            return self.table.send(way.path.remote, transmit.contents, size);
        };
        local.udp.try_send(&Transmit {
            destination: way.path.remote,
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            // The address that the peer first wrote to is that of another path.
            src_ip: if way.moved { way.source } else { transmit.src_ip },
        })
    }

    /// Receives from one socket, and tells from which.
    pub(crate) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<(usize, Via)>> {
        self.remember(cx.waker());
        let locals = self.locals.read().unwrap_or_else(PoisonError::into_inner);
        let sources = locals.len() + 1;
        let first = self.turn.fetch_add(1, Relaxed);
        for source in 0..sources {
            match locals.get((first.wrapping_add(source)) % sources) {
                Some(local) if local.failed.load(Relaxed) => {}
                Some(local) => match local.udp.poll_recv(cx, buffers, metas) {
                    Poll::Ready(Ok(received)) => {
                        return Poll::Ready(Ok((received, Via::Udp(local.number))));
                    }
                    // One socket of several must not end the others.
                    Poll::Ready(Err(error)) if locals.len() > 1 && !is_passing(&error) => {
                        local.failed.store(true, Relaxed);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                },
                None => {
                    if let Poll::Ready(filled) = self.poll_table(cx, buffers, metas) {
                        return Poll::Ready(Ok((filled, Via::WebSocket)));
                    }
                }
            }
        }
        Poll::Pending
    }

    /// Notes whom to wake when a socket is added.
    fn remember(&self, waker: &Waker) {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *receiver {
            Some(known) => known.clone_from(waker),
            None => *receiver = Some(waker.clone()),
        }
    }

    /// Fills buffers with what WebSockets received.
    fn poll_table(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<usize> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let mut filled = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            // Datagrams that no buffer holds are lost; the loop ends with what is there.
            let datagram = loop {
                match received.poll_recv(cx) {
                    Poll::Ready(Some((from, datagram))) if datagram.len() <= buffer.len() => {
                        break Some((from, datagram));
                    }
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) | Poll::Pending => break None,
                }
            };
            let Some((from, datagram)) = datagram else { break };
            if let Some(room) = buffer.get_mut(..datagram.len()) {
                room.copy_from_slice(&datagram);
            }
            *meta = RecvMeta::default();
            meta.addr = from;
            meta.len = datagram.len();
            meta.stride = datagram.len();
            filled += 1;
        }
        if filled > 0 { Poll::Ready(filled) } else { Poll::Pending }
    }

    pub(crate) fn may_fragment(&self) -> bool {
        self.newest().is_none_or(|local| local.udp.may_fragment())
    }
}

impl fmt::Debug for RouteSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteSocket").field("locals", &self.locals()).finish_non_exhaustive()
    }
}

fn newest(locals: &[Arc<Local>]) -> Option<&Arc<Local>> {
    locals.iter().rev().find(|local| !local.is_retired()).or(locals.last())
}

/// Whether an error says that one datagram went wrong and the next may be fine.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::ConnectionAborted
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::Interrupted
            | Kind::OutOfMemory
    )
}

/// Waits until the socket of a link takes more, or its WebSocket's queue.
pub(crate) struct RouteRoom {
    socket: Arc<RouteSocket>,
    link: Arc<Link>,
    /// Of the socket with this number.
    room: Option<(u32, Box<dyn Room>)>,
}

impl RouteRoom {
    pub(crate) const fn new(socket: Arc<RouteSocket>, link: Arc<Link>) -> Self {
        Self { socket, link, room: None }
    }

    /// Nothing is waited for any more.
    pub(crate) fn close(&mut self) {
        self.room = None;
    }

    /// Ready once there may be room on the link's way, whichever that is by then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let way = self.link.way();
        let ready = match &way.local {
            Some(local) => self.poll_local(local, cx),
            None => {
                self.room = None;
                self.socket.table.poll_room(way.path.remote, cx).map(Ok)
            }
        };
        if ready.is_pending() {
            // A way that was left may never have room again.
            self.link.wake_when_moved(cx.waker());
            if self.link.way().path != way.path {
                cx.waker().wake_by_ref();
            }
        }
        ready
    }

    fn poll_local(&mut self, local: &Local, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.room {
            Some((number, room)) if *number == local.number => room.poll(cx),
            slot => {
                let (_, room) = slot.insert((local.number, Arc::clone(&local.udp).room()));
                room.poll(cx)
            }
        }
    }
}
