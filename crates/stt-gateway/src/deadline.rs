//! Ends calls in time: at the caller's deadline, answers that stream included, and when the gateway
//! stops.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State as Extract},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use tonic::Status;

use crate::{
    RequestError,
    state::{Phase, Shared},
    status::ToStatus,
};

/// The header in which a caller says how long it waits.
const HEADER: &str = "grpc-timeout";
/// A longer one is as good as none, and timers have an end.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// How a call ends before it is done.
type End = Pin<Box<dyn Future<Output = Status> + Send>>;

/// The layer: everything below it is dropped when the time is over.
pub(crate) async fn keep(
    Extract(state): Extract<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let limit = match request.headers().get(HEADER).map(parse) {
        None => None,
        Some(Some(limit)) => Some(limit.min(LONGEST)),
        Some(None) => {
            let what = "is not a number of at most 8 digits and a unit".into();
            return RequestError::Invalid { field: HEADER, what }.to_status().into_http();
        }
    };
    let mut end: End = Box::pin(end(state, limit));
    tokio::select! {
        response = next.run(request) => response.map(|body| {
            Body::new(Ending { body: Some(body), end })
        }),
        status = &mut end => status.into_http(),
    }
}

async fn end(state: Shared, limit: Option<Duration>) -> Status {
    let deadline = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = deadline => {
            let millis = limit.map_or(0, |limit| limit.as_millis());
            RequestError::Deadline { millis: u64::try_from(millis).unwrap_or(u64::MAX) }.to_status()
        }
        () = state.reached(Phase::Ending) => RequestError::Stopping.to_status(),
    }
}

/// `100m` and the like.
fn parse(header: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = header.to_str().ok()?.split_at_checked(header.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// An answer that ends with a status of its own when its time is over.
struct Ending {
    /// Gone once it is over.
    body: Option<Body>,
    end: End,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(status) = this.end.as_mut().poll(context) {
            // With it goes the handler.
            this.body = None;
            let mut trailers = HeaderMap::new();
            // It fails for bytes that no header takes, and ours are none such.
            let _ = status.add_header(&mut trailers);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        let read = |text: &'static str| parse(&HeaderValue::from_static(text));
        assert_eq!(read("500m"), Some(Duration::from_millis(500)));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        for wrong in ["", "m", "500", "-1m", "+1m", "123456789m", "5x"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
