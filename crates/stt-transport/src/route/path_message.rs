//! Datagrams between the two ends of a session about its routes (docs/protocol.md, ROUTE-1 to ROUTE-3).
//!
//! Sealed under keys of the session and of the direction, so that no other member of the seed can
//! make one, and none can be sent back to who made it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use stc::{
    Key,
    aead::{AeadKey, NONCE_LEN, Suite, TAG_LEN},
    kdf,
};

use super::{link::Id, path::RouteKind};
use crate::header_mask::Masks;

/// Proves that a datagram got there and back.
pub(crate) type Challenge = [u8; CHALLENGE_LEN];
const CHALLENGE_LEN: usize = 16;
/// Flags and id.
const HEADER_LEN: usize = 9;
/// Sequence, kind, challenge, echo, detail, address.
const BODY_LEN: usize = 8 + 1 + 2 * CHALLENGE_LEN + 1 + ADDRESS_LEN;
/// Family, address, port.
const ADDRESS_LEN: usize = 1 + 16 + 2;
/// Length without padding. Whatever is answered is at most twice as long (ROUTE-2).
pub(crate) const LEAST_LEN: usize = HEADER_LEN + NONCE_LEN + BODY_LEN + TAG_LEN;
/// Most padding: what answers is less than twice as long as what asked.
const MAX_PADDING: usize = LEAST_LEN - 1;
/// Most datagrams sealed in one session: far below what random nonces allow (NIST SP 800-38D, 8.3).
const MAX_SEALED: u64 = 1 << 31;

/// Where fresh bytes come from; false when there are none.
pub(crate) type Random = Box<dyn FnMut(&mut [u8]) -> bool + Send>;

/// What one end tells the other about routes (ROUTE-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Is this path open? `doubt`: asked because nothing was heard.
    Ask { challenge: Challenge, doubt: bool },
    /// Send to me on this path from now on; `echo` is the challenge that you sent to it.
    Move { challenge: Challenge, echo: Challenge },
    /// It is open. `here`: this is where I send to you. `seen`: where I see you.
    Answer { challenge: Challenge, echo: Challenge, here: bool, seen: SocketAddr },
    /// Please move to this kind of path; to this port of my host, if it is UDP.
    Come { kind: RouteKind, port: u16 },
}

/// Both directions' keys and ids of one session.
pub(crate) struct RouteKeys {
    suite: Suite,
    /// Datagrams about routes are rare: what the cipher makes of a key is not kept, it is ten times
    /// as large.
    seal: Key,
    send_id: Id,
    sealed: u64,
    open: Key,
    /// What stands in datagrams to this end.
    pub(crate) receive_id: Id,
}

impl RouteKeys {
    /// From the root of everything that a session exports.
    pub(crate) fn new(exporter: &Key, suite: Suite, initiator: bool) -> Self {
        let side = |initiator| {
            let (key, id) = if initiator {
                ("stt/1 route key initiator", "stt/1 route id initiator")
            } else {
                ("stt/1 route key responder", "stt/1 route id responder")
            };
            let key = kdf::derive(exporter, key, &[&[suite.id()]]);
            let mut name = Id::default();
            kdf::derive_into(exporter, id, &[], &mut name);
            (key, name)
        };
        let (seal, send_id) = side(initiator);
        let (open, receive_id) = side(!initiator);
        Self { suite, seal, send_id, sealed: 0, open, receive_id }
    }

    /// A datagram as it goes over the wire, but for its mask. `None` without randomness, or when
    /// the key was used too often.
    pub(crate) fn seal(&mut self, message: &Message, random: &mut Random) -> Option<Vec<u8>> {
        let mut noise = [0; 1 + NONCE_LEN + 1];
        if self.sealed >= MAX_SEALED || !random(&mut noise) {
            return None;
        }
        let [flags, nonce @ .., padding] = noise;
        let padding = usize::from(padding) * (MAX_PADDING + 1) / 256;
        let mut datagram = Vec::with_capacity(LEAST_LEN + padding);
        // A QUIC packet begins with 01 or 1; this begins with 00.
        datagram.push(flags & 0x3f);
        datagram.extend(self.send_id);
        datagram.extend(nonce);
        let mut body = Vec::with_capacity(BODY_LEN + padding);
        self.sealed += 1;
        put_body(self.sealed, message, &mut body);
        body.resize(BODY_LEN + padding, 0);
        let tag = AeadKey::new(self.suite, &self.seal)?.seal(nonce, &datagram, &mut body).ok()?;
        datagram.extend(body);
        datagram.extend(tag);
        Some(datagram)
    }

    /// What an unmasked datagram says, with its sequence number. `None` if the peer did not make it.
    pub(crate) fn open(&self, datagram: &[u8]) -> Option<(u64, Message)> {
        let (head, sealed) = datagram.split_at_checked(HEADER_LEN + NONCE_LEN)?;
        let nonce = <[u8; NONCE_LEN]>::try_from(head.get(HEADER_LEN..)?).ok()?;
        let mut body = sealed.to_vec();
        let length = AeadKey::new(self.suite, &self.open)?.open(nonce, head, &mut body).ok()?.len();
        take_body(body.get(..length)?)
    }
}

/// The id in an unmasked datagram, if it may be one about routes.
pub(crate) fn id_of(datagram: &[u8]) -> Option<Id> {
    let (flags, rest) = datagram.split_first()?;
    (datagram.len() >= LEAST_LEN && flags & 0xc0 == 0).then(|| rest.first_chunk().copied())?
}

/// Masks a sealed datagram (MASK-3). `false` if it cannot.
pub(crate) fn mask(masks: &Masks, datagram: &mut [u8]) -> bool {
    masks.short(datagram)
}

pub(super) fn put_body(sequence: u64, message: &Message, out: &mut Vec<u8>) {
    let none = Challenge::default();
    let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let (kind, challenge, echo, detail, address) = match message {
        Message::Ask { challenge, doubt } => (1, challenge, &none, u8::from(*doubt), nowhere),
        Message::Move { challenge, echo } => (2, challenge, echo, 0, nowhere),
        Message::Answer { challenge, echo, here, seen } => {
            (3, challenge, echo, u8::from(*here), *seen)
        }
        Message::Come { kind, port } => {
            (4, &none, &none, kind.id(), SocketAddr::new(nowhere.ip(), *port))
        }
    };
    out.extend(sequence.to_be_bytes());
    out.push(kind);
    out.extend(challenge);
    out.extend(echo);
    out.push(detail);
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
            out.extend([0; 12]);
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
    out.extend(address.port().to_be_bytes());
}

pub(super) fn take_body(body: &[u8]) -> Option<(u64, Message)> {
    let (sequence, rest) = body.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first()?;
    let (challenge, rest) = rest.split_first_chunk::<CHALLENGE_LEN>()?;
    let (echo, rest) = rest.split_first_chunk::<CHALLENGE_LEN>()?;
    let (detail, rest) = rest.split_first()?;
    let (family, rest) = rest.split_first()?;
    let (ip, rest) = rest.split_first_chunk::<16>()?;
    let port = u16::from_be_bytes(*rest.first_chunk()?);
    let (challenge, echo) = (*challenge, *echo);
    let message = match (kind, detail) {
        (1, doubt) => Message::Ask { challenge, doubt: *doubt == 1 },
        (2, _) => Message::Move { challenge, echo },
        (3, here) => {
            let [a, b, c, d, ..] = *ip;
            let ip = match family {
                4 => Ipv4Addr::new(a, b, c, d).into(),
                6 => Ipv6Addr::from(*ip).into(),
                _ => return None,
            };
            let seen = SocketAddr::new(ip, port);
            Message::Answer { challenge, echo, here: *here == 1, seen }
        }
        (4, kind) => Message::Come { kind: RouteKind::from_id(*kind)?, port },
        _ => return None,
    };
    Some((u64::from_be_bytes(*sequence), message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends() -> (RouteKeys, RouteKeys) {
        let exporter = Key::from_bytes([9; 32]);
        let end = |initiator| RouteKeys::new(&exporter, Suite::preferred(), initiator);
        (end(true), end(false))
    }

    fn random(seed: u64) -> Random {
        let mut random = fastrand::Rng::with_seed(seed);
        Box::new(move |out| {
            random.fill(out);
            true
        })
    }

    fn messages() -> Vec<Message> {
        let (challenge, echo) = ([1; 16], [2; 16]);
        vec![
            Message::Ask { challenge, doubt: true },
            Message::Ask { challenge, doubt: false },
            Message::Move { challenge, echo },
            Message::Answer { challenge, echo, here: true, seen: "[::1]:70".parse().unwrap() },
            Message::Answer { challenge, echo, here: false, seen: "1.2.3.4:5".parse().unwrap() },
            Message::Come { kind: RouteKind::WebSocket, port: 443 },
        ]
    }

    #[test]
    fn a_message_arrives_at_the_other_end_and_nowhere_else() {
        let (mut initiator, mut responder) = ends();
        let other = RouteKeys::new(&Key::from_bytes([8; 32]), Suite::preferred(), false);
        let mut random = random(1);
        for (at, message) in (1..).zip(messages()) {
            let datagram = initiator.seal(&message, &mut random).unwrap();
            assert_eq!(id_of(&datagram), Some(responder.receive_id));
            assert_eq!(responder.open(&datagram), Some((at, message)));
            assert_eq!(initiator.open(&datagram), None, "sent back to who made it");
            assert_eq!(other.open(&datagram), None, "another member's session");
            let datagram = responder.seal(&message, &mut random).unwrap();
            assert_eq!(initiator.open(&datagram), Some((at, message)));
        }
    }

    /// Against what an independent program computes from the specification (`interop/wire`).
    #[test]
    fn vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/wire/routes.vector");
        let file = std::fs::read_to_string(path).unwrap();
        let vectors: std::collections::HashMap<&str, &str> =
            file.lines().filter_map(|line| line.split_once(": ")).collect();
        let (challenge, echo) = ([1; 16], [2; 16]);
        let (v4, v6) = ("10.0.0.1:4433", "[1:203:405:607:809:a0b:c0d:e0f]:9");
        let answer = |here, seen: &str| Message::Answer {
            challenge,
            echo,
            here,
            seen: seen.parse().unwrap(),
        };
        let messages = [
            ("ask", Message::Ask { challenge, doubt: true }),
            ("move", Message::Move { challenge, echo }),
            ("answer", answer(true, v4)),
            ("answer-v6", answer(false, v6)),
            ("come", Message::Come { kind: RouteKind::WebSocket, port: 7 }),
        ];
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let exporter = Key::from_bytes([9; 32]);
        let masks = Masks::new(&Key::from_bytes([1; 32]));
        let mut count = 0;
        for (suite, name) in [(Suite::Aes256Gcm, "aes"), (Suite::ChaCha20Poly1305, "chacha")] {
            for (initiator, side) in [(true, "initiator"), (false, "responder")] {
                for (kind, message) in &messages {
                    let mut counting: Random = Box::new(|out| {
                        out.iter_mut().zip(1..).for_each(|(byte, value)| *byte = value);
                        true
                    });
                    let mut keys = RouteKeys::new(&exporter, suite, initiator);
                    let mut datagram = keys.seal(message, &mut counting).unwrap();
                    let name = format!("{name}-{side}-{kind}");
                    assert_eq!(hex(&datagram), vectors[name.as_str()], "{name}");
                    let peer = RouteKeys::new(&exporter, suite, !initiator);
                    assert_eq!(peer.open(&datagram), Some((1, *message)));
                    mask(&masks, &mut datagram);
                    let name = format!("{name}-masked");
                    assert_eq!(hex(&datagram), vectors[name.as_str()], "{name}");
                    count += 2;
                }
            }
        }
        assert_eq!(count, vectors.len());
    }

    #[test]
    fn any_change_is_refused() {
        let (mut initiator, responder) = ends();
        let datagram = initiator.seal(&messages()[0], &mut random(2)).unwrap();
        for at in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[at] ^= 1;
            assert_eq!(responder.open(&changed), None, "byte {at}");
            assert_eq!(responder.open(&datagram[..at]), None);
        }
    }

    #[test]
    fn lengths_vary_and_tell_no_kind_and_nothing_repeats() {
        let (mut initiator, _) = ends();
        let mut random = random(3);
        let mut lengths = std::collections::HashSet::new();
        for message in messages().iter().cycle().take(600) {
            let datagram = initiator.seal(message, &mut random).unwrap();
            assert!((LEAST_LEN..3 * LEAST_LEN).contains(&datagram.len()));
            lengths.insert(datagram.len());
        }
        assert!(lengths.len() > 60, "{}", lengths.len());
        assert!(lengths.iter().max() < Some(&(2 * LEAST_LEN)));
    }

    #[test]
    fn masked_it_is_noise_and_a_mask_comes_off() {
        let (mut initiator, responder) = ends();
        let masks = Masks::new(&Key::from_bytes([5; 32]));
        let mut random = random(4);
        let mut ones = 0;
        for _ in 0..200 {
            let message = Message::Ask { challenge: [0; 16], doubt: false };
            let mut datagram = initiator.seal(&message, &mut random).unwrap();
            assert!(mask(&masks, &mut datagram));
            ones += datagram[..9].iter().map(|byte| byte.count_ones()).sum::<u32>();
            assert!(mask(&masks, &mut datagram));
            assert!(responder.open(&datagram).is_some());
        }
        // 14,400 fair bits: six standard deviations are 360.
        assert!((6_840..7_560).contains(&ones), "{ones}");
    }

    proptest! {
        #[test]
        fn noise_is_refused(noise: Vec<u8>) {
            prop_assert_eq!(ends().1.open(&noise), None);
            id_of(&noise);
            take_body(&noise);
        }
    }
}
