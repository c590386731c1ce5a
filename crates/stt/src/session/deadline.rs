//! Messages with a deadline: each on a QUIC stream of its own, given up when late.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use stt_transport::{RecvStream, WriteError};
use tokio::sync::Semaphore;

use super::{SessionShared, datagrams, driver::code, paced_writer::PacedWriter};
use crate::{
    StreamError,
    limits::{Charge, count},
    stream::{StreamShared, header::Header, reassembly::Reassembly},
};

/// Longest message with a deadline: 1 MiB.
const MAX_LEN: usize = 1 << 20;
/// Such messages on their way, and being gathered, at most.
const MAX_ACTIVE: usize = 64;

/// Places for such messages.
#[derive(Debug)]
pub(crate) struct Deadlines {
    sending: Arc<Semaphore>,
    gathering: Semaphore,
}

impl Default for Deadlines {
    fn default() -> Self {
        let sending = Arc::new(Semaphore::new(MAX_ACTIVE));
        Self { sending, gathering: Semaphore::new(MAX_ACTIVE) }
    }
}

/// As long as anybody waits.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Puts a message on its way. Waits for a place while too many are on theirs, which counts.
pub(super) async fn send(
    session: &Arc<SessionShared>,
    stream: &Arc<StreamShared>,
    message: Bytes,
    within: Duration,
) -> Result<(), StreamError> {
    if message.len() > MAX_LEN {
        let (len, max) = (message.len(), MAX_LEN);
        return Err(StreamError::FrameTooLarge {
            len: u64::try_from(len).unwrap_or(u64::MAX),
            max: u64::try_from(max).unwrap_or(u64::MAX),
        });
    }
    if let Some(reason) = session.end_reason() {
        return Err(StreamError::SessionEnded(reason));
    }
    stream.sending.lock().stats.messages += 1;
    let now = tokio::time::Instant::now();
    // Clocks have an end, callers' durations need not.
    let until = now.checked_add(within).unwrap_or(now + FOREVER);
    let place = Arc::clone(&session.deadlines.sending).acquire_owned();
    let place = tokio::time::timeout_at(until, place).await;
    let in_time = tokio::time::Instant::now() < until;
    let (Ok(Ok(place)), true) = (place, in_time) else {
        stream.sending.lock().stats.late += 1;
        return Err(StreamError::Late { id: stream.id, within });
    };
    let (session, stream) = (Arc::clone(session), Arc::clone(stream));
    tokio::spawn(async move {
        let _place = place;
        let Ok(quic) = session.connection.open_uni().await else { return };
        let mut feed = PacedWriter::new(quic);
        let all = async {
            let mut header = BytesMut::with_capacity(Header::MAX_LEN);
            Header::Message { id: stream.id }.put(&mut header);
            let mut chunks = [header.freeze(), message];
            // What waits for bandwidth must not wait for the rest besides.
            feed.quic.expect_more(session.throttled_piece().is_none());
            feed.write(&session, || stream.outbound.priority(), &mut chunks, |_| {}).await?;
            feed.quic.finish();
            let _ = feed.quic.stopped().await;
            Ok::<_, WriteError>(())
        };
        if tokio::time::timeout_at(until, all).await.is_err() {
            feed.quic.reset(code::LATE);
            stream.sending.lock().stats.late += 1;
        }
    });
    Ok(())
}

/// Waits while the node is full; false when the message will not become whole any more.
async fn room(session: &SessionShared, quic: &mut RecvStream) -> bool {
    if !session.held.must_wait() {
        return true;
    }
    count(&session.common.counters.reads_held_up);
    tokio::select! {
        () = session.held.room() => true,
        // Given up by the sender, or the session ended.
        _ = quic.received_reset() => false,
    }
}

/// Gathers a message, which began with these pieces, and hands it over when it is whole.
pub(super) async fn receive(
    session: &Arc<SessionShared>,
    id: u32,
    mut quic: RecvStream,
    header_len: u64,
    early: Vec<(u64, Bytes)>,
) {
    let mut gathered = Charge::new(Arc::clone(&session.held));
    let mut place = None;
    let most = u64::try_from(MAX_LEN).unwrap_or(u64::MAX);
    let mut message = Reassembly::default();
    let mut pieces = early.into_iter();
    let mut length = 0;
    loop {
        let (offset, mut bytes) = match pieces.next() {
            Some(piece) => piece,
            // What came already lies in the message by now, and holds no buffer any more.
            None if place.is_none() => match session.deadlines.gathering.acquire().await {
                Ok(free) => {
                    place = Some(free);
                    continue;
                }
                Err(_) => return,
            },
            None if !room(session, &mut quic).await => return,
            None => match quic.read_chunk(session.held.piece()).await {
                Ok(Some(chunk)) => (chunk.offset, chunk.bytes),
                Ok(None) => break,
                // Given up by the sender, or the session ended: both leave no message.
                Err(_) => return,
            },
        };
        let skip = usize::try_from(header_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let _ = bytes.split_to(skip.min(bytes.len()));
        let offset = offset.saturating_sub(header_len);
        let end = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if end > most {
            quic.stop(code::TOO_LONG);
            return;
        }
        length = end.max(length);
        message.insert(offset, bytes);
        gathered.set(message.cost());
    }
    // It is counted again where it waits for the application.
    drop(gathered);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if let Some(message) = message.take_exact(length).or_else(|| gather(&mut message, length)) {
        datagrams::deliver(session, id, message);
    }
}

/// A message that lies in several pieces.
fn gather(message: &mut Reassembly, length: usize) -> Option<Bytes> {
    let mut whole = BytesMut::with_capacity(length);
    while whole.len() < length {
        whole.extend_from_slice(&message.take_piece(length - whole.len())?);
    }
    Some(whole.freeze())
}
