//! What carries bytes to endpoints.

use std::pin::Pin;

use bytes::Bytes;

use stc::{Cause, Coded};

use super::{EndpointAddress, EndpointId};

/// What is to be sent, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// To whom.
    pub id: EndpointId,
    /// Where that is, as it was said when the endpoint was added.
    pub address: EndpointAddress,
    /// What, shared and not copied.
    pub data: Bytes,
}

/// Why bytes were not taken. Every error with a code becomes one by itself and says whether a retry
/// helps; of others the carrier has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendFailure {
    /// Whether the same call may succeed later.
    pub retry_helps: bool,
    /// What happened; the `source()` of [`EndpointError::Send`](super::EndpointError::Send).
    pub cause: Cause,
}

impl SendFailure {
    /// What an error says that has no code.
    #[must_use]
    pub fn new(error: impl Into<Cause>, retry_helps: bool) -> Self {
        Self { retry_helps, cause: error.into() }
    }
}

impl<E: Coded + Send + Sync + 'static> From<E> for SendFailure {
    fn from(error: E) -> Self {
        let retry_helps = error.retry_helps();
        Self::new(error, retry_helps)
    }
}

/// What [`EndpointSender::send`] returns.
pub type SendFuture = Pin<Box<dyn Future<Output = Result<(), SendFailure>> + Send>>;

/// Something that carries bytes to endpoints. Every `Fn(Outgoing) -> impl Future` is one.
pub trait EndpointSender: Send + Sync + 'static {
    /// Sends, and is ready when the bytes were taken.
    fn send(&self, outgoing: Outgoing) -> SendFuture;
}

impl<F, Fut> EndpointSender for F
where
    F: Fn(Outgoing) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), SendFailure>> + Send + 'static,
{
    fn send(&self, outgoing: Outgoing) -> SendFuture {
        Box::pin(self(outgoing))
    }
}
