//! Names and addresses, as the engine and as nodes write them.

use std::net::{IpAddr, SocketAddr};

use libp2p_core::{Multiaddr, multiaddr::Protocol};
use libp2p_identity::{PeerId, PublicKey, ed25519};
use stt::NodeId;

/// What stands before the key in a peer id: identity multihash, 36 bytes, a protobuf of type
/// ed25519 with 32 bytes.
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The peer id of a node, if its id is a point of the curve. Ids of nodes that proved themselves
/// are.
pub(crate) fn peer_id(node: NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(node.as_bytes()).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The node of a peer id, if it has an ed25519 key inside.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&PREFIX)?;
    Some(NodeId::from_bytes(key.try_into().ok()?))
}

/// A node's UDP address as the engine writes it.
pub(crate) fn multiaddr(address: SocketAddr) -> Multiaddr {
    let ip = address.ip().to_canonical();
    Multiaddr::empty().with(ip.into()).with(Protocol::Udp(address.port()))
}

/// The UDP address and the peer that it names, if it is one of ours.
pub(crate) fn parse(address: &Multiaddr) -> Option<(SocketAddr, Option<PeerId>)> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Udp(port) = parts.next()? else { return None };
    let peer = match parts.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) => return None,
    };
    let usable = port != 0 && !ip.is_unspecified() && !ip.is_multicast();
    (usable && parts.next().is_none()).then_some((SocketAddr::new(ip, port), peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_convert_without_a_look_up() {
        let node = stt::Identity::ephemeral().unwrap().node_id();
        let peer = peer_id(node).unwrap();
        assert_eq!(node_id(&peer), Some(node));
        // What is no ed25519 key has no node.
        assert_eq!(node_id(&PeerId::random()), None);
    }

    #[test]
    fn addresses_come_back_and_others_are_refused() {
        let peer = PeerId::random();
        for text in ["127.0.0.1:9337", "[2001:db8::1]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(parse(&multiaddr(address)), Some((address, None)));
            let pinned = multiaddr(address).with(Protocol::P2p(peer));
            assert_eq!(parse(&pinned), Some((address, Some(peer))));
        }
        for text in
            ["/ip4/1.2.3.4/tcp/1", "/ip4/0.0.0.0/udp/1", "/ip4/1.2.3.4/udp/0", "/ip4/1.2.3.4"]
        {
            assert_eq!(parse(&text.parse().unwrap()), None, "{text}");
        }
        let quic = "/ip4/1.2.3.4/udp/1/quic-v1".parse().unwrap();
        assert_eq!(parse(&quic), None);
    }
}
