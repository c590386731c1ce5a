//! Settings of the engine, each with its reason.

use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use quinn_proto::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::path_aware::{CloseLatch, PathAwareFactory};
use crate::{
    congestion::{self, BbrConfig},
    route::{WEBSOCKET_MTU, is_stand_in},
};

/// Streams that a peer may have open towards us, at first and once it has shown that it needs many.
/// The engine keeps room for all of them: 1,024 would make 48 KiB of every idle session.
pub const STREAMS: (u32, u32) = (16, 1024);
/// What Ethernet carries with IPv6 and some tunnel around it (the engine's own default).
pub const ETHERNET_MTU: u16 = 1452;
/// What a loopback interface of 65,536 bytes carries over IPv4 (limited by IP) and over IPv6.
const LOOPBACK_MTU: (u16, u16) = (65_507, 65_488);
/// Whether the loopback interface is as wide as that, as far as the system tells.
///
/// A search for it would send a dozen probes, of which the engine reads every byte of padding: 12 ms
/// of work for each session, ten times what the handshake itself costs.
static LOOPBACK_IS_WIDE: LazyLock<bool> = LazyLock::new(|| {
    let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap_or_default();
    mtu.trim().parse::<u32>().is_ok_and(|mtu| mtu >= 65_536)
});
/// How long a path that turned out narrower than it was carries the least, before what it does carry
/// is searched for. A session that moved to another route needs it soon; the engine's default is a
/// minute.
const NARROW_TIME: Duration = Duration::from_secs(1);
/// Smallest datagram that every path must carry (RFC 9000, section 14).
pub(crate) const MIN_MTU: u16 = 1_200;
/// Largest datagram that we are ready to receive.
pub(crate) const MAX_PAYLOAD: u16 = 65_527;

/// Round trip that a connection begins with, until it has seen one. What is lost of a handshake is
/// said again after three of it. RFC 9002 (section 6.2.2) recommends 333 ms, with which one lost
/// datagram costs a second; browsers have long used 100. On a longer path one datagram is sent twice.
pub const FIRST_RTT: Duration = Duration::from_millis(100);

/// What of the transport a user decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) heartbeat: Duration,
    pub(crate) idle_timeout: Duration,
    /// Bound of the path MTU instead of what the kind of interface carries.
    pub(crate) max_mtu: Option<u16>,
    /// Bytes of datagrams of an application that wait to be read, or to be sent.
    pub(crate) datagram_buffer: usize,
    /// Bytes that may be sent and not acknowledged, at first.
    pub(crate) send_window: u64,
    /// Bytes that the peer may send before it heard of credit.
    pub(crate) first_window: u32,
}

/// The settings of one connection to `peer`, which is closed through `latch`.
pub(crate) fn config(timing: Timing, peer: IpAddr, latch: &CloseLatch) -> TransportConfig {
    let peer = peer.to_canonical();
    let usual = match peer {
        ip if is_stand_in(ip) => WEBSOCKET_MTU,
        IpAddr::V4(ip) if ip.is_loopback() => LOOPBACK_MTU.0,
        IpAddr::V6(ip) if ip.is_loopback() => LOOPBACK_MTU.1,
        _ => ETHERNET_MTU,
    };
    let upper = timing.max_mtu.unwrap_or(usual);
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(upper).black_hole_cooldown(NARROW_TIME);
    // What is known need not be searched for. If it was wrong after all, the engine notices that
    // large packets get lost and goes back to the least. Through a WebSocket, probes would also make
    // its buffers as large as they are.
    let known = is_stand_in(peer) || (peer.is_loopback() && *LOOPBACK_IS_WIDE);
    let first = if known { upper.min(usual) } else { MIN_MTU };
    let idle_timeout = IdleTimeout::try_from(timing.idle_timeout).ok();
    let mut config = TransportConfig::default();
    congestion::configure(&mut config);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS.0))
        .datagram_receive_buffer_size(Some(timing.datagram_buffer))
        .datagram_send_buffer_size(timing.datagram_buffer)
        .send_window(timing.send_window)
        .receive_window(VarInt::from_u32(timing.first_window))
        .initial_rtt(FIRST_RTT)
        .initial_mtu(first)
        // A search that may find nothing would only send probes.
        .mtu_discovery_config((upper > MIN_MTU).then_some(mtu))
        .keep_alive_interval(Some(timing.heartbeat))
        .max_idle_timeout(idle_timeout)
        // A bit that shows the round trip to the path, and needs a header that the path can read.
        .allow_spin(false)
        .congestion_controller_factory(Arc::new(PathAwareFactory {
            inner: Arc::new(BbrConfig::default()),
            latch: latch.clone(),
        }));
    config
}
