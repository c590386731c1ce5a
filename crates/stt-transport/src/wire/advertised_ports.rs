//! Where a responder is reached beside the address that it was found at (docs/protocol.md, ROUTE-8).

use crate::route::RouteKind;

/// Most bytes of it in FINAL: room for kinds that are yet to come.
pub(crate) const MAX_LEN: usize = 1 + 3 * 16;

/// Ports of one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AdvertisedPorts {
    pub(crate) udp: Option<u16>,
    pub(crate) websocket: Option<u16>,
}

impl AdvertisedPorts {
    /// Writes them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let all = [(RouteKind::Udp, self.udp), (RouteKind::WebSocket, self.websocket)];
        let mut out = vec![0];
        for (kind, port) in all {
            if let Some(port) = port {
                out.push(kind.id());
                out.extend(port.to_be_bytes());
                if let Some(count) = out.first_mut() {
                    *count += 1;
                }
            }
        }
        out
    }

    /// Reads them. Kinds that this end does not know are skipped, and so is what is cut.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut places = Self::default();
        let Some((count, rest)) = bytes.split_first() else { return places };
        for place in rest.as_chunks::<3>().0.iter().take(usize::from(*count)) {
            let [kind, high, low] = *place;
            let port = Some(u16::from_be_bytes([high, low])).filter(|port| *port != 0);
            match RouteKind::from_id(kind) {
                Some(RouteKind::Udp) => places.udp = port,
                Some(RouteKind::WebSocket) => places.websocket = port,
                None => {}
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_come_back_and_unknown_kinds_are_skipped() {
        for places in [
            AdvertisedPorts::default(),
            AdvertisedPorts { udp: Some(9), websocket: None },
            AdvertisedPorts { udp: Some(9), websocket: Some(65_535) },
        ] {
            assert_eq!(AdvertisedPorts::decode(&places.encode()), places);
        }
        let later = [3, 1, 0, 9, 77, 1, 2, 2, 0, 8, 5, 5, 5];
        assert_eq!(
            AdvertisedPorts::decode(&later),
            AdvertisedPorts { udp: Some(9), websocket: Some(8) }
        );
        assert_eq!(AdvertisedPorts::decode(&[2, 1, 0]), AdvertisedPorts::default());
    }

    proptest! {
        #[test]
        fn anything_is_read(bytes: Vec<u8>) {
            AdvertisedPorts::decode(&bytes);
        }
    }
}
