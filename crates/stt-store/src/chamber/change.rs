//! Changes that are not left half made when the caller stops waiting.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

use crate::BoxFuture;

/// A change with all that guards it. Once begun it goes on to its end, also when this is dropped:
/// a backend may make a change for which nobody waits any more, and if its guards were gone by
/// then, somebody else would build on what is just being changed.
pub(super) struct Change<T: Send + 'static> {
    rest: Option<BoxFuture<'static, T>>,
    begun: bool,
}

impl<T: Send + 'static> Change<T> {
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { rest: Some(Box::pin(work)), begun: false }
    }
}

impl<T: Send + 'static> Future for Change<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.begun = true;
        let Some(rest) = &mut self.rest else { return Poll::Pending };
        let polled = rest.as_mut().poll(context);
        if polled.is_ready() {
            self.rest = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Change<T> {
    fn drop(&mut self) {
        // Without a runtime, no backend goes on either.
        if let Some(rest) = self.rest.take()
            && self.begun
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn(rest));
        }
    }
}
