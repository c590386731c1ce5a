//! Everything of a session that travels in datagrams.
//!
//! The first byte says what it is (docs/streams.md, DGRAM-1): a whole message, a packet of a
//! repair-coded message, a report of loss, or, from 0x80 on, a frame of the application.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use stt_transport::DatagramError;
use tokio::sync::Notify;

use super::{SessionShared, shard_assembly::ShardAssembly, stream_reader};
use crate::{
    StreamError,
    delivery::{
        AssemblerStats, DeliveryError, LossCounts, Probability, RepairPlanner, ShardEncoder,
    },
    dispatch::FrameType,
    limits::{Effort, SessionBudget},
    stream::{
        StreamShared,
        unordered_queue::{Budget, UnorderedQueue},
        unpinned, varint,
    },
};

/// A message in one datagram: stream as a varint, then the message.
const MESSAGE: u8 = 0x01;
/// A packet of a repair-coded message.
const SHARD: u8 = 0x02;
/// What this side counted of the loss of the peer's packets.
const REPORT: u8 = 0x03;
/// Packets after which a report is due at once, and the time after which any news is (DGRAM-3).
const REPORT_PACKETS: u32 = 64;
const REPORT_AFTER: Duration = Duration::from_millis(50);
/// Most bytes of a packet of a repair-coded message. It fits into what every path of QUIC carries
/// (1,200 bytes): the engine throws away queued datagrams that a path, found to be narrower, does not
/// carry, and bursts of loss are enough for it to find that.
const CODED_ROOM: usize = 1_150;

/// The state of it.
#[derive(Debug)]
pub(crate) struct Datagrams {
    encoder: Mutex<ShardEncoder>,
    gathering: Mutex<ShardAssembly>,
    /// What messages in no order, of all streams, and frames hold while they wait.
    waiting: Budget,
    /// Frames that wait for a dispatcher.
    frames: Mutex<UnorderedQueue>,
    frame_arrived: Notify,
    /// Datagrams of a kind that this side does not know.
    unknown: AtomicU64,
    /// Messages and frames that arrived and found their queue full.
    dropped: AtomicU64,
}

impl Datagrams {
    /// Messages and frames that wait hold at most `max_waiting` bytes, and so do incomplete
    /// messages; both are counted in `account`.
    pub(super) fn new(max_waiting: usize, account: Arc<SessionBudget>) -> Self {
        Self {
            encoder: Mutex::new(ShardEncoder::new(RepairPlanner::new())),
            gathering: Mutex::new(ShardAssembly::new(max_waiting, Arc::clone(&account))),
            waiting: Budget::new(max_waiting, account),
            frames: Mutex::default(),
            frame_arrived: Notify::new(),
            unknown: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    fn encoder(&self) -> MutexGuard<'_, ShardEncoder> {
        self.encoder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gathering(&self) -> MutexGuard<'_, ShardAssembly> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the receiving side of repair codes did.
    pub(super) fn assembled(&self) -> AssemblerStats {
        self.gathering().stats()
    }

    /// Kinds not known, and messages and frames dropped.
    pub(super) fn lost(&self) -> (u64, u64) {
        (self.unknown.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }

    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// The next frame that came in a datagram.
    pub(super) async fn next_frame(&self) -> Bytes {
        loop {
            let arrived = self.frame_arrived.notified();
            let mut arrived = std::pin::pin!(arrived);
            arrived.as_mut().enable();
            let next = self.frames.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(frame) = next {
                return frame;
            }
            arrived.await;
        }
    }

    fn push_frame(&self, frame: Bytes) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = frames.push(unpinned(frame), &self.waiting);
        drop(frames);
        if !taken {
            return self.count_dropped();
        }
        self.frame_arrived.notify_waiters();
    }
}

/// Reads datagrams until the session ends.
pub(super) async fn run(session: Arc<SessionShared>) {
    let mut reported = (LossCounts::default(), Instant::now());
    let (mut effort, mut took) = (Effort::default(), Duration::ZERO);
    while let Ok(mut datagram) = session.connection.read_datagram().await {
        Effort::give_way(mem::take(&mut took)).await;
        let Some(kind) = datagram.first().copied() else { continue };
        if kind >= FrameType::FIRST {
            session.datagrams.push_frame(datagram);
            continue;
        }
        datagram.advance(1);
        match kind {
            MESSAGE => {
                if let Some(id) = varint::take(&mut datagram).and_then(|id| u32::try_from(id).ok())
                {
                    deliver(&session, id, datagram);
                }
            }
            SHARD => {
                // A few bytes may ask for a large repair.
                let began = Instant::now();
                if !effort.has_time(began) {
                    session.datagrams.count_dropped();
                    continue;
                }
                let (message, counts) = {
                    let mut gathering = session.datagrams.gathering();
                    (gathering.packet(datagram), gathering.counts())
                };
                took = began.elapsed();
                effort.spent(began, took);
                if let Some(message) = message {
                    deliver(&session, message.stream, message.data);
                }
                let new = counts.since(&reported.0).total();
                if new >= REPORT_PACKETS || (new > 0 && reported.1.elapsed() >= REPORT_AFTER) {
                    reported = (counts, Instant::now());
                    let mut report = BytesMut::with_capacity(1 + LossCounts::LEN);
                    report.put_u8(REPORT);
                    report.put_slice(&counts.encode());
                    let _ = session.connection.send_datagram(report.freeze());
                }
            }
            REPORT => {
                if let Ok(counts) = LossCounts::decode(&datagram) {
                    session.datagrams.encoder().planner().report(counts);
                }
            }
            _ => {
                session.datagrams.unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Gives a message to its stream, outside of any order. Dropped when the stream's queue is full.
pub(super) fn deliver(session: &Arc<SessionShared>, id: u32, message: Bytes) {
    let stream = session.table().get_or_make(id);
    let length = u64::try_from(message.len()).unwrap_or(u64::MAX);
    let stream = match stream {
        Ok(stream) if length <= stream.inbound.max_frame_size() => stream,
        _ => return session.datagrams.count_dropped(),
    };
    if !stream.inbound.feed_loose(unpinned(message), &session.datagrams.waiting) {
        return session.datagrams.count_dropped();
    }
    stream.loose_arrived();
    stream_reader::start_forwarding(session, &stream);
    session.stream_arrived();
}

/// Sends a message in one datagram.
pub(super) async fn send_message(
    session: &SessionShared,
    stream: &StreamShared,
    message: &[u8],
) -> Result<(), StreamError> {
    let id = u64::from(stream.id);
    let mut datagram = BytesMut::with_capacity(1 + varint::MAX_LEN + message.len());
    datagram.put_u8(MESSAGE);
    varint::put(&mut datagram, id);
    let overhead = datagram.len();
    datagram.put_slice(message);
    send(session, stream.id, datagram.freeze(), overhead).await?;
    let mut sending = stream.sending.lock();
    sending.stats.messages += 1;
    sending.stats.packets += 1;
    Ok(())
}

/// Sends a message as packets with the repair that the path needs.
pub(super) async fn send_coded(
    session: &SessionShared,
    stream: &StreamShared,
    message: &[u8],
    wanted: Probability,
) -> Result<(), StreamError> {
    let room = session.connection.max_datagram_size().unwrap_or(0).saturating_sub(1);
    let room = room.min(CODED_ROOM);
    let cap = stream.sending.lock().cap;
    let encoded = session.datagrams.encoder().encode(stream.id, message, wanted, cap, room);
    let (plan, packets) = encoded.map_err(|error| match error {
        DeliveryError::TooLong { got, max } => StreamError::TooLong { len: got, max },
        DeliveryError::PathTooNarrow { got, need } => StreamError::PathTooNarrow { got, need },
        _ => StreamError::Protocol { id: stream.id, rule: "the repair coder refused the message" },
    })?;
    let first_shortfall = {
        let mut sending = stream.sending.lock();
        let before = sending.stats.last_plan.is_some_and(|plan| plan.shortfall.is_some());
        let stats = &mut sending.stats;
        stats.messages += 1;
        stats.packets += u64::from(plan.data);
        stats.repair_packets += u64::from(plan.repair);
        stats.shortfalls += u64::from(plan.shortfall.is_some());
        stats.last_plan = Some(plan);
        plan.shortfall.filter(|_| !before)
    };
    if let Some(wanted) = first_shortfall {
        session.host.warn(
            "delivery.shortfall",
            format!(
                "stream {} asks for a delivery probability of {}, its overhead cap allows {:.4} on \
                 this path",
                stream.id,
                wanted.get(),
                plan.probability
            ),
        );
    }
    for packet in packets {
        let mut datagram = BytesMut::with_capacity(1 + packet.len());
        datagram.put_u8(SHARD);
        datagram.put_slice(&packet);
        send(session, stream.id, datagram.freeze(), 1).await?;
    }
    Ok(())
}

/// Sends a frame of the application, which already carries its type.
pub(super) async fn send_frame(session: &SessionShared, frame: Bytes) -> Result<(), StreamError> {
    send(session, 0, frame, 1).await
}

/// Waits for room in the engine's queue of datagrams; without room the engine would drop the oldest.
async fn send(
    session: &SessionShared,
    id: u32,
    datagram: Bytes,
    overhead: usize,
) -> Result<(), StreamError> {
    let len = datagram.len().saturating_sub(overhead);
    session.pass(datagram.len()).await;
    session.connection.send_datagram_wait(datagram).await.map_err(|error| match error {
        DatagramError::TooLarge => {
            let max = session.connection.max_datagram_size().unwrap_or(0);
            StreamError::FrameTooLarge {
                len: u64::try_from(len).unwrap_or(u64::MAX),
                max: u64::try_from(max.saturating_sub(overhead)).unwrap_or(0),
            }
        }
        DatagramError::Lost(error) => super::driver::write_error(session, id, error.into()),
        DatagramError::Unsupported => {
            StreamError::Protocol { id, rule: "the peer takes no datagrams" }
        }
    })
}
