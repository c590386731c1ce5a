//! A stream as raw bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Stream, StreamError, recv_queue::Taken, send_queue::Pushed};

/// Most bytes that one write takes, so that a huge one still shares the queue.
const WRITE_LIMIT: usize = 256 << 10;

/// A stream of bytes without boundaries, for bulk.
///
/// `shutdown` closes this side's direction and returns once the peer's machine has all of it.
/// Dropped without it, it ends as every [`Stream`] does.
#[derive(Debug)]
pub struct RawStream {
    stream: Stream,
    /// Took from the stream, not yet read.
    left: Bytes,
}

impl RawStream {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, left: Bytes::new() }
    }

    /// The number that both sides use for it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.stream.id()
    }

    /// The stream itself, for statistics and priority.
    #[must_use]
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The next bytes as they arrived, at most `max`, without copying; `None` at the end.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    ///
    /// # Errors
    /// As [`Stream::receive`].
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, StreamError> {
        if !self.left.is_empty() {
            let len = self.left.len().min(max);
            return Ok(Some(self.left.split_to(len)));
        }
        // Only the stream is borrowed while this waits: `self` could not move between threads.
        let stream = &self.stream;
        let take = || take(stream, max);
        match take() {
            Taken::Wait => {}
            taken => return super::handle::into_result(taken),
        }
        super::handle::into_result(stream.shared.inbound.wait_for(take).await)
    }

    /// Queues `bytes` without copying them; waits while the queue is full.
    ///
    /// # Errors
    /// As [`Stream::send`].
    pub async fn write_chunk(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let outbound = &self.stream.shared.outbound;
        let attempt = || outbound.push_raw(&bytes);
        let pushed = attempt()?;
        self.stream.session.ensure_writer(&self.stream.shared);
        match pushed {
            Pushed::Queued | Pushed::Answer => Ok(()),
            Pushed::Full => outbound.wait_for_space(attempt).await,
        }
    }

    /// Closes this side's direction, as [`Stream::close`].
    ///
    /// # Errors
    /// As [`Stream::close`].
    pub async fn close(&mut self) -> Result<(), StreamError> {
        self.stream.close().await
    }
}

/// One attempt to take bytes, raising the peer's credit when it is time.
fn take(stream: &Stream, max: usize) -> Taken<Bytes> {
    let (taken, due) = stream.shared.inbound.take_raw(max);
    if due {
        stream.session.raise_credit(&stream.shared);
    }
    taken
}

impl AsyncRead for RawStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left.is_empty() {
            let (taken, due) = ready!(self.stream.shared.inbound.poll_raw(cx, usize::MAX));
            if due {
                self.stream.session.raise_credit(&self.stream.shared);
            }
            match taken {
                Taken::Got(bytes) => self.left = bytes,
                Taken::Failed(error) => return Poll::Ready(Err(error.into())),
                Taken::Finished | Taken::Wait => return Poll::Ready(Ok(())),
            }
        }
        let len = self.left.len().min(buf.remaining());
        buf.put_slice(&self.left.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RawStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outbound = &self.stream.shared.outbound;
        loop {
            ready!(outbound.poll_space(cx));
            let len = buf.len().min(WRITE_LIMIT);
            let bytes = Bytes::copy_from_slice(buf.get(..len).unwrap_or_default());
            // A clone of this stream may have filled the queue in between.
            if outbound.push_raw(&bytes)? == Pushed::Queued {
                self.stream.session.ensure_writer(&self.stream.shared);
                return Poll::Ready(Ok(len));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.shared.outbound.poll_flushed(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.start_close();
        ready!(self.stream.shared.outbound.poll_closed(cx))?;
        Poll::Ready(Ok(()))
    }
}
