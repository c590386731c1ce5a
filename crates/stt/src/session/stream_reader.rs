//! One receiving direction: its bytes are taken from QUIC as they come, by whoever brings them.
//!
//! A task reads the header, finds the stream, and then looks after beginning, end, and limits alone.
//! Reads are unordered, so QUIC itself never holds many holes; see `stream::reassembly`.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use stt_transport::{
    ReadError, RecvStream,
    internal::{Sink, WakerList},
};

use super::{
    Session, SessionShared, control, deadline,
    driver::{code, read_end},
    early::{Early, Piece},
    labelled,
    packets::{Packet, Packets, Taker},
    resets,
};
use crate::{
    CloseReason, SessionId, StreamError,
    limits::{SessionBudget, count},
    stream::{
        Stream, StreamShared,
        header::Header,
        recv_queue::{End, Taken},
        unpinned,
    },
};

/// Streams of a session that are read from before their header is complete.
pub(super) const MAX_HEADLESS: usize = 16;

/// Runs until the direction ended.
pub(super) async fn run(session: Arc<SessionShared>, mut quic: RecvStream) {
    let index = quic.id();
    let (header, header_len, mut early) = match read_header(&session, &mut quic).await {
        Ok(read) => read,
        Err(Headless::Reset) => {
            let told = session.peer_headers().missing(index);
            if let Some(reset) = told {
                resets::ended(&session, reset);
            }
            return;
        }
        Err(Headless::Malformed) => {
            session.peer_headers().came(index);
            quic.stop(code::HEADER);
            return;
        }
    };
    session.peer_headers().came(index);
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
                    count(&session.common.counters.streams_refused);
                    quic.stop(code::TOO_MANY);
                    return;
                }
            };
            stream.inbound.start(raw);
            if !raw {
                start_forwarding(&session, &stream);
            }
            session.stream_arrived();
            let early = early.into_pieces();
            let end = tokio::select! {
                biased;
                end = feed(&session, &stream, &mut quic, header_len, early) => Some(end),
                () = stream.unwanted() => None,
            };
            if end.is_none() {
                quic.stop(code::DROPPED);
            }
            stream.inbound.end(end.unwrap_or(End::Finished));
        }
        Header::Labelled { label, id } => {
            labelled::receive(&session, (label, id), quic, header_len, early.into_pieces()).await;
        }
    }
}

/// Why a QUIC stream has no header.
enum Headless {
    /// The peer reset it before.
    Reset,
    /// It is none, or the session is over.
    Malformed,
}

impl From<ReadError> for Headless {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(_) => Self::Reset,
            ReadError::Lost(_) | ReadError::Closed => Self::Malformed,
        }
    }
}

/// Reads until the header is complete; gives back all pieces read so far.
async fn read_header(
    session: &SessionShared,
    quic: &mut RecvStream,
) -> Result<(Header, u64, Early), Headless> {
    let malformed = |_| Headless::Malformed;
    let held = &session.held;
    let mut early = Early::new(Arc::clone(held));
    // It may be the control stream's, which must get through whatever waits.
    let first = if held.must_wait() { Header::MAX_LEN } else { held.piece() };
    let chunk = quic.read_chunk(first).await?.ok_or(Headless::Malformed)?;
    let mut found = early.push(chunk.offset, chunk.bytes).map_err(malformed)?;
    if found.is_none() {
        // QUIC stops the sender of more streams than that.
        let place = session.headers.acquire().await;
        let _place = place.map_err(|_| Headless::Malformed)?;
        while found.is_none() {
            tokio::select! {
                biased;
                () = held.room() => {}
                _ = session.connection.closed() => return Err(Headless::Malformed),
            }
            let chunk = quic.read_chunk(held.piece()).await?.ok_or(Headless::Malformed)?;
            found = early.push(chunk.offset, chunk.bytes).map_err(malformed)?;
        }
    }
    let (header, len) = found.ok_or(Headless::Malformed)?;
    Ok((header, u64::try_from(len).map_err(|_| Headless::Malformed)?, early))
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
                    let index = quic.id();
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
    held: Arc<SessionBudget>,
    header_len: u64,
    /// What came after the end of the session is taken whatever the limits are: it is not much.
    last: AtomicBool,
    /// The peer broke a rule: nothing more is taken.
    broken: OnceLock<StreamError>,
}

impl Pipe {
    /// Takes a piece, less what belongs to the header.
    fn put(&self, offset: u64, mut bytes: Bytes, wakes: &mut WakerList) {
        let skip = usize::try_from(self.header_len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let _ = bytes.split_to(skip.min(bytes.len()));
        let offset = offset.saturating_sub(self.header_len);
        if self.stream.is_let_go() && !bytes.is_empty() {
            self.stream.is_unwanted();
        }
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

    fn take(&self, offset: u64, bytes: Bytes, wakes: &mut WakerList) {
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
    let mut wakes = WakerList::default();
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
        count(&session.common.counters.reads_held_up);
        tokio::select! {
            () = session.held.room() => {}
            _ = session.connection.closed() => pipe.last.store(true, Ordering::Relaxed),
        }
    }
}

/// A peer that takes more than its credit has no claim to this session's memory.
fn violated(session: &SessionShared, error: StreamError) -> End {
    session.abort(CloseReason::Protocol { cause: error.clone().into() });
    End::Failed(error)
}

/// Has [`forward`] run, if it has to: frames wait for whoever dispatches them.
pub(super) fn start_forwarding(session: &Arc<SessionShared>, stream: &Arc<StreamShared>) {
    let is_for_anybody = !stream.is_claimed() && stream.id != Session::FRAME_STREAM;
    if is_for_anybody && stream.start_forwarding() {
        tokio::spawn(forward(Arc::clone(session), Arc::clone(stream)));
    }
}

/// Hands the messages of a stream that nobody claimed to the node, whose `receive` or listeners get
/// them.
async fn forward(session: Arc<SessionShared>, stream: Arc<StreamShared>) {
    let (common, id) = (Arc::clone(&session.common), session.id);
    if forward_all(&session, &stream).await {
        // What is left needs no session any more.
        drop(session);
        if let Some(_place) = common.packets.leave_behind(stream.inbound.ready_len()) {
            forward_rest(&common.packets, id, &stream).await;
        }
    }
    stream.stop_forwarding();
}

fn packet(session_id: SessionId, stream: &StreamShared, message: Bytes) -> Packet {
    // What waits for `receive` must not hold the buffer that it came in.
    Packet { session_id, stream_id: stream.id, data: unpinned(message) }
}

/// True when the session is over and nobody was there.
async fn forward_all(session: &Arc<SessionShared>, stream: &Arc<StreamShared>) -> bool {
    let packets = &session.common.packets;
    let handle = Stream::new(Arc::clone(stream), Arc::clone(session));
    let mut given_back: Option<Packet> = None;
    loop {
        let taker = packets.taker(async { drop(session.closed().await) });
        let taker = tokio::select! {
            biased;
            () = stream.claimed(), if given_back.is_none() => return false,
            taker = taker => match taker {
                None => return false,
                Some(Taker::Nobody) => return true,
                Some(taker) => taker,
            },
        };
        let next = match given_back.take() {
            Some(packet) => packet,
            None => match handle.take_message() {
                Taken::Got(message) => packet(session.id, stream, message),
                Taken::Finished | Taken::Failed(_) => return false,
                Taken::Wait => {
                    // Idle streams must not hold places in the node's queue.
                    drop(taker);
                    let known = stream.inbound.ready_len();
                    tokio::select! {
                        biased;
                        () = stream.claimed() => return false,
                        ready = stream.inbound.wait_for(|| stream.inbound.changed_from(known)) => match ready {
                            Taken::Got(()) => continue,
                            _ => return false,
                        },
                    }
                }
            },
        };
        given_back = packets.pass_on(next, taker).await;
    }
}

/// The same for a stream whose session is over.
async fn forward_rest(packets: &Packets, id: SessionId, stream: &StreamShared) {
    let mut given_back: Option<Packet> = None;
    loop {
        let taker = tokio::select! {
            biased;
            () = stream.claimed(), if given_back.is_none() => return,
            taker = packets.taker(std::future::pending()) => match taker {
                Some(taker) => taker,
                None => return,
            },
        };
        let next = match given_back.take() {
            Some(packet) => packet,
            None => match stream.inbound.take_message().0 {
                Taken::Got(message) => packet(id, stream, message),
                _ => return,
            },
        };
        given_back = packets.pass_on(next, taker).await;
    }
}
