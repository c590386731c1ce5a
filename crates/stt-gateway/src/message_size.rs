//! One limit for the length of messages, with details for who exceeds it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State as Extract},
    middleware::Next,
    response::Response,
};
use http_body::Frame;
use tonic::Status;

use crate::{RequestError, state::Shared, status::ToStatus};

/// The layer: a message that says it is longer than the limit fails the call before it is read.
pub(crate) async fn limit(
    Extract(state): Extract<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let limit = state.max_message as u64;
    let request = request.map(|body| Body::new(Limited { body, heads: Heads::new(limit) }));
    next.run(request).await
}

struct Limited {
    body: Body,
    heads: Heads,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let read = frame.data_ref().map_or(Ok(()), |data| this.heads.read(data));
                Poll::Ready(Some(read.map(|()| frame).map_err(|error| error.to_status())))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(Status::from_error(error.into_inner()))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }
}

/// Finds the heads of messages, one byte of flags and four of length, wherever they are cut.
struct Heads {
    limit: u64,
    head: [u8; 5],
    /// Bytes of the head that were read.
    have: usize,
    /// Bytes of the message that follow.
    rest: usize,
}

impl Heads {
    const fn new(limit: u64) -> Self {
        Self { limit, head: [0; 5], have: 0, rest: 0 }
    }

    fn read(&mut self, mut data: &[u8]) -> Result<(), RequestError> {
        while !data.is_empty() {
            if self.rest > 0 {
                let skipped = self.rest.min(data.len());
                self.rest -= skipped;
                data = data.split_at(skipped).1;
                continue;
            }
            let taken = (self.head.len() - self.have).min(data.len());
            let (now, later) = data.split_at(taken);
            for (to, from) in self.head.iter_mut().skip(self.have).zip(now) {
                *to = *from;
            }
            (self.have, data) = (self.have + taken, later);
            if self.have == self.head.len() {
                let [_, a, b, c, d] = self.head;
                let size = u32::from_be_bytes([a, b, c, d]);
                if u64::from(size) > self.limit {
                    return Err(RequestError::TooLarge { size: size.into(), limit: self.limit });
                }
                self.rest = usize::try_from(size).unwrap_or(usize::MAX);
                self.have = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        for size in [3_u32, 0, 10] {
            bytes.push(0);
            bytes.extend(size.to_be_bytes());
            bytes.extend(vec![255; size as usize]);
        }
        for cut in 1..bytes.len() {
            let mut heads = Heads::new(10);
            assert!(bytes.chunks(cut).all(|piece| heads.read(piece).is_ok()), "{cut}");
            let mut heads = Heads::new(9);
            let refused = bytes.chunks(cut).find_map(|piece| heads.read(piece).err());
            assert_eq!(refused, Some(RequestError::TooLarge { size: 10, limit: 9 }), "{cut}");
        }
    }
}
