//! An upload, read like a file.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use tonic::{Status, Streaming};

use crate::{
    RequestError,
    proto::v1::{FileChunk, UploadFileRequest, upload_file_request::Part},
    status::ToStatus,
};

/// The chunks of an upload.
pub(super) struct Upload {
    requests: Streaming<UploadFileRequest>,
    rest: Bytes,
    /// Bytes that came.
    pub(super) size: u64,
    last: bool,
    /// Why it failed; the reader only sees that it did.
    pub(super) failure: Option<Status>,
}

impl Upload {
    pub(super) const fn new(requests: Streaming<UploadFileRequest>) -> Self {
        Self { requests, rest: Bytes::new(), size: 0, last: false, failure: None }
    }

    fn take(&mut self, request: UploadFileRequest) -> Result<(), RequestError> {
        let invalid = |field, what: String| Err(RequestError::Invalid { field, what });
        let Some(Part::Chunk(FileChunk { data, offset, last, checksum, .. })) = request.part else {
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
}

impl AsyncRead for Upload {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            let next = match ready!(Pin::new(&mut this.requests).poll_next(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(request)) => this.take(request).map_err(|error| error.to_status()),
                Some(Err(status)) => Err(status),
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
