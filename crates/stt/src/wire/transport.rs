//! Settings of the engine, each with its reason.

use std::{net::IpAddr, sync::Arc, time::Duration};

use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::urgency::{CloseLatch, Urgent};
use crate::congestion::{self, BbrConfig};

/// Streams that a peer may have open towards us.
const STREAMS: u32 = 1024;
/// Datagrams of an application that wait to be read or sent.
const DATAGRAM_BUFFER: usize = 4 << 20;
/// What Ethernet carries with IPv6 and some tunnel around it (the engine's own default).
const ETHERNET_MTU: u16 = 1452;
/// What a loopback interface of 65,536 bytes carries over IPv4 (limited by IP) and over IPv6.
const LOOPBACK_MTU: (u16, u16) = (65_507, 65_488);
/// Smallest datagram that every path must carry (RFC 9000, section 14).
pub(crate) const MIN_MTU: u16 = 1_200;
/// Largest datagram that we are ready to receive.
pub(crate) const MAX_PAYLOAD: u16 = 65_527;

/// What of the transport a user decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) heartbeat: Duration,
    pub(crate) idle_timeout: Duration,
    /// Bound of the path MTU instead of what the kind of interface carries.
    pub(crate) max_mtu: Option<u16>,
}

/// The settings of one connection to `peer`, which is closed through `latch`.
pub(crate) fn config(timing: Timing, peer: IpAddr, latch: &CloseLatch) -> TransportConfig {
    let usual = match peer.to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() => LOOPBACK_MTU.0,
        IpAddr::V6(ip) if ip.is_loopback() => LOOPBACK_MTU.1,
        _ => ETHERNET_MTU,
    };
    let upper = timing.max_mtu.unwrap_or(usual);
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(upper);
    let idle_timeout = IdleTimeout::try_from(timing.idle_timeout).ok();
    let mut config = TransportConfig::default();
    congestion::configure(&mut config);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        // A search that may find nothing would only send probes.
        .mtu_discovery_config((upper > MIN_MTU).then_some(mtu))
        .keep_alive_interval(Some(timing.heartbeat))
        .max_idle_timeout(idle_timeout)
        // A bit that shows the round trip to the path, and needs a header that the path can read.
        .allow_spin(false)
        .congestion_controller_factory(Arc::new(Urgent {
            inner: Arc::new(BbrConfig::default()),
            latch: latch.clone(),
        }));
    config
}
