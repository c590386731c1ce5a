//! The packets of a repair-coded message (docs/streams.md, DGRAM-2).

use bytes::{BufMut, Bytes, BytesMut};

use super::{DeliveryError, OverheadCap, Plan, Probability, RepairPlanner};

/// Most packets that carry a message. With 1,200-byte datagrams that is a message of 300 kB.
pub const MAX_DATA_SHARDS: u16 = 256;
/// Most packets that repair a message.
pub(super) const MAX_REPAIR_SHARDS: u16 = MAX_DATA_SHARDS * 4;

/// What precedes the bytes of each packet: 22 bytes, big-endian.
///
/// | bytes | field |
/// |---|---|
/// | 4 | `stream` |
/// | 4 | `message`, counted per session |
/// | 4 | `number` of this packet, counted per session, for the measurement of loss |
/// | 2 | `data` |
/// | 2 | `repair` |
/// | 2 | `index`: below `data` a part of the message, else repair |
/// | 4 | `length` of the message |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardHeader {
    /// The stream that the message belongs to.
    pub stream: u32,
    /// Number of the message in its session, wrapping around.
    pub message: u32,
    /// Number of the packet in its session, wrapping around.
    pub number: u32,
    /// Packets that carry the message, 1 to [`MAX_DATA_SHARDS`].
    pub data: u16,
    /// Packets that repair it, at most 4 times [`MAX_DATA_SHARDS`].
    pub repair: u16,
    /// Which of them this is, below `data + repair`.
    pub index: u16,
    /// Bytes of the message.
    pub length: u32,
}

impl ShardHeader {
    /// Bytes of a header.
    pub const LEN: usize = 22;

    fn put(&self, bytes: &mut BytesMut) {
        bytes.put_u32(self.stream);
        bytes.put_u32(self.message);
        bytes.put_u32(self.number);
        bytes.put_u16(self.data);
        bytes.put_u16(self.repair);
        bytes.put_u16(self.index);
        bytes.put_u32(self.length);
    }

    /// Splits a packet into its header and its bytes, and checks that they fit together.
    ///
    /// # Errors
    /// [`DeliveryError::Malformed`] when a field is out of bounds or the length is not what the
    /// other fields say.
    pub fn parse(mut packet: Bytes) -> Result<(Self, Bytes), DeliveryError> {
        use bytes::Buf;
        if packet.len() < Self::LEN {
            return Err(DeliveryError::Malformed);
        }
        let header = Self {
            stream: packet.get_u32(),
            message: packet.get_u32(),
            number: packet.get_u32(),
            data: packet.get_u16(),
            repair: packet.get_u16(),
            index: packet.get_u16(),
            length: packet.get_u32(),
        };
        let length = usize::try_from(header.length).map_err(|_| DeliveryError::Malformed)?;
        let valid = (1..=MAX_DATA_SHARDS).contains(&header.data)
            && header.repair <= MAX_REPAIR_SHARDS
            && header.index < header.data + header.repair
            && packet.len() == shard_len(length, header.data)
            && length <= packet.len() * usize::from(header.data);
        if valid { Ok((header, packet)) } else { Err(DeliveryError::Malformed) }
    }
}

/// Bytes of each packet's payload: equal parts, rounded up to the coder's two-byte symbols.
pub(super) fn shard_len(message: usize, data: u16) -> usize {
    message.div_ceil(usize::from(data).max(1)).max(1).next_multiple_of(2)
}

/// Turns messages into packets, with the repair that the path needs.
#[derive(Debug)]
pub struct ShardEncoder {
    planner: RepairPlanner,
    message: u32,
    number: u32,
}

impl ShardEncoder {
    /// An encoder that plans with `planner`.
    #[must_use]
    pub const fn new(planner: RepairPlanner) -> Self {
        Self { planner, message: 0, number: 0 }
    }

    /// The planner, which wants the receiver's reports.
    pub const fn planner(&mut self) -> &mut RepairPlanner {
        &mut self.planner
    }

    /// The packets of `message` in the order in which to send them, each at most `datagram` bytes
    /// long, and the plan that they follow.
    ///
    /// # Errors
    /// [`DeliveryError::PathTooNarrow`] or [`DeliveryError::TooLong`]; nothing is to be sent then.
    pub fn encode(
        &mut self,
        stream: u32,
        message: &[u8],
        wanted: Probability,
        cap: OverheadCap,
        datagram: usize,
    ) -> Result<(Plan, Vec<Bytes>), DeliveryError> {
        let room = datagram.saturating_sub(ShardHeader::LEN) & !1;
        if room == 0 {
            return Err(DeliveryError::PathTooNarrow { got: datagram, need: ShardHeader::LEN + 2 });
        }
        let too_long = DeliveryError::TooLong {
            got: message.len(),
            max: room.saturating_mul(usize::from(MAX_DATA_SHARDS)),
        };
        let data = u16::try_from(message.len().div_ceil(room).max(1)).map_err(|_| too_long)?;
        if data > MAX_DATA_SHARDS {
            return Err(too_long);
        }
        let length = u32::try_from(message.len()).map_err(|_| too_long)?;
        let plan = self.planner.plan(data, wanted, cap);
        let size = shard_len(message.len(), data);
        let mut shards: Vec<Vec<u8>> = message.chunks(size).map(<[u8]>::to_vec).collect();
        shards.resize(usize::from(data), Vec::new());
        shards.iter_mut().for_each(|shard| shard.resize(size, 0));
        let repair = match plan.repair {
            0 => Vec::new(),
            // One packet is repaired by copies of it.
            repair if data == 1 => vec![shards.concat(); usize::from(repair)],
            repair => reed_solomon_simd::encode(usize::from(data), usize::from(repair), &shards)
                .map_err(|_| DeliveryError::Coder)?,
        };
        let mut header = ShardHeader {
            stream,
            message: self.message,
            number: self.number,
            data,
            repair: plan.repair,
            index: 0,
            length,
        };
        self.message = self.message.wrapping_add(1);
        let mut packets = Vec::with_capacity(shards.len() + repair.len());
        for shard in shards.iter().chain(&repair) {
            let mut packet = BytesMut::with_capacity(ShardHeader::LEN + shard.len());
            header.put(&mut packet);
            packet.put_slice(shard);
            packets.push(packet.freeze());
            header.index += 1;
            header.number = header.number.wrapping_add(1);
        }
        self.number = header.number;
        Ok((plan, packets))
    }
}
