//! A stream of the engine: a stream of our protocol.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{AsyncRead, AsyncWrite, task::AtomicWaker};
use stt::ProtocolStream;
use tokio::{io::AsyncReadExt, sync::Notify};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// How long the end of a stream that nobody reads any more is waited for, and how much of it.
const DRAIN_FOR: Duration = Duration::from_secs(5);
const DRAIN_MAX: u64 = 64 << 10;

/// Messages that go out before places are looked at again: fewer would mean to ask in vain.
const PLACES: usize = 16;

/// Wakes the driver when messages were sent, so that messages that wait for a place are tried again:
/// the engine reports full queues only.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// So many messages have to go out first. 0 if nobody waits.
    missing: AtomicUsize,
    given: Notify,
}

impl Places {
    /// Somebody waits from now on.
    pub(crate) fn want(&self) {
        self.missing.store(PLACES, Ordering::Release);
    }

    /// Ends when some places may be free.
    pub(crate) async fn given(&self) {
        self.given.notified().await;
    }

    fn flushed(&self) {
        if self.missing.load(Ordering::Acquire) == 0 {
            return;
        }
        let one_less = |missing: usize| missing.checked_sub(1);
        if self.missing.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less) == Ok(1) {
            self.given.notify_one();
        }
    }
}

/// How many streams this side has open in one link, and who waits for fewer.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams {
    count: AtomicUsize,
    pub(crate) waker: AtomicWaker,
}

impl OpenStreams {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

/// One of them.
#[derive(Debug)]
struct Place(Arc<OpenStreams>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.waker.wake();
    }
}

/// A stream of the engine.
#[derive(Debug)]
pub(crate) struct Substream {
    /// `None` only while it is dropped.
    stream: Option<Compat<ProtocolStream>>,
    place: Option<Place>,
    places: Arc<Places>,
    finished: bool,
    read_to_end: bool,
}

impl Substream {
    /// One that the peer opened.
    pub(crate) fn accepted(stream: ProtocolStream, places: Arc<Places>) -> Self {
        let stream = Some(stream.compat());
        Self { stream, place: None, places, finished: false, read_to_end: false }
    }

    /// One that this side opened.
    pub(crate) fn opened(
        stream: ProtocolStream,
        places: Arc<Places>,
        open: &Arc<OpenStreams>,
    ) -> Self {
        open.count.fetch_add(1, Ordering::AcqRel);
        let mut substream = Self::accepted(stream, places);
        substream.place = Some(Place(Arc::clone(open)));
        substream
    }

    fn inner(&mut self) -> io::Result<Pin<&mut Compat<ProtocolStream>>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// The engine drops a stream after its last write when it expects no answer, and with lazy
/// negotiation the peer has not agreed to the protocol by then. A receiving direction that is
/// stopped would make its agreement fail, and the request be lost: what still comes is read and
/// forgotten.
impl Drop for Substream {
    fn drop(&mut self) {
        let (Some(stream), Some(place)) = (self.stream.take(), self.place.take()) else { return };
        if !self.finished || self.read_to_end {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let mut rest = stream.into_inner().take(DRAIN_MAX);
                let mut sink = tokio::io::sink();
                let drained = tokio::io::copy(&mut rest, &mut sink);
                let _ = tokio::time::timeout(DRAIN_FOR, drained).await;
                drop(place);
            });
        }
    }
}

impl AsyncRead for Substream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let wanted = !buf.is_empty();
        let read = self.inner()?.poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(0)) if wanted => self.read_to_end = true,
            Poll::Ready(Err(_)) => self.read_to_end = true,
            _ => {}
        }
        read
    }
}

impl AsyncWrite for Substream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.inner()?.poll_flush(cx);
        if let Poll::Ready(Ok(())) = &flushed {
            self.places.flushed();
        }
        flushed
    }

    /// Finishes the sending direction without waiting for the peer to have all of it, which the
    /// session sees to.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finished = true;
        match self.inner()?.poll_close(cx) {
            Poll::Ready(closed) => Poll::Ready(closed),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}
