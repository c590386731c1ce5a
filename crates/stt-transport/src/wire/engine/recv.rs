//! The receiving direction of a connection's stream.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use quinn_proto::{ReadError as Read, StreamId, VarInt};

use super::{
    connection::Connection,
    error::{ConnectionError, ReadError},
};
use crate::waker_list::WakerList;

/// The receiving direction. Dropped before its end, the peer is told to stop.
#[derive(Debug)]
pub struct RecvStream {
    connection: Connection,
    id: StreamId,
    /// Nothing more will come.
    over: bool,
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it begins, in bytes from the start of the stream.
    pub offset: u64,
    /// What it holds.
    pub bytes: Bytes,
}

/// Takes what arrives on a stream, from whoever moves the connection at that moment: no task has to
/// be woken for it. It is called under the connection's lock.
pub trait Sink: Send + Sync {
    /// Most bytes of the next piece. `None` when nothing more is to come for now.
    fn room(&self) -> Option<usize>;

    /// The next piece, in whatever order they came. Who is to be woken goes into `wakes`.
    fn take(&self, offset: u64, bytes: Bytes, wakes: &mut WakerList);
}

/// Who waits for what arrives on a stream.
pub(super) enum Reader {
    Task(Waker),
    /// What takes it, and who is called when there is no room in it, or at the end.
    Sink(Arc<dyn Sink>, Waker),
    /// The end was reached, and nobody has been told.
    Over(Result<(), ReadError>),
}

/// How pouring came to its end.
pub(super) enum Poured {
    /// There was nothing more.
    Dry,
    /// There was no room.
    Held,
    Over(Result<(), ReadError>),
}

/// Pours into `sink` what arrived. True if that gave credit, which should be sent.
pub(super) fn pour(
    quic: &mut quinn_proto::Connection,
    id: StreamId,
    sink: &dyn Sink,
    wakes: &mut WakerList,
) -> (Poured, bool) {
    let mut stream = quic.recv_stream(id);
    let Ok(mut chunks) = stream.read(false) else {
        return (Poured::Over(Err(ReadError::Closed)), false);
    };
    let poured = loop {
        let Some(max) = sink.room() else { break Poured::Held };
        match chunks.next(max) {
            Ok(Some(chunk)) => sink.take(chunk.offset, chunk.bytes, wakes),
            Ok(None) => break Poured::Over(Ok(())),
            Err(Read::Reset(code)) => break Poured::Over(Err(ReadError::Reset(code.into_inner()))),
            Err(Read::Blocked) => break Poured::Dry,
        }
    };
    (poured, chunks.finalize().should_transmit())
}

impl RecvStream {
    pub(super) const fn new(connection: Connection, id: StreamId) -> Self {
        Self { connection, id, over: false }
    }

    /// The number that QUIC has for it.
    #[must_use]
    pub fn id(&self) -> u64 {
        VarInt::from(self.id).into_inner()
    }

    /// The next piece, in whatever order they came: at most `max` bytes. `None` at the end.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Chunk>, ReadError> {
        poll_fn(|cx| self.poll_read(cx, max)).await
    }

    fn poll_read(
        &mut self,
        cx: &Context<'_>,
        max: usize,
    ) -> Poll<Result<Option<Chunk>, ReadError>> {
        if self.over {
            return Poll::Ready(Ok(None));
        }
        let shared = self.connection.shared();
        let mut state = shared.lock();
        let (read, gives_credit) = {
            let mut stream = state.quic.recv_stream(self.id);
            let Ok(mut chunks) = stream.read(false) else {
                return Poll::Ready(Err(ReadError::Closed));
            };
            let read = chunks.next(max);
            (read, chunks.finalize().should_transmit())
        };
        let result = match read {
            Ok(Some(chunk)) => Ok(Some(Chunk { offset: chunk.offset, bytes: chunk.bytes })),
            Ok(None) => {
                self.over = true;
                Ok(None)
            }
            Err(Read::Reset(code)) => {
                self.over = true;
                Err(ReadError::Reset(code.into_inner()))
            }
            Err(Read::Blocked) => {
                if let Some(error) = &state.error {
                    return Poll::Ready(Err(ReadError::Lost(error.clone())));
                }
                state.readers.insert(self.id, Reader::Task(cx.waker().clone()));
                return Poll::Pending;
            }
        };
        drop(state);
        if gives_credit {
            shared.call();
        }
        Poll::Ready(result)
    }

    /// Pours what comes into `sink`: true at the end, false when there is no room in it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn pour(&mut self, sink: &Arc<dyn Sink>) -> Result<bool, ReadError> {
        poll_fn(|cx| self.poll_pour(cx, sink)).await
    }

    fn poll_pour(
        &mut self,
        cx: &Context<'_>,
        sink: &Arc<dyn Sink>,
    ) -> Poll<Result<bool, ReadError>> {
        if self.over {
            return Poll::Ready(Ok(true));
        }
        let (shared, mut wakes) = (self.connection.shared(), WakerList::default());
        let mut state = shared.lock();
        let (poured, gave_credit) = match state.readers.remove(&self.id) {
            Some(Reader::Over(end)) => (Poured::Over(end), false),
            _ => pour(&mut state.quic, self.id, sink.as_ref(), &mut wakes),
        };
        let result = match poured {
            Poured::Held => Poll::Ready(Ok(false)),
            Poured::Over(end) => {
                self.over = true;
                Poll::Ready(end.map(|()| true))
            }
            Poured::Dry => match &state.error {
                Some(error) => Poll::Ready(Err(ReadError::Lost(error.clone()))),
                None => {
                    let reader = Reader::Sink(Arc::clone(sink), cx.waker().clone());
                    state.readers.insert(self.id, reader);
                    Poll::Pending
                }
            },
        };
        drop(state);
        wakes.wake();
        if gave_credit {
            shared.call();
        }
        result
    }

    /// All that comes until the end.
    ///
    /// # Errors
    /// See [`ReadError`]; as closed if it is more than `max` bytes.
    pub async fn read_to_end(&mut self, max: usize) -> Result<Vec<u8>, ReadError> {
        let mut all = Vec::new();
        while let Some(Chunk { offset, bytes }) = self.read_chunk(max).await? {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(bytes.len());
            if end > max {
                return Err(ReadError::Closed);
            }
            if all.len() < end {
                all.resize(end, 0);
            }
            if let Some(place) = all.get_mut(start..end) {
                place.copy_from_slice(&bytes);
            }
        }
        Ok(all)
    }

    /// Waits for its end: the code of a reset, or `None` if nothing more will be read.
    ///
    /// # Errors
    /// The connection is over before.
    pub async fn received_reset(&mut self) -> Result<Option<u64>, ConnectionError> {
        poll_fn(|cx| {
            let shared = self.connection.shared();
            let mut state = shared.lock();
            match state.quic.recv_stream(self.id).received_reset() {
                Err(_) => return Poll::Ready(Ok(None)),
                Ok(Some(code)) => {
                    drop(state);
                    // There is room for another stream.
                    shared.call();
                    return Poll::Ready(Ok(Some(code.into_inner())));
                }
                Ok(None) => {}
            }
            if let Some(error) = &state.error {
                return Poll::Ready(Err(error.clone()));
            }
            state.readers.insert(self.id, Reader::Task(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Tells the peer that no more of it is wanted.
    pub fn stop(&mut self, code: u32) {
        self.over = true;
        let shared = self.connection.shared();
        let mut state = shared.lock();
        state.readers.remove(&self.id);
        if state.quic.recv_stream(self.id).stop(VarInt::from_u32(code)).is_ok() {
            drop(state);
            shared.call();
        }
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        let shared = self.connection.shared();
        let mut state = shared.lock();
        state.readers.remove(&self.id);
        if self.over || state.error.is_some() {
            return;
        }
        let _ = state.quic.recv_stream(self.id).stop(VarInt::from_u32(0));
        drop(state);
        shared.call();
    }
}
