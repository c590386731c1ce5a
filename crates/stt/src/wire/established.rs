//! The last step of a handshake on either side, and what it yields.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use quinn::{Connecting, Connection, VarInt};
use stc::{Key, aead::Suite, kdf};
use subtle::ConstantTimeEq;

use super::{
    adapter::PeerInfo,
    clock::Clock,
    doorkeeper::Begun,
    error::WireError,
    handshake::HandshakeError,
    rekey,
    stats::{Counters, count},
    urgency::CloseLatch,
    window::{self, Growth},
};
use crate::{NodeId, Refusal, SessionId};

/// Bytes of the FINAL record (docs/protocol.md, HS-6).
const FINAL_LEN: usize = 32;

/// A session whose two sides have both proved themselves and know it.
#[derive(Clone, Debug)]
pub(crate) struct Established {
    /// The engine's connection. Its first stream from the responder is used up already.
    pub(crate) connection: Connection,
    /// Who the peer proved to be.
    pub(crate) peer: NodeId,
    /// Equal on both sides, and unknown to everyone else.
    pub(crate) session_id: SessionId,
    /// Keys for applications.
    pub(crate) exporter: Exporter,
    /// Whether this side knocked.
    pub(crate) initiator: bool,
    /// The cipher of its packets.
    pub(crate) suite: Suite,
    /// From the first datagram to FINAL.
    pub(crate) handshake_time: Duration,
    /// Where the peer can be reached, as it says: only a responder is told.
    pub(crate) peer_listens: Vec<SocketAddr>,
    /// To be closed just before the connection is.
    pub(crate) latch: CloseLatch,
}

#[cfg(test)]
impl Established {
    /// What the keys did.
    pub(crate) fn meter(&self) -> Arc<super::meter::Meter> {
        peer_info(&self.connection).unwrap().meter
    }
}

/// Derives keys that both sides of a session share and nobody else has.
#[derive(Clone)]
pub(crate) struct Exporter(Key);

impl Exporter {
    /// The key that belongs to `label` and `context`. Labels keep applications apart.
    pub(crate) fn derive(&self, label: &str, context: &[u8]) -> Key {
        kdf::derive(&self.0, "stt/1 export", &[label.as_bytes(), context])
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter(..)")
    }
}

/// A peer whose first flight authenticated: it holds the seed, and isn't known by name yet.
pub(crate) struct Incoming {
    pub(super) connecting: Connecting,
    pub(super) accepting: Arc<AtomicBool>,
    pub(super) started: Instant,
    pub(super) latch: CloseLatch,
    pub(super) credit: Credit,
    /// Its place among the unfinished handshakes.
    pub(super) begun: Begun,
    pub(super) counters: Arc<Counters>,
}

/// What a session may receive before it has shown that it needs more, and how that grows.
#[derive(Clone, Debug)]
pub(super) struct Credit {
    pub(super) first: u32,
    pub(super) growth: Growth,
}

impl Incoming {
    /// Where it knocks from.
    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.connecting.remote_address()
    }

    /// Waits for the peer's proof, asks `admit` about it, and confirms the session.
    ///
    /// `admit` is not asked while the wire isn't accepting. A refused peer is told why. One that takes
    /// too long, or has to make room for others, is given up.
    pub(crate) async fn finish<T>(
        mut self,
        admit: impl FnOnce(NodeId) -> Result<T, Refusal>,
    ) -> Result<(Established, T), WireError> {
        let (address, latch) = (self.remote_address(), self.latch.clone());
        let counters = Arc::clone(&self.counters);
        let mut expired = self.begun.expired();
        tokio::select! {
            biased;
            finished = self.finish_in_time(admit) => finished,
            () = &mut expired => {
                count(&counters.handshakes_expired);
                latch.close();
                Err(WireError::NoAnswer { address })
            }
        }
    }

    async fn finish_in_time<T>(
        self,
        admit: impl FnOnce(NodeId) -> Result<T, Refusal>,
    ) -> Result<(Established, T), WireError> {
        let address = self.remote_address();
        let lost = |error| WireError::connection(address, &error);
        let connection = self.connecting.await.map_err(lost)?;
        let peer = peer_info(&connection)?;
        let admitted = if self.accepting.load(Relaxed) {
            admit(peer.node_id)
        } else {
            Err(Refusal::NotAccepting)
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.latch.close();
                connection.close(VarInt::from_u32(refusal.wire_code()), b"");
                return Err(WireError::Refused(refusal));
            }
        };
        let mut stream = connection.open_uni().await.map_err(lost)?;
        let sent = async {
            stream.write_all(peer.final_confirm.as_bytes()).await.is_ok() && stream.finish().is_ok()
        };
        if !sent.await {
            let error = connection.close_reason();
            return Err(error.map_or(WireError::Closed, lost));
        }
        let session = established(connection, peer, false, self.started, self.latch, self.credit);
        Ok((session, admitted))
    }
}

/// Waits for the responder's FINAL.
pub(super) async fn confirm(
    connecting: Connecting,
    started: Instant,
    latch: CloseLatch,
    clock: &Clock,
    credit: Credit,
) -> Result<Established, WireError> {
    let address = connecting.remote_address();
    let lost = |error| WireError::connection(address, &error);
    let connection = connecting.await.map_err(lost)?;
    let peer = peer_info(&connection)?;
    let mut stream = connection.accept_uni().await.map_err(lost)?;
    let read = stream.read_to_end(FINAL_LEN).await;
    if let Some(error) = connection.close_reason() {
        return Err(lost(error));
    }
    if !read.is_ok_and(|record| bool::from(record.ct_eq(peer.final_confirm.as_bytes()))) {
        let error = HandshakeError::Tampered;
        latch.close();
        connection.close(VarInt::from_u32(0), b"");
        return Err(WireError::Handshake(error));
    }
    if let Some(time) = peer.time {
        clock.learn(time);
    }
    Ok(established(connection, peer, true, started, latch, credit))
}

fn peer_info(connection: &Connection) -> Result<PeerInfo, WireError> {
    let info = connection.peer_identity().and_then(|info| info.downcast::<PeerInfo>().ok());
    info.map(|info| *info).ok_or(WireError::Keys)
}

fn established(
    connection: Connection,
    peer: PeerInfo,
    initiator: bool,
    started: Instant,
    latch: CloseLatch,
    credit: Credit,
) -> Established {
    let Credit { first, growth } = credit;
    tokio::spawn(window::grow(connection.clone(), Arc::clone(&peer.meter), first, growth));
    tokio::spawn(rekey::update(connection.clone(), peer.meter, rekey::BYTES, rekey::AGE));
    let [a, b, c, d, e, f, g, h, ..] = *peer.session_id.as_bytes();
    Established {
        connection,
        peer: peer.node_id,
        session_id: SessionId::from_bytes([a, b, c, d, e, f, g, h]),
        exporter: Exporter(peer.exporter),
        initiator,
        suite: peer.suite,
        handshake_time: started.elapsed(),
        peer_listens: peer.listens,
        latch,
    }
}
