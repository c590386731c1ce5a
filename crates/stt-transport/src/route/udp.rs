//! A UDP socket: the system's, or one of a network that a test made.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// Sends and receives datagrams without waiting.
pub trait DatagramSocket: fmt::Debug + Send + Sync + 'static {
    /// Sends one call's worth of datagrams.
    ///
    /// # Errors
    /// "Would block" while the system has no room; whatever else it says.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()>;

    /// Who waits for room on its own: each has a waker.
    fn room(self: Arc<Self>) -> Box<dyn Room>;

    /// Fills buffers with what came, and says how many.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>>;

    /// Where it is bound.
    ///
    /// # Errors
    /// What the system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Whether this machine has a route to `address`, as far as the system says; nothing is sent.
    fn has_route(&self, _address: SocketAddr) -> bool {
        true
    }

    /// Datagrams of one size that a call sends at most.
    fn max_transmit_segments(&self) -> usize {
        1
    }

    /// Whether datagrams may come apart on their way, so that their size tells nothing.
    fn may_fragment(&self) -> bool {
        true
    }
}

/// Waits until a socket may have room again.
pub trait Room: Send {
    /// Ready when there may be room.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A socket of the system.
#[derive(Debug)]
pub(crate) struct SystemSocket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl SystemSocket {
    /// Must be called inside of a tokio runtime.
    pub(crate) fn over(socket: std::net::UdpSocket) -> io::Result<Arc<dyn DatagramSocket>> {
        let state = UdpSocketState::new((&socket).into())?;
        socket.set_nonblocking(true)?;
        Ok(Arc::new(Self { socket: UdpSocket::from_std(socket)?, state }))
    }
}

impl DatagramSocket for SystemSocket {
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let send = || self.state.send((&self.socket).into(), transmit);
        self.socket.try_io(Interest::WRITABLE, send)
    }

    fn room(self: Arc<Self>) -> Box<dyn Room> {
        Box::new(SystemRoom { socket: self, waiting: None })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let most = buffers.len().min(BATCH_SIZE);
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            let mut received = 0;
            let outcome = self.socket.try_io(Interest::READABLE, || {
                received = self.state.recv((&self.socket).into(), buffers, metas)?;
                // Fewer than there was room for: the queue is empty. The runtime is told so now; it
                // would cost another call to be told by the system.
                if received < most { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match outcome {
                _ if received > 0 => return Poll::Ready(Ok(received)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => return Poll::Ready(Ok(received)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Connecting a UDP socket only looks the route up. The one of this node must stay unconnected.
    fn has_route(&self, address: SocketAddr) -> bool {
        let found = || {
            let mut own = self.socket.local_addr()?;
            own.set_port(0);
            std::net::UdpSocket::bind(own)?.connect(address)
        };
        !found().is_err_and(|error| error.kind() == io::ErrorKind::NetworkUnreachable)
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Has a future of its own, since a socket of the runtime remembers one waker alone.
struct SystemRoom {
    socket: Arc<SystemSocket>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
}

impl Room for SystemRoom {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let socket = Arc::clone(&self.socket);
            Box::pin(async move { socket.socket.writable().await })
        });
        let ready = waiting.as_mut().poll(cx);
        if ready.is_ready() {
            self.waiting = None;
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    fn socket() -> Arc<dyn DatagramSocket> {
        SystemSocket::over(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap()
    }

    /// The first call of a fresh socket may say that there is no room.
    async fn send(from: &Arc<dyn DatagramSocket>, destination: SocketAddr, contents: &[u8]) {
        let (ecn, segment_size, src_ip) = (None, None, None);
        let transmit = Transmit { destination, ecn, contents, segment_size, src_ip };
        let mut room = Arc::clone(from).room();
        while let Err(error) = from.try_send(&transmit) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            poll_fn(|cx| room.poll(cx)).await.unwrap();
        }
    }

    /// Waits for datagrams, and says how many came.
    async fn receive(socket: &dyn DatagramSocket) -> usize {
        let mut buffers = [[0; 100]; 8];
        let mut metas = [RecvMeta::default(); 8];
        poll_fn(|cx| {
            let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer));
            socket.poll_recv(cx, &mut slices, &mut metas)
        })
        .await
        .unwrap()
    }

    /// An empty queue is not asked about, so whatever comes just then must not be overlooked.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_that_comes_is_overlooked() {
        let (here, there) = (socket(), socket());
        let (near, far) = (here.local_addr().unwrap(), there.local_addr().unwrap());
        let answering = tokio::spawn(async move {
            for _ in 0..5_000 {
                let mut came = 0;
                while came < 2 {
                    came += receive(&*there).await;
                }
                send(&there, near, b"back").await;
            }
        });
        let asking = async {
            for _ in 0..5_000 {
                send(&here, far, b"one").await;
                send(&here, far, b"two").await;
                assert_eq!(receive(&*here).await, 1);
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking).await.unwrap();
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn more_than_the_buffers_take_is_there_at_the_next_call() {
        let (here, there) = (socket(), socket());
        for _ in 0..11 {
            send(&here, there.local_addr().unwrap(), b"x").await;
        }
        assert_eq!(receive(&*there).await, 8);
        assert_eq!(receive(&*there).await, 3);
        assert!(tokio::time::timeout(Duration::from_millis(1), receive(&*there)).await.is_err());
    }
}
