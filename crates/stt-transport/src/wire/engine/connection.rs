//! What the layers above do with a connection.

use std::{any::Any, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use quinn_proto::{Dir, SendDatagramError, VarInt};
use tokio::sync::Notify;

use super::{
    drive::{Shared, State},
    error::{ConnectionError, DatagramError},
    recv::RecvStream,
    send::SendStream,
};

/// A connection. Clones share it, and so do its streams; it is closed with the last of them.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Owner>);

/// Closes what nobody has any more.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        if self.0.lock().error.is_none() {
            self.0.close(VarInt::from_u32(0), Bytes::new());
        }
    }
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection").field(&self.0.engine.handle).finish()
    }
}

/// A connection whose handshake is under way. Dropped, it is given up.
pub(crate) struct Connecting(Connection);

impl Connecting {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Connection(Arc::new(Owner(shared))))
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.0.lock_for(|state| state.quic.remote_address())
    }

    /// Waits for this side's end of the handshake.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(crate) async fn finish(self) -> Result<Connection, ConnectionError> {
        let connected = |state: &mut State| match (state.connected, &state.error) {
            (true, _) => Some(Ok(())),
            (false, Some(error)) => Some(Err(error.clone())),
            (false, None) => None,
        };
        self.0.wait(|shared| &shared.engine.notices.connected, connected).await?;
        Ok(self.0)
    }
}

/// Figures of one connection.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Smoothed round-trip time.
    pub round_trip: Duration,
    /// Bytes of all datagrams sent.
    pub bytes_sent: u64,
    /// Bytes of all datagrams received.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Packets sent that were found lost, MTU probes not counted.
    pub packets_lost: u64,
    /// Largest datagram that the path is known to carry, in bytes.
    pub path_mtu: u16,
    /// Bytes that may be under way at once.
    pub congestion_window: u64,
    /// Grows with what arrived and was authentic: each packet has a frame that is counted here.
    pub heard: u64,
}

impl Connection {
    pub(super) fn shared(&self) -> &Shared {
        &self.0.0
    }

    fn lock_for<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.shared().lock())
    }

    /// Changes what the task has to send.
    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = self.lock_for(act);
        self.shared().call();
        result
    }

    /// Asks again whenever `notice` is given.
    async fn wait<T>(
        &self,
        notice: impl Fn(&Shared) -> &Notify,
        mut ask: impl FnMut(&mut State) -> Option<T>,
    ) -> T {
        loop {
            let mut notified = pin!(notice(self.shared()).notified());
            notified.as_mut().enable();
            if let Some(answer) = self.lock_for(&mut ask) {
                return answer;
            }
            notified.await;
        }
    }

    /// The next datagram meets a panic.
    #[cfg(any(test, feature = "testing"))]
    pub fn trap(&self) {
        self.lock_for(|state| state.trap = true);
    }

    /// The next stream that the peer opened.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn accept_uni(&self) -> Result<RecvStream, ConnectionError> {
        let accept = |state: &mut State| match state.quic.streams().accept(Dir::Uni) {
            Some(id) => Some(Ok(id)),
            None => state.error.clone().map(Err),
        };
        let id = self.wait(|shared| &shared.engine.notices.stream_arrived, accept).await?;
        // The peer may open another one now.
        self.shared().call();
        Ok(RecvStream::new(self.clone(), id))
    }

    /// Opens a stream, once the peer allows one more.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn open_uni(&self) -> Result<SendStream, ConnectionError> {
        let open = |state: &mut State| match &state.error {
            Some(error) => Some(Err(error.clone())),
            None => state.quic.streams().open(Dir::Uni).map(Ok),
        };
        let id = self.wait(|shared| &shared.engine.notices.may_open, open).await?;
        Ok(SendStream::new(self.clone(), id))
    }

    /// The next datagram.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn read_datagram(&self) -> Result<Bytes, ConnectionError> {
        let read = |state: &mut State| match state.quic.datagrams().recv() {
            Some(datagram) => Some(Ok(datagram)),
            None => state.error.clone().map(Err),
        };
        self.wait(|shared| &shared.engine.notices.datagram_arrived, read).await
    }

    /// Queues a datagram; older ones make room for it.
    ///
    /// # Errors
    /// See [`DatagramError`].
    pub fn send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        self.change(|state| match &state.error {
            Some(error) => Err(DatagramError::Lost(error.clone())),
            None => match state.quic.datagrams().send(datagram, true) {
                Ok(()) | Err(SendDatagramError::Blocked(_)) => Ok(()),
                Err(SendDatagramError::TooLarge) => Err(DatagramError::TooLarge),
                Err(_) => Err(DatagramError::Unsupported),
            },
        })
    }

    /// As [`Self::send_datagram`], but waits for room.
    ///
    /// # Errors
    /// See [`DatagramError`].
    pub async fn send_datagram_wait(&self, datagram: Bytes) -> Result<(), DatagramError> {
        let send = |state: &mut State| {
            if let Some(error) = &state.error {
                return Some(Err(DatagramError::Lost(error.clone())));
            }
            match state.quic.datagrams().send(datagram.clone(), false) {
                Ok(()) => Some(Ok(())),
                Err(SendDatagramError::Blocked(_)) => None,
                Err(SendDatagramError::TooLarge) => Some(Err(DatagramError::TooLarge)),
                Err(_) => Some(Err(DatagramError::Unsupported)),
            }
        };
        let sent = self.wait(|shared| &shared.engine.notices.may_send_datagram, send).await;
        self.shared().call();
        sent
    }

    /// Most bytes of a datagram on the path as it is; `None` if the peer takes none.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.lock_for(|state| state.quic.datagrams().max_size())
    }

    /// Ends it now: the peer is told `code` and `reason`, and what was not delivered is lost.
    pub fn close(&self, code: u32, reason: &[u8]) {
        self.shared().close(VarInt::from_u32(code), Bytes::copy_from_slice(reason));
    }

    /// Waits for the end.
    pub async fn closed(&self) -> ConnectionError {
        self.wait(|shared| &shared.engine.notices.closed, |state| state.error.clone()).await
    }

    /// Why it is over.
    pub fn close_reason(&self) -> Option<ConnectionError> {
        self.lock_for(|state| state.error.clone())
    }

    /// The path's round trip, as far as it is known.
    pub fn rtt(&self) -> Duration {
        self.lock_for(|state| state.quic.rtt())
    }

    /// Bytes that may be under way at once, as congestion control has it.
    pub fn congestion_window(&self) -> u64 {
        self.lock_for(|state| state.quic.congestion_state().window())
    }

    /// Figures since the start.
    pub fn stats(&self) -> ConnectionStats {
        let stats = self.lock_for(|state| state.quic.stats());
        let frames = stats.frame_rx;
        let kinds = [
            frames.acks,
            frames.ping,
            frames.stream,
            frames.datagram,
            frames.path_challenge,
            frames.crypto,
        ];
        ConnectionStats {
            round_trip: stats.path.rtt,
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
            datagrams_sent: stats.udp_tx.datagrams,
            datagrams_received: stats.udp_rx.datagrams,
            packets_lost: stats.path.lost_packets,
            path_mtu: stats.path.current_mtu,
            congestion_window: stats.path.cwnd,
            heard: kinds.into_iter().fold(0, u64::wrapping_add),
        }
    }

    /// What the handshake found out about the peer.
    pub(crate) fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.lock_for(|state| state.quic.crypto_session().peer_identity())
    }

    /// New keys from the next packet on.
    pub(crate) fn force_key_update(&self) {
        self.lock_for(|state| state.quic.force_key_update());
    }

    /// How many streams the peer may have open.
    pub fn set_max_concurrent_uni_streams(&self, count: u32) {
        let count = VarInt::from_u32(count);
        self.change(|state| state.quic.set_max_concurrent_streams(Dir::Uni, count));
    }

    /// Bytes that the peer may send before it hears of more.
    pub(crate) fn set_receive_window(&self, bytes: u32) {
        self.change(|state| state.quic.set_receive_window(VarInt::from_u32(bytes)));
    }

    /// Bytes that may be written before others were acknowledged.
    pub fn set_send_window(&self, bytes: u64) {
        self.change(|state| state.quic.set_send_window(bytes));
    }
}
