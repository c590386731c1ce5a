//! Datagrams between the engine, which reads headers, and the network, which must not.

use std::sync::Arc;

use stc::random;

use crate::{
    header_mask::{LENGTH_LEN, Long},
    keyring::{Entries, Keyring, SeedKeys},
    packet_header::{CONNECTION_ID_LEN, QUIC_VERSION},
    route::{Id, id_of},
};

/// A long datagram is not made longer than this by its padding: every path of IPv6 carries it.
const PADDED_LEN: usize = 1232;
/// Most padding, in bytes.
const MAX_PADDING: usize = 255;
/// First bytes of the version field of a long header on its way from the packet's protection to
/// the socket. The fourth says which seed masks it. Never on the wire.
const STAMP: [u8; 3] = *b"STM";
/// Where the version field lies.
const VERSION_AT: std::ops::Range<usize> = 1..5;

/// Connection ids that the socket can tell from noise: 4 random bytes, and 4 that follow from them.
///
/// No secret of the protocol hangs on it. It keeps noise away from the engine, whose own table is
/// the real check.
#[derive(Clone, Copy)]
pub(crate) struct IdMark {
    add: u64,
    multiply: u64,
}

impl IdMark {
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        let secret = u128::from_be_bytes(secret);
        let [add, multiply] = [secret >> 64, secret & u128::from(u64::MAX)]
            .map(|half| u64::try_from(half).unwrap_or_default());
        Self { add, multiply: multiply | 1 }
    }

    pub(crate) fn id(&self, random: [u8; 4]) -> [u8; CONNECTION_ID_LEN] {
        let [a, b, c, d] = random;
        let [e, f, g, h] = self.mark(random);
        [a, b, c, d, e, f, g, h]
    }

    fn is_ours(&self, id: &[u8]) -> bool {
        let Some((random, mark)) = id.split_first_chunk::<4>() else { return false };
        mark == self.mark(*random)
    }

    fn mark(&self, random: [u8; 4]) -> [u8; 4] {
        let mixed = u64::from(u32::from_be_bytes(random))
            .wrapping_add(self.add)
            .wrapping_mul(self.multiply);
        let [a, b, c, d, ..] = (mixed ^ (mixed >> 29)).wrapping_mul(self.multiply).to_be_bytes();
        [a, b, c, d]
    }
}

/// What became of a datagram from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A short header for one of our connection ids, unmasked in place.
    Short,
    /// Long headers, unmasked in place; that many bytes of it count.
    Long(usize),
    /// From a member that speaks another version of the wire.
    OtherVersion,
    /// From nobody that we know.
    Unknown,
}

/// Puts masks on and takes them off, under every seed that may be in use.
pub(crate) struct Opaque {
    keyring: Arc<Keyring>,
    ids: IdMark,
}

impl Opaque {
    pub(crate) const fn new(keyring: Arc<Keyring>, ids: IdMark) -> Self {
        Self { keyring, ids }
    }

    /// The seeds to try (MASK-4). Asked for once for each batch of datagrams.
    pub(crate) fn seeds(&self) -> Arc<Entries> {
        self.keyring.in_use()
    }

    /// Takes the mask off `datagram` (docs/protocol.md, MASK-1).
    pub(crate) fn inbound(&self, seeds: &[Arc<SeedKeys>], datagram: &mut [u8]) -> Inbound {
        if self.unmask_short(seeds, datagram) {
            return Inbound::Short;
        }
        for seed in seeds {
            match seed.masks.open_long(datagram) {
                Long::Datagram(length) => {
                    let datagram = datagram.get_mut(..length).unwrap_or_default();
                    let headers = LongHeaders::new(datagram, QUIC_VERSION.to_be_bytes());
                    let Some(tail_at) = headers.end() else { return Inbound::Unknown };
                    // A short header that follows long ones has a mask of its own.
                    self.unmask_short(seeds, datagram.get_mut(tail_at..).unwrap_or_default());
                    return Inbound::Long(length);
                }
                Long::OtherVersion => return Inbound::OtherVersion,
                Long::Foreign => {}
            }
        }
        Inbound::Unknown
    }

    /// Takes the mask off a packet with a short header for us. Others are left as they were.
    ///
    /// A function of its own, so that `benches/instructions.sh` can tell what it costs.
    #[inline(never)]
    fn unmask_short(&self, seeds: &[Arc<SeedKeys>], packet: &mut [u8]) -> bool {
        for seed in seeds {
            if !seed.masks.short(packet) {
                return false;
            }
            if packet.first().is_some_and(|flags| flags & 0xc0 == 0x40)
                && packet.get(1..=CONNECTION_ID_LEN).is_some_and(|id| self.ids.is_ours(id))
            {
                return true;
            }
            seed.masks.short(packet);
        }
        false
    }

    /// Takes the mask off a datagram about routes, whose id is `known`, and gives its id
    /// (docs/protocol.md, ROUTE-1). Others are left as they were.
    pub(crate) fn inbound_route(
        &self,
        seeds: &[Arc<SeedKeys>],
        datagram: &mut [u8],
        known: impl Fn(Id) -> bool,
    ) -> Option<Id> {
        for seed in seeds {
            if !seed.masks.short(datagram) {
                return None;
            }
            let id = id_of(datagram).filter(|id| known(*id));
            if id.is_some() {
                return id;
            }
            seed.masks.short(datagram);
        }
        None
    }

    /// The slot of the seed that masks this datagram, if it begins with a stamped long header.
    pub(crate) fn stamped(datagram: &[u8]) -> Option<u8> {
        match datagram.get(..5)? {
            [flags, a, b, c, slot] if flags & 0xc0 == 0xc0 && [*a, *b, *c] == STAMP => Some(*slot),
            _ => None,
        }
    }

    /// Writes a stamped datagram to `out` as it goes over the wire. `false` when its seed is gone.
    pub(crate) fn outbound(&self, slot: u8, datagram: &mut [u8], out: &mut Vec<u8>) -> bool {
        let seeds = self.keyring.in_use();
        let Some(seed) = seeds.iter().find(|seed| seed.slot == slot) else { return false };
        let [a, b, c] = STAMP;
        LongHeaders::new(datagram, [a, b, c, slot]).restore();
        let room = PADDED_LEN.saturating_sub(datagram.len() + LENGTH_LEN).min(MAX_PADDING);
        let mut padding = [0; MAX_PADDING];
        let length = random_up_to(room);
        let padding = padding.get_mut(..length).unwrap_or_default();
        // What the padding is doesn't matter: the mask goes over it too.
        seed.masks.seal_long(datagram, padding, out)
    }
}

/// Marks a long header with the seed that is to mask it.
pub(crate) fn stamp(slot: u8, packet: &mut [u8]) {
    if let Some(version) = packet.get_mut(VERSION_AT) {
        let [a, b, c] = STAMP;
        version.copy_from_slice(&[a, b, c, slot]);
    }
}

/// A random number up to `most`, both ends included. Without randomness it is `most`.
fn random_up_to(most: usize) -> usize {
    let drawn = random::bytes().map(u64::from_be_bytes).unwrap_or(u64::MAX);
    let range = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    usize::try_from(drawn % range).unwrap_or(most)
}

/// Walks over the long headers at the beginning of a datagram (RFC 9000, section 17.2).
struct LongHeaders<'a> {
    datagram: &'a mut [u8],
    version: [u8; 4],
    at: usize,
}

impl<'a> LongHeaders<'a> {
    fn new(datagram: &'a mut [u8], version: [u8; 4]) -> Self {
        Self { datagram, version, at: 0 }
    }

    /// Length of the long-header packet at the current place, if there is one.
    fn packet_len(&self) -> Option<usize> {
        let packet = self.datagram.get(self.at..)?;
        let (flags, rest) = packet.split_first()?;
        if flags & 0xc0 != 0xc0 || rest.get(..4)? != self.version {
            return None;
        }
        let mut at = 5;
        for _ in 0..2 {
            at += 1 + usize::from(*packet.get(at)?);
        }
        let is_initial = flags & 0x30 == 0;
        if is_initial {
            let (token, used) = varint(packet.get(at..)?)?;
            at = at.checked_add(used)?.checked_add(token)?;
        }
        let (length, used) = varint(packet.get(at..)?)?;
        at.checked_add(used)?.checked_add(length)
    }

    /// Where the packets with long headers end. `None` when one of them is of a type that nobody
    /// sends (VER-3): the mask authenticates nothing, so a bit that flips on the way makes a Retry of
    /// another packet, and the engine ends the connection that gets it.
    fn end(mut self) -> Option<usize> {
        loop {
            if self.is_retry_or_early() {
                return None;
            }
            let Some(length) = self.packet_len() else { return Some(self.at) };
            self.at = self.at.saturating_add(length);
        }
    }

    fn is_retry_or_early(&self) -> bool {
        let packet = self.datagram.get(self.at..).unwrap_or_default();
        packet.first().is_some_and(|flags| flags & 0xd0 == 0xd0)
            && packet.get(VERSION_AT) == Some(&self.version)
    }

    /// Gives every one of them the version that belongs on the wire.
    fn restore(mut self) {
        while let Some(length) = self.packet_len() {
            if let Some(version) = self.datagram.get_mut(self.at + 1..self.at + 5) {
                version.copy_from_slice(&QUIC_VERSION.to_be_bytes());
            }
            self.at = self.at.saturating_add(length);
        }
    }
}

/// A variable-length integer (RFC 9000, section 16) and the bytes that it takes.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let value =
        bytes.get(..length)?.iter().skip(1).try_fold(u64::from(first & 0x3f), |value, byte| {
            Some((value << 8) | u64::from(*byte))
        })?;
    Some((usize::try_from(value).ok()?, length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn own_ids_are_recognised_and_noise_is_not() {
        let ids = IdMark::new([7; 16]);
        for n in 0_u32..1000 {
            assert!(ids.is_ours(&ids.id(n.to_be_bytes())));
            let noise: [u8; 8] = random::bytes().unwrap();
            assert!(!ids.is_ours(&noise));
        }
        assert!(!IdMark::new([8; 16]).is_ours(&ids.id([1, 2, 3, 4])));
    }

    #[test]
    fn integers_of_every_length_are_read() {
        // RFC 9000, appendix A.1.
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ] {
            assert_eq!(varint(bytes), Some((value, bytes.len())));
            assert_eq!(varint(&bytes[..bytes.len() - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn walking_over_anything_ends(mut bytes: Vec<u8>, version: [u8; 4]) {
            if let Some(field) = bytes.get_mut(1..5) {
                field.copy_from_slice(&version);
            }
            if let Some(flags) = bytes.first_mut() {
                *flags |= 0xc0;
            }
            LongHeaders::new(&mut bytes, version).restore();
            LongHeaders::new(&mut bytes, QUIC_VERSION.to_be_bytes()).end();
        }

        #[test]
        fn padding_stays_within_its_room(most in 0usize..300) {
            prop_assert!(random_up_to(most) <= most);
        }
    }
}
