//! The two directions of a protocol's stream.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ProtocolError;
use crate::{
    Payload, Priority, RawStream, Stream, StreamError,
    session::code,
    stream::{PANICKED, into_result, label::Label, recv_queue::Taken},
};

/// The sending direction of a protocol's stream: messages, or raw bytes by `AsyncWrite`, or the ones
/// after the others, as the protocol says.
///
/// Dropped, it is finished: what is queued still goes out. While its holder panics it is reset with
/// code 0x100 instead, so that half an answer is not taken for a whole one.
#[derive(Debug)]
pub struct ProtocolSender {
    raw: RawStream,
    label: Label,
}

/// The receiving direction of a protocol's stream: messages, or raw bytes by `AsyncRead`.
///
/// Dropped, the peer is stopped: its sends fail with [`StreamError::Reset`], code 0x06.
#[derive(Debug)]
pub struct ProtocolReceiver {
    stream: Stream,
    label: Label,
}

impl ProtocolSender {
    pub(super) fn new(stream: Stream, label: Label) -> Self {
        Self { raw: stream.into_raw(), label }
    }

    pub(super) const fn stream(&self) -> &Stream {
        self.raw.stream()
    }

    pub(super) const fn label(&self) -> Label {
        self.label
    }

    fn explain(&self, error: StreamError) -> ProtocolError {
        ProtocolError::explain(self.label, error)
    }

    fn explain_io(&self, error: io::Error) -> io::Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>()) {
            Some(inner) => self.explain(inner.clone()).into(),
            None => error,
        }
    }

    /// Queues `message` for the peer's `receive`; waits while the queue is full.
    ///
    /// # Cancel safety
    /// A dropped future has queued all of the message or nothing.
    ///
    /// # Errors
    /// [`ProtocolError`]; as [`Stream::send`] in [`ProtocolError::Stream`].
    pub async fn send(&self, message: impl Payload) -> Result<(), ProtocolError> {
        self.stream().send(message).await.map_err(|error| self.explain(error))
    }

    /// Queues raw bytes without copying them; waits while the queue is full.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn write_chunk(&mut self, bytes: Bytes) -> Result<(), ProtocolError> {
        let label = self.label;
        let written = self.raw.write_chunk(bytes).await;
        written.map_err(|error| ProtocolError::explain(label, error))
    }

    /// Ends the direction and waits until the peer's machine has all of it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn close(&self) -> Result<(), ProtocolError> {
        self.stream().close().await.map_err(|error| self.explain(error))
    }

    /// Tells whether the direction broke, also while it is written to.
    pub(crate) fn failed(&self) -> impl Fn() -> bool + use<> {
        let stream = Arc::downgrade(&self.stream().shared);
        move || stream.upgrade().is_none_or(|stream| stream.outbound.has_failed())
    }

    /// Ends the direction without waiting.
    pub(crate) fn start_close(&self) {
        self.stream().start_close();
    }

    /// Gives the direction up: the peer's `receive` fails with [`StreamError::Reset`] and `code`.
    /// Codes of applications are 0x100 and above; those below have meanings of their own
    /// (docs/streams.md).
    pub fn reset(&self, code: u32) {
        self.stream().reset(code);
    }

    /// How urgent it is against the other streams of the session. Default: 500.
    pub fn set_priority(&self, priority: Priority) {
        self.stream().set_priority(priority);
    }
}

impl Drop for ProtocolSender {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stream().reset(PANICKED);
        } else {
            self.stream().start_close();
        }
    }
}

impl AsyncWrite for ProtocolSender {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.raw).poll_write(cx, buf));
        Poll::Ready(written.map_err(|error| self.explain_io(error)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.raw).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.explain_io(error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = ready!(Pin::new(&mut self.raw).poll_shutdown(cx));
        Poll::Ready(closed.map_err(|error| self.explain_io(error)))
    }
}

impl ProtocolReceiver {
    pub(super) const fn new(stream: Stream, label: Label) -> Self {
        Self { stream, label }
    }

    pub(super) const fn stream(&self) -> &Stream {
        &self.stream
    }

    fn explain(&self, error: StreamError) -> ProtocolError {
        ProtocolError::explain(self.label, error)
    }

    /// The next message, or `None` once the peer ended its direction and all was received.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    ///
    /// # Errors
    /// [`ProtocolError`]; as [`Stream::receive`] in [`ProtocolError::Stream`].
    pub async fn receive(&self) -> Result<Option<Bytes>, ProtocolError> {
        self.stream.receive().await.map_err(|error| self.explain(error))
    }

    /// The next raw bytes as they arrived, at most `max` (at least 1), without copying; `None` at
    /// the end.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    ///
    /// # Errors
    /// As [`receive`](Self::receive); [`StreamError::Kind`] in the middle of a message.
    pub async fn read_chunk(&self, max: usize) -> Result<Option<Bytes>, ProtocolError> {
        let take = || self.take_raw(max.max(1));
        let taken = match take() {
            Taken::Wait => self.stream.shared.inbound.wait_for(take).await,
            taken => taken,
        };
        into_result(taken).map_err(|error| self.explain(error))
    }

    fn take_raw(&self, max: usize) -> Taken<Bytes> {
        let (taken, due) = self.stream.shared.inbound.take_raw(max);
        if due {
            self.stream.session.raise_credit(&self.stream.shared);
        }
        taken
    }

    /// Takes no more of it: the peer's sends fail with [`StreamError::Reset`] and `code`, which is
    /// 0x100 or above, as those below have meanings of their own (docs/streams.md).
    pub fn stop(self, code: u32) {
        self.end(code);
    }

    fn end(&self, code: u32) {
        let shared = &self.stream.shared;
        // One that came to its end has nothing to stop.
        if let Some(part) = &shared.labelled {
            part.stop(code);
        }
        shared.inbound.discard();
    }
}

impl Drop for ProtocolReceiver {
    fn drop(&mut self) {
        // The first code stays.
        self.end(code::DROPPED);
    }
}

impl AsyncRead for ProtocolReceiver {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let shared = &self.stream.shared;
        let (taken, due) = ready!(shared.inbound.poll_raw(cx, buf.remaining()));
        if due {
            self.stream.session.raise_credit(shared);
        }
        match taken {
            Taken::Got(bytes) => buf.put_slice(&bytes),
            Taken::Failed(error) => return Poll::Ready(Err(self.explain(error).into())),
            Taken::Finished | Taken::Wait => {}
        }
        Poll::Ready(Ok(()))
    }
}
