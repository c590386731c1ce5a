//! The sending direction of a connection's stream.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use bytes::Bytes;
use quinn_proto::{ConnectionError, FinishError, StreamId, VarInt, WriteError as Write, Written};
use thiserror::Error;

use super::connection::Connection;

/// Bytes that whoever writes them sends at once. More is left to the connection's task, which may
/// run beside the next write.
const LITTLE: usize = 2 << 10;

/// The sending direction. Dropped, it is finished.
#[derive(Debug)]
pub(crate) struct SendStream {
    connection: Connection,
    id: StreamId,
    /// More is about to be written.
    more: bool,
    /// The task has been called for what was written last; otherwise it is little.
    called: bool,
}

/// Why nothing more can be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum WriteError {
    #[error("the peer wants no more of it, code {0}")]
    Stopped(VarInt),
    #[error("the connection is over: {0}")]
    Lost(#[from] ConnectionError),
    #[error("the stream was finished or reset")]
    Closed,
}

impl SendStream {
    pub(super) const fn new(connection: Connection, id: StreamId) -> Self {
        Self { connection, id, more: false, called: false }
    }

    pub(crate) const fn id(&self) -> StreamId {
        self.id
    }

    /// Whether more is about to be written, or the end: what is little then goes out together.
    pub(crate) const fn expect_more(&mut self, more: bool) {
        self.more = more;
    }

    /// Hands over as many of `chunks` as there is room for, at least one byte, and says how many.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub(crate) async fn write_chunks(
        &mut self,
        chunks: &mut [Bytes],
    ) -> Result<Written, WriteError> {
        poll_fn(|cx| self.poll_write(cx, chunks)).await
    }

    /// Hands over all of `chunk`.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub(crate) async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), WriteError> {
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
            Ok(written) => written,
            Err(Write::Blocked) => {
                state.writers.insert(self.id, cx.waker().clone());
                drop(state);
                shared.call();
                return Poll::Pending;
            }
            Err(Write::Stopped(code)) => return Poll::Ready(Err(WriteError::Stopped(code))),
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
    pub(crate) fn finish(&mut self) {
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
    pub(crate) fn reset(&mut self, code: VarInt) {
        let shared = self.connection.shared();
        let mut state = shared.lock();
        if state.quic.send_stream(self.id).reset(code).is_ok() {
            drop(state);
            shared.call();
        }
    }

    /// Which stream goes first: those with higher numbers.
    pub(crate) fn set_priority(&self, priority: i32) {
        let mut state = self.connection.shared().lock();
        // One that is closed has nothing to send.
        let _ = state.quic.send_stream(self.id).set_priority(priority);
    }

    /// Waits until the peer has all of it, `None`, or wants no more of it, and with which code.
    ///
    /// # Errors
    /// The connection is over before.
    pub(crate) async fn stopped(&self) -> Result<Option<VarInt>, ConnectionError> {
        poll_fn(|cx| {
            let mut state = self.connection.shared().lock();
            match state.quic.send_stream(self.id).stopped() {
                Err(_) => return Poll::Ready(Ok(None)),
                Ok(Some(code)) => return Poll::Ready(Ok(Some(code))),
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
