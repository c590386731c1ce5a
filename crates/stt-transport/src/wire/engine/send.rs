//! The sending direction of a connection's stream.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use bytes::Bytes;
use quinn_proto::{FinishError, StreamId, VarInt, WriteError as Write};

use super::{
    connection::Connection,
    error::{ConnectionError, WriteError},
};

/// Bytes that whoever writes them sends at once. More is left to the connection's task, which may
/// run beside the next write.
const LITTLE: usize = 2 << 10;

/// The sending direction. Dropped, it is finished.
#[derive(Debug)]
pub struct SendStream {
    connection: Connection,
    id: StreamId,
    /// More is about to be written.
    more: bool,
    /// The task has been called for what was written last; otherwise it is little.
    called: bool,
}

/// How much of what was to be written was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub bytes: usize,
    /// Chunks that were taken as a whole.
    pub chunks: usize,
}

impl SendStream {
    pub(super) const fn new(connection: Connection, id: StreamId) -> Self {
        Self { connection, id, more: false, called: false }
    }

    /// The number that QUIC has for it.
    #[must_use]
    pub fn id(&self) -> u64 {
        VarInt::from(self.id).into_inner()
    }

    /// Whether more is about to be written, or the end: what is little then goes out together.
    pub const fn expect_more(&mut self, more: bool) {
        self.more = more;
    }

    /// Hands over as many of `chunks` as there is room for, at least one byte, and says how many.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<Written, WriteError> {
        poll_fn(|cx| self.poll_write(cx, chunks)).await
    }

    /// Hands over all of `chunk`.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), WriteError> {
        let mut rest = [chunk];
        while !rest.iter().all(Bytes::is_empty) {
            self.write_chunks(&mut rest).await?;
        }
        Ok(())
    }

    fn poll_write(
        &mut self,
        cx: &Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<Written, WriteError>> {
        let shared = self.connection.shared();
        let mut state = shared.lock();
        if let Some(error) = &state.error {
            return Poll::Ready(Err(WriteError::Lost(error.clone())));
        }
        let written = match state.quic.send_stream(self.id).write_chunks(chunks) {
            Ok(written) => Written { bytes: written.bytes, chunks: written.chunks },
            Err(Write::Blocked) => {
                state.writers.insert(self.id, cx.waker().clone());
                drop(state);
                shared.call();
                return Poll::Pending;
            }
            Err(Write::Stopped(code)) => {
                return Poll::Ready(Err(WriteError::Stopped(code.into_inner())));
            }
            Err(Write::ClosedStream) => return Poll::Ready(Err(WriteError::Closed)),
        };
        self.called = written.bytes > LITTLE;
        if self.called {
            drop(state);
            shared.call();
        } else if !self.more {
            shared.turn_here(state);
        }
        Poll::Ready(Ok(written))
    }

    /// No more will be written. Nothing happens if it was closed before.
    pub fn finish(&mut self) {
        let shared = self.connection.shared();
        let mut state = shared.lock();
        if state.quic.send_stream(self.id).finish().is_err() {
            return;
        }
        if self.called {
            drop(state);
            shared.call();
        } else {
            shared.turn_here(state);
        }
    }

    /// Gives up what the peer has not got. Nothing happens if it was closed before.
    pub fn reset(&mut self, code: u32) {
        let shared = self.connection.shared();
        let mut state = shared.lock();
        if state.quic.send_stream(self.id).reset(VarInt::from_u32(code)).is_ok() {
            drop(state);
            shared.call();
        }
    }

    /// Which stream goes first: those with higher numbers.
    pub fn set_priority(&self, priority: i32) {
        let mut state = self.connection.shared().lock();
        // One that is closed has nothing to send.
        let _ = state.quic.send_stream(self.id).set_priority(priority);
    }

    /// Waits until the peer has all of it, `None`, or wants no more of it, and with which code.
    ///
    /// # Errors
    /// The connection is over before.
    pub async fn stopped(&self) -> Result<Option<u64>, ConnectionError> {
        poll_fn(|cx| {
            let mut state = self.connection.shared().lock();
            match state.quic.send_stream(self.id).stopped() {
                Err(_) => return Poll::Ready(Ok(None)),
                Ok(Some(code)) => return Poll::Ready(Ok(Some(code.into_inner()))),
                Ok(None) => {}
            }
            if let Some(error) = &state.error {
                return Poll::Ready(Err(error.clone()));
            }
            state.finishers.insert(self.id, cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        let shared = self.connection.shared();
        let mut state = shared.lock();
        state.writers.remove(&self.id);
        state.finishers.remove(&self.id);
        if state.error.is_some() {
            return;
        }
        let changed = match state.quic.send_stream(self.id).finish() {
            Ok(()) => true,
            Err(FinishError::Stopped(code)) => state.quic.send_stream(self.id).reset(code).is_ok(),
            Err(FinishError::ClosedStream) => false,
        };
        drop(state);
        if changed {
            shared.call();
        }
    }
}
