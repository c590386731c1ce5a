//! Bytes of the store, sent in chunks.

use std::ops::Range;

use futures_util::{Stream, stream};
use stt_store::ContentReader;
use tonic::Status;

use crate::{proto::v1::FileChunk, status::ToStatus};

/// Bytes of a chunk; the smallest limit for messages is as much again.
pub(crate) const CHUNK: u64 = 32 << 10;

/// A download under way.
struct Download<F> {
    reader: ContentReader,
    key: String,
    at: u64,
    end: u64,
    over: bool,
    done: Option<F>,
}

/// The bytes in `range`, of which `key` is told, in chunks. `done` is called once the last one was
/// taken.
pub(crate) fn chunks<F: FnOnce() + Send + 'static>(
    reader: ContentReader,
    key: String,
    range: Range<u64>,
    done: F,
) -> impl Stream<Item = Result<FileChunk, Status>> + Send {
    let (at, end) = (range.start, range.end);
    let download = Download { reader, key, at, end, over: false, done: Some(done) };
    stream::unfold(download, Download::next)
}

impl<F: FnOnce()> Download<F> {
    async fn next(mut self) -> Option<(Result<FileChunk, Status>, Self)> {
        if self.over {
            if let Some(done) = self.done.take() {
                done();
            }
            return None;
        }
        let until = self.at.saturating_add(CHUNK).min(self.end);
        let chunk = match self.reader.read_range(self.at..until).await {
            Ok(data) => {
                self.over = until == self.end;
                Ok(FileChunk {
                    key: self.key.clone(),
                    checksum: Some(crc32fast::hash(&data)),
                    data,
                    offset: Some(self.at),
                    last: self.over,
                })
            }
            Err(error) => {
                (self.over, self.done) = (true, None);
                Err(error.to_status())
            }
        };
        self.at = until;
        Some((chunk, self))
    }
}
