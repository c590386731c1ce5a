//! One receiving direction: its bytes are taken from QUIC as they come, by whoever brings them.
//!
//! A task reads the header, finds the stream, and then looks after beginning, end, and limits alone.
//! Reads are unordered, so QUIC itself never holds many holes; see `stream::reassembly`.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;

use super::{
    SessionShared, control, deadline,
    driver::{code, read_end},
    early::{Early, Piece},
    labelled,
};
use crate::{
    CloseReason, Packet, StreamError,
    limits::{Held, count},
    stream::{
        Stream, StreamShared,
        header::Header,
        inbound::{End, Taken},
        unpinned,
    },
    wakes::Wakes,
    wire::{RecvStream, Sink},
};

/// Streams of a session that are read from before their header is complete.
pub(super) const MAX_HEADLESS: usize = 16;

/// Runs until the direction ended.
pub(super) async fn run(session: Arc<SessionShared>, mut quic: RecvStream) {
    let Some((header, header_len, mut early)) = read_header(&session, &mut quic).await else {
        quic.stop(code::HEADER);
        return;
    };
    match header {
        Header::Control => {
            control::read(&session, quic, header_len, early.into_pieces()).await;
        }
        Header::Message { id } => {
            deadline::receive(&session, id, quic, header_len, early.into_pieces()).await;
        }
        Header::Stream { raw, id } => {
            let stream = match attach(&session, id, &quic, &mut early).await {
                Ok(stream) => stream,
                Err(_) => {
                    count(&session.hub.limit_counters().streams_refused);
                    quic.stop(code::TOO_MANY);
                    return;
                }
            };
            stream.inbound.start(raw);
            if !raw && !stream.is_claimed() && stream.start_forwarding() {
                tokio::spawn(forward(Arc::clone(&session), Arc::clone(&stream)));
            }
            session.stream_arrived();
            let early = early.into_pieces();
            let end = feed(&session, &stream, &mut quic, header_len, early).await;
            stream.inbound.end(end);
        }
        Header::Labelled { label, id } => {
            labelled::receive(&session, (label, id), quic, header_len, early.into_pieces()).await;
        }
    }
}

/// Reads until the header is complete; gives back all pieces read so far.
async fn read_header(
    session: &SessionShared,
    quic: &mut RecvStream,
) -> Option<(Header, u64, Early)> {
    let held = &session.held;
    let mut early = Early::new(Arc::clone(held));
    // It may be the control stream's, which must get through whatever waits.
    let first = if held.must_wait() { Header::MAX_LEN } else { held.piece() };
    let chunk = quic.read_chunk(first).await.ok()??;
    let mut found = early.push(chunk.offset, chunk.bytes).ok()?;
    if found.is_none() {
        // QUIC stops the sender of more streams than that.
        let _place = session.headers.acquire().await.ok()?;
        while found.is_none() {
            tokio::select! {
                biased;
                () = held.room() => {}
                _ = session.connection.closed() => return None,
            }
            let chunk = quic.read_chunk(held.piece()).await.ok()??;
            found = early.push(chunk.offset, chunk.bytes).ok()?;
        }
    }
    let (header, len) = found?;
    Some((header, u64::try_from(len).ok()?, early))
}

/// Finds the stream, waiting for the end of an earlier use of its number.
async fn attach(
    session: &SessionShared,
    id: u32,
    quic: &RecvStream,
    early: &mut Early,
) -> Result<Arc<StreamShared>, StreamError> {
    loop {
        let busy = {
            let mut table = session.table();
            match table.receive_into(id)? {
                Some(stream) => {
                    let index = quinn_proto::VarInt::from(quic.id()).into_inner();
                    stream.inbound_quic.store(index, Ordering::Release);
                    return Ok(stream);
                }
                None => table.get_or_make(id)?,
            }
        };
        early.settle_in();
        let over = busy
            .inbound
            .wait_for(|| if busy.inbound.is_done() { Taken::Got(()) } else { Taken::Wait });
        tokio::select! {
            _ = over => {}
            _ = session.connection.closed() => return Err(StreamError::Closed { id }),
        }
    }
}

/// Takes what QUIC has of a stream.
struct Pipe {
    stream: Arc<StreamShared>,
    held: Arc<Held>,
    header_len: u64,
    /// What came after the end of the session is taken whatever the limits are: it is not much.
    last: AtomicBool,
    /// The peer broke a rule: nothing more is taken.
    broken: OnceLock<StreamError>,
}

impl Pipe {
    /// Takes a piece, less what belongs to the header.
    fn put(&self, offset: u64, mut bytes: Bytes, wakes: &mut Wakes) {
        let skip = usize::try_from(self.header_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let _ = bytes.split_to(skip.min(bytes.len()));
        let offset = offset.saturating_sub(self.header_len);
        if let Err(error) = self.stream.inbound.feed(offset, bytes, wakes) {
            let _ = self.broken.set(error);
        }
    }
}

impl Sink for Pipe {
    fn room(&self) -> Option<usize> {
        let may = !self.held.must_wait() || self.last.load(Ordering::Relaxed);
        (may && self.broken.get().is_none()).then(|| self.held.piece())
    }

    fn take(&self, offset: u64, bytes: Bytes, wakes: &mut Wakes) {
        self.put(offset, bytes, wakes);
    }
}

/// Has bytes moved from QUIC into the stream until either ends.
pub(super) async fn feed(
    session: &SessionShared,
    stream: &Arc<StreamShared>,
    quic: &mut RecvStream,
    header_len: u64,
    early: Vec<Piece>,
) -> End {
    let pipe = Arc::new(Pipe {
        stream: Arc::clone(stream),
        held: Arc::clone(&session.held),
        header_len,
        last: AtomicBool::new(false),
        broken: OnceLock::new(),
    });
    let mut wakes = Wakes::default();
    for (offset, bytes) in early {
        pipe.put(offset, bytes, &mut wakes);
    }
    wakes.wake();
    let sink: Arc<dyn Sink> = Arc::<Pipe>::clone(&pipe);
    loop {
        match quic.pour(&sink).await {
            Ok(true) => return End::Finished,
            Ok(false) => {}
            Err(error) => return read_end(session, stream.id, error),
        }
        if let Some(error) = pipe.broken.get() {
            return violated(session, error.clone());
        }
        // While the node is full this session may have to wait; QUIC then stops the sender.
        count(&session.hub.limit_counters().reads_held_up);
        tokio::select! {
            () = session.held.room() => {}
            _ = session.connection.closed() => pipe.last.store(true, Ordering::Relaxed),
        }
    }
}

/// A peer that takes more than its credit has no claim to this session's memory.
fn violated(session: &SessionShared, error: StreamError) -> End {
    session.abort(CloseReason::Protocol { rule: error.to_string() });
    End::Failed(error)
}

/// Hands the messages of a stream that nobody claimed to the node's `receive`, once that is called.
pub(super) async fn forward(session: Arc<SessionShared>, stream: Arc<StreamShared>) {
    forward_all(&session, &stream).await;
    stream.stop_forwarding();
}

async fn forward_all(session: &Arc<SessionShared>, stream: &Arc<StreamShared>) {
    let hub = Arc::clone(&session.hub);
    tokio::select! {
        biased;
        () = stream.claimed() => return,
        () = hub.receiving() => {}
    }
    let handle = Stream { shared: Arc::clone(stream), session: Arc::clone(session) };
    loop {
        let permit = tokio::select! {
            biased;
            () = stream.claimed() => return,
            permit = hub.packet_permit() => match permit {
                Some(permit) => permit,
                None => return,
            },
        };
        let message = match handle.take_message() {
            Taken::Got(message) => message,
            Taken::Finished | Taken::Failed(_) => return,
            Taken::Wait => {
                // Idle streams must not hold places in the node's queue.
                drop(permit);
                let known = stream.inbound.ready_len();
                tokio::select! {
                    biased;
                    () = stream.claimed() => return,
                    ready = stream.inbound.wait_for(|| stream.inbound.changed_from(known)) => match ready {
                        Taken::Got(()) => continue,
                        _ => return,
                    },
                }
            }
        };
        // What waits for `receive` must not hold the buffer that it came in.
        let data = unpinned(message);
        let packet = Packet { session_id: session.id, stream_id: stream.id, data };
        hub.packet_arrived(packet, permit);
    }
}
