//! From packets back to messages.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::{DeliveryError, LossObserver, ShardHeader, shard::shard_len};
use crate::stream::unpinned;

/// A message that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The stream that it belongs to.
    pub stream: u32,
    /// Its number in the session, wrapping around: gaps are messages that were lost or come later.
    pub number: u32,
    /// What was sent.
    pub data: Bytes,
}

/// Collects packets until a message can be put together. Each message comes out once at most,
/// and exactly as it was sent.
///
/// Bounds: at most [`Self::MAX_PENDING`] incomplete messages and [`Self::max_bytes`] bytes of their
/// packets, where each message and each packet counts a little more than its bytes; when one more
/// would not fit, the one begun first is given up. The numbers of the last finished messages, one for
/// each 1,024 bytes of it and at most [`Self::MAX_DONE`], are remembered, so that late packets do not
/// begin them again.
#[derive(Debug)]
pub struct ShardAssembler {
    pending: BTreeMap<(u32, u32), Pending>,
    begun: VecDeque<(u32, u32)>,
    bytes: usize,
    max_bytes: usize,
    done: VecDeque<(u32, u32)>,
    done_set: std::collections::HashSet<(u32, u32)>,
    observer: LossObserver,
    stats: AssemblerStats,
}

#[derive(Debug)]
struct Pending {
    data: u16,
    repair: u16,
    length: u32,
    shards: BTreeMap<u16, Bytes>,
}

/// What an assembler has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssemblerStats {
    /// Packets that arrived and were well formed.
    pub packets: u64,
    /// Packets that were refused.
    pub malformed: u64,
    /// Packets that came twice, or after their message was finished.
    pub superfluous: u64,
    /// Messages put together.
    pub delivered: u64,
    /// Of these, those that needed repair.
    pub repaired: u64,
    /// Messages given up.
    pub given_up: u64,
}

impl ShardAssembler {
    /// Most incomplete messages.
    pub const MAX_PENDING: usize = 1_024;
    /// Most finished messages that are remembered.
    pub const MAX_DONE: usize = 4_096;
    /// Most bytes of incomplete messages, when nothing else is said: 16 MiB.
    pub const DEFAULT_MAX_BYTES: usize = 16 << 20;

    /// Least bytes of incomplete messages that an assembler is made for: 512 KiB, in which the
    /// longest message has room over any path of 1,200-byte datagrams.
    pub const MIN_MAX_BYTES: usize = 512 << 10;
    /// What an incomplete message, and each of its packets, takes beside its bytes.
    const MESSAGE_COST: usize = 512;
    const SHARD_COST: usize = 96;

    /// An assembler that holds at most `max_bytes` of incomplete messages, at least
    /// [`Self::MIN_MAX_BYTES`].
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            pending: BTreeMap::new(),
            begun: VecDeque::new(),
            bytes: 0,
            max_bytes: max_bytes.max(Self::MIN_MAX_BYTES),
            done: VecDeque::new(),
            done_set: std::collections::HashSet::new(),
            observer: LossObserver::default(),
            stats: AssemblerStats::default(),
        }
    }

    /// Most bytes of incomplete messages.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Bytes of incomplete messages held now, with what they take beside them.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.bytes
    }

    /// What was seen of the path's loss, for the report to the sender.
    #[must_use]
    pub const fn observer(&self) -> &LossObserver {
        &self.observer
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> AssemblerStats {
        self.stats
    }

    /// Takes a packet, and returns its message if it is whole now.
    ///
    /// # Errors
    /// [`DeliveryError::Malformed`] when the packet contradicts itself or its message; what was
    /// collected before stays.
    pub fn packet(&mut self, packet: Bytes) -> Result<Option<Message>, DeliveryError> {
        let taken = ShardHeader::parse(packet).and_then(|(header, shard)| self.take(header, shard));
        if taken.is_err() {
            self.stats.malformed += 1;
        }
        taken
    }

    fn take(
        &mut self,
        header: ShardHeader,
        shard: Bytes,
    ) -> Result<Option<Message>, DeliveryError> {
        let key = (header.stream, header.message);
        if let Some(pending) = self.pending.get(&key)
            && (pending.data, pending.repair, pending.length)
                != (header.data, header.repair, header.length)
        {
            return Err(DeliveryError::Malformed);
        }
        self.stats.packets += 1;
        self.observer.arrived(header.number);
        if self.done_set.contains(&key) {
            self.stats.superfluous += 1;
            return Ok(None);
        }
        let new = !self.pending.contains_key(&key);
        let size = shard.len() + Self::SHARD_COST;
        let more = if new { size + Self::MESSAGE_COST } else { size };
        while (new && self.pending.len() >= Self::MAX_PENDING) || self.bytes + more > self.max_bytes
        {
            let Some(oldest) = self.give_up_oldest() else { break };
            if oldest == key {
                // The message itself is the one begun first.
                return Ok(None);
            }
        }
        if new {
            self.begun.push_back(key);
        }
        let pending = self.pending.entry(key).or_insert_with(|| Pending {
            data: header.data,
            repair: header.repair,
            length: header.length,
            shards: BTreeMap::new(),
        });
        if pending.shards.contains_key(&header.index) {
            self.stats.superfluous += 1;
            return Ok(None);
        }
        if pending.shards.len() + 1 < usize::from(header.data) {
            pending.shards.insert(header.index, unpinned(shard));
            self.bytes += more;
            return Ok(None);
        }
        // The last one does not wait.
        pending.shards.insert(header.index, shard);
        self.bytes += more;
        let Some(whole) = self.drop_pending(key) else { return Ok(None) };
        self.begun.retain(|begun| *begun != key);
        self.finish(key);
        let (data, repaired) = whole.join()?;
        self.stats.delivered += 1;
        self.stats.repaired += u64::from(repaired);
        Ok(Some(Message { stream: header.stream, number: header.message, data }))
    }

    /// Gives up the message that was begun first, and returns its stream and number; `None` when
    /// none is incomplete.
    pub fn give_up_oldest(&mut self) -> Option<(u32, u32)> {
        let oldest = self.begun.pop_front()?;
        if self.drop_pending(oldest).is_some() {
            self.stats.given_up += 1;
            self.finish(oldest);
        }
        Some(oldest)
    }

    fn drop_pending(&mut self, key: (u32, u32)) -> Option<Pending> {
        let pending = self.pending.remove(&key)?;
        let shards = pending.shards.values().map(|shard| shard.len() + Self::SHARD_COST);
        self.bytes -= shards.sum::<usize>() + Self::MESSAGE_COST;
        Some(pending)
    }

    fn finish(&mut self, key: (u32, u32)) {
        if self.done.len() >= Self::MAX_DONE.min(self.max_bytes / 1_024)
            && let Some(oldest) = self.done.pop_front()
        {
            self.done_set.remove(&oldest);
        }
        self.done.push_back(key);
        self.done_set.insert(key);
    }
}

impl Default for ShardAssembler {
    fn default() -> Self {
        Self::new(Self::DEFAULT_MAX_BYTES)
    }
}

impl Pending {
    /// The message, and whether it had to be repaired.
    fn join(mut self) -> Result<(Bytes, bool), DeliveryError> {
        let length = usize::try_from(self.length).map_err(|_| DeliveryError::Malformed)?;
        if self.data == 1 {
            // All packets are copies of the one.
            let (index, only) = self.shards.pop_first().ok_or(DeliveryError::Coder)?;
            return Ok((only.slice(..length.min(only.len())), index > 0));
        }
        let repair = self.shards.split_off(&self.data);
        let repaired = !repair.is_empty();
        let restored = if repaired {
            let part = |(index, shard): (&u16, &Bytes)| (usize::from(*index), shard.clone());
            let from = usize::from(self.data);
            reed_solomon_simd::decode(
                from,
                usize::from(self.repair),
                self.shards.iter().map(part),
                repair.iter().map(part).map(|(index, shard)| (index - from, shard)),
            )
            .map_err(|_| DeliveryError::Coder)?
        } else {
            Default::default()
        };
        let mut data =
            BytesMut::with_capacity(shard_len(length, self.data) * usize::from(self.data));
        for index in 0..self.data {
            let shard = self.shards.get(&index).map(Bytes::as_ref);
            let shard = shard.or_else(|| restored.get(&usize::from(index)).map(Vec::as_slice));
            data.extend_from_slice(shard.ok_or(DeliveryError::Coder)?);
        }
        data.truncate(length);
        Ok((data.freeze(), repaired))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::{OverheadCap, Probability, RepairPlanner, ShardEncoder};

    fn encoder() -> ShardEncoder {
        ShardEncoder::new(RepairPlanner::new())
    }

    fn p(value: f64) -> Probability {
        Probability::new(value).unwrap()
    }

    proptest! {
        #[test]
        fn any_packets_enough_in_number_give_the_message(
            length in 0_usize..6_000, seed in any::<u64>(), datagram in 24_usize..1_200,
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let message: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            let encoded = encoder().encode(3, &message, p(0.999), OverheadCap::default(), datagram);
            let Ok((plan, mut packets)) = encoded else { return Ok(()) };
            prop_assert!(packets.iter().all(|packet| packet.len() <= datagram));
            prop_assert_eq!(packets.len(), usize::from(plan.data + plan.repair));
            random.shuffle(&mut packets);
            packets.truncate(usize::from(plan.data));
            let twice = packets.clone();
            let mut assembler = ShardAssembler::default();
            let mut got = Vec::new();
            for packet in packets.into_iter().flat_map(|packet| [packet.clone(), packet]) {
                got.extend(assembler.packet(packet).unwrap());
            }
            prop_assert_eq!(got.len(), 1);
            prop_assert_eq!(&got[0].data[..], &message[..]);
            for packet in twice {
                prop_assert_eq!(assembler.packet(packet).unwrap(), None);
            }
            prop_assert_eq!(assembler.held(), 0);
        }

        #[test]
        fn foreign_bytes_are_refused_or_held_within_bounds(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..50)
        ) {
            let mut assembler = ShardAssembler::default();
            for packet in packets {
                let _ = assembler.packet(packet.into());
                prop_assert!(assembler.held() <= assembler.max_bytes());
            }
        }
    }

    #[test]
    fn incomplete_messages_are_bounded_and_the_oldest_is_given_up() {
        let (mut encoder, mut assembler) = (encoder(), ShardAssembler::default());
        let mut first = Vec::new();
        for _ in 0..=ShardAssembler::MAX_PENDING {
            let (_, packets) =
                encoder.encode(0, &[1; 2_000], p(0.5), OverheadCap::default(), 1_100).unwrap();
            assert_eq!(assembler.packet(packets[0].clone()), Ok(None));
            first.push(packets);
        }
        assert_eq!(assembler.stats().given_up, 1);
        assert_eq!(assembler.packet(first[0][1].clone()), Ok(None), "given up for good");
        assert!(assembler.packet(first[1][1].clone()).unwrap().is_some());
    }

    #[test]
    fn tiny_packets_count_what_they_take_and_do_not_hold_what_they_came_in() {
        let mut assembler = ShardAssembler::new(0);
        assert_eq!(assembler.max_bytes(), ShardAssembler::MIN_MAX_BYTES);
        let mut encoder = encoder();
        let mut begun = 0;
        while assembler.stats().given_up == 0 {
            let cap = OverheadCap::default();
            let (_, packets) = encoder.encode(0, &[1; 8], p(0.5), cap, 24).unwrap();
            let arrived = packets[0].clone();
            assert_eq!(assembler.packet(arrived), Ok(None));
            begun += 1;
        }
        // A packet of two bytes takes some hundreds.
        assert!((500..=1_000).contains(&begun), "{begun}");
        while assembler.give_up_oldest().is_some() {}
        assert_eq!(assembler.held(), 0);
        let (_, packets) =
            encoder.encode(0, &[1; 2_000], p(0.5), OverheadCap::default(), 1_100).unwrap();
        let datagram = packets[0].clone();
        drop(packets);
        let _ = assembler.packet(datagram.clone()).unwrap();
        assert!(assembler.held() > 1_000 && datagram.is_unique());
    }

    #[test]
    fn the_longest_message_fits_into_the_least_room() {
        let mut assembler = ShardAssembler::new(0);
        let message = vec![3; 256 * 1_100];
        let (plan, mut packets) =
            encoder().encode(0, &message, p(0.999), OverheadCap::default(), 1_150).unwrap();
        packets.reverse();
        let got: Vec<_> =
            packets.into_iter().filter_map(|packet| assembler.packet(packet).unwrap()).collect();
        assert!(plan.data > 240 && got.len() == 1 && got[0].data[..] == message[..]);
        assert_eq!(assembler.stats().given_up, 0);
    }

    #[test]
    fn a_packet_that_contradicts_its_message_is_refused() {
        let (_, packets) =
            encoder().encode(0, &[1; 2_000], p(0.5), OverheadCap::default(), 1_100).unwrap();
        let (_, other) =
            encoder().encode(0, &[1; 1_999], p(0.5), OverheadCap::default(), 1_100).unwrap();
        let mut assembler = ShardAssembler::default();
        assert_eq!(assembler.packet(packets[0].clone()), Ok(None));
        assert_eq!(assembler.packet(other[1].clone()), Err(DeliveryError::Malformed));
        assert_eq!(assembler.packet(packets[1].clone()).unwrap().unwrap().data, [1; 2_000][..]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let narrow = encoder().encode(0, b"x", p(0.5), OverheadCap::default(), 23);
        assert_eq!(narrow.unwrap_err(), DeliveryError::PathTooNarrow { got: 23, need: 24 });
        let long = encoder().encode(0, &[0; 100_000], p(0.5), OverheadCap::default(), 122);
        assert_eq!(long.unwrap_err(), DeliveryError::TooLong { got: 100_000, max: 25_600 });
    }
}
