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
    /// Where it was begun, and goes on: whoever drops this may know of no runtime.
    runtime: Option<Handle>,
}

impl<T: Send + 'static> Change<T> {
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { rest: Some(Box::pin(work)), runtime: None }
    }
}

impl<T: Send + 'static> Future for Change<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if self.runtime.is_none() {
            self.runtime = Handle::try_current().ok();
        }
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
        if let (Some(rest), Some(runtime)) = (self.rest.take(), &self.runtime) {
            drop(runtime.spawn(rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime::Builder, sync::oneshot};

    use super::*;

    /// `begin`: it is polled once. It is dropped on a thread that knows of no runtime.
    fn goes_on_when_dropped_elsewhere(begin: bool) -> bool {
        let runtime = Builder::new_current_thread().build().unwrap();
        let (open, opened) = oneshot::channel();
        let (done, ended) = oneshot::channel();
        let mut change = Change::new(async move {
            opened.await.unwrap();
            done.send(()).unwrap();
        });
        if begin {
            runtime.block_on(std::future::poll_fn(|context| {
                assert!(Pin::new(&mut change).poll(context).is_pending());
                Poll::Ready(())
            }));
        }
        std::thread::spawn(move || drop(change)).join().unwrap();
        let _ = open.send(());
        runtime.block_on(ended).is_ok()
    }

    #[test]
    fn what_was_begun_goes_on_whoever_drops_it() {
        assert!(goes_on_when_dropped_elsewhere(true));
        assert!(!goes_on_when_dropped_elsewhere(false));
    }
}
