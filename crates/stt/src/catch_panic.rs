//! Calls of the application's code whose panic must not spread.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
};

/// Makes and runs a future with its panic caught: also that of making it, and of dropping it.
pub(crate) async fn catching<T>(
    make: impl FnOnce() -> Pin<Box<dyn Future<Output = T> + Send>>,
) -> Result<T, Box<dyn Any + Send>> {
    // State that a panic left half changed is the application's own; nothing of ours is inside.
    let mut future = Some(catch_unwind(AssertUnwindSafe(make))?);
    poll_fn(|context| {
        let step = catch_unwind(AssertUnwindSafe(|| {
            let Some(running) = future.as_mut() else { return Poll::Pending };
            let step = running.as_mut().poll(context);
            if step.is_ready() {
                future = None;
            }
            step
        }));
        match step {
            Ok(step) => step.map(Ok),
            Err(panic) => {
                let rest = future.take();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(rest)));
                Poll::Ready(Err(panic))
            }
        }
    })
    .await
}
