//! Bytes that a caller sends in chunks, read like a file.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use tonic::{Status, Streaming};

use crate::{RequestError, proto::v1::FileChunk, status::ToStatus};

/// The chunks of an upload.
pub(crate) struct Upload<R> {
    requests: Streaming<R>,
    chunk: fn(R) -> Option<FileChunk>,
    rest: Bytes,
    /// Bytes that came.
    pub(crate) size: u64,
    last: bool,
    /// Whether it is cut when the last chunk is not marked.
    needs_last: bool,
    /// Why it failed; the reader only sees that it did.
    pub(crate) failure: Option<Status>,
}

impl<R> Upload<R> {
    /// `chunk` takes the chunk out of a request, if it holds one.
    pub(crate) fn new(
        requests: Streaming<R>,
        needs_last: bool,
        chunk: fn(R) -> Option<FileChunk>,
    ) -> Self {
        let (rest, failure) = (Bytes::new(), None);
        Self { requests, chunk, rest, size: 0, last: false, needs_last, failure }
    }

    fn take(&mut self, request: R) -> Result<(), RequestError> {
        let invalid = |field, what: String| Err(RequestError::Invalid { field, what });
        let Some(FileChunk { data, offset, last, checksum, .. }) = (self.chunk)(request) else {
            return invalid("part", "messages after the first are chunks".into());
        };
        if self.last {
            return invalid("last", "a chunk follows the last one".into());
        }
        if offset.is_some_and(|offset| offset != self.size) {
            return invalid("offset", format!("the next chunk begins at {}", self.size));
        }
        if checksum.is_some_and(|checksum| checksum != crc32fast::hash(&data)) {
            return Err(RequestError::Checksum { what: format!("the chunk at {}", self.size) });
        }
        self.size = self.size.saturating_add(data.len() as u64);
        (self.rest, self.last) = (data, last);
        Ok(())
    }

    fn end(&self) -> Result<(), RequestError> {
        if self.last || !self.needs_last {
            return Ok(());
        }
        let what = format!("the upload ended after {} bytes without its last chunk", self.size);
        Err(RequestError::Invalid { field: "last", what })
    }
}

impl<R> AsyncRead for Upload<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            let next = match ready!(Pin::new(&mut this.requests).poll_next(context)) {
                Some(Ok(request)) => this.take(request).map_err(|error| error.to_status()),
                Some(Err(status)) => Err(status),
                None => match this.end() {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(error) => Err(error.to_status()),
                },
            };
            if let Err(status) = next {
                this.failure = Some(status);
                return Poll::Ready(Err(io::Error::other("the upload failed")));
            }
        }
        let now = this.rest.len().min(out.remaining());
        out.put_slice(this.rest.split_at(now).0);
        this.rest.advance(now);
        Poll::Ready(Ok(()))
    }
}
