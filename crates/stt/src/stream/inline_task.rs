//! A task whose next step somebody else may take.
//!
//! Between an application that sends and QUIC stands a task for each stream, and to wake it costs more
//! than what it then does with a short message. So who has just queued the only thing in it does
//! that work itself; the task does it whenever nobody is there.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    task::{Context, Poll, Wake, Waker},
};

use tokio::runtime::Handle;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the task, whoever took the last step.
#[derive(Debug, Default)]
struct Relay(Mutex<Option<Waker>>);

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = lock(&self.0).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// The work of a task, for the task and for those who are there.
pub(crate) struct InlineTask {
    /// `None` once it is done.
    work: Mutex<Option<Work>>,
    relay: Arc<Relay>,
    waker: Waker,
}

impl InlineTask {
    pub(crate) fn new(work: impl Future<Output = ()> + Send + 'static) -> Arc<Self> {
        let relay = Arc::<Relay>::default();
        Arc::new(Self {
            work: Mutex::new(Some(Box::pin(work))),
            waker: Waker::from(Arc::clone(&relay)),
            relay,
        })
    }

    /// Does the work to its end, as a task.
    pub(crate) async fn run(self: Arc<Self>) {
        poll_fn(|cx| {
            {
                let mut task = lock(&self.relay.0);
                if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                    *task = Some(cx.waker().clone());
                }
            }
            // Others hold it for one step, which waits for nothing.
            self.poll(lock(&self.work))
        })
        .await;
    }

    fn poll(&self, mut work: MutexGuard<'_, Option<Work>>) -> Poll<()> {
        // Taken out meanwhile: should it panic, nobody polls it again.
        let Some(mut running) = work.take() else { return Poll::Ready(()) };
        let outcome = running.as_mut().poll(&mut Context::from_waker(&self.waker));
        if outcome.is_pending() {
            *work = Some(running);
        }
        outcome
    }

    /// Takes a step, unless somebody is taking one or the task has not begun. Whether it did.
    pub(crate) fn step(&self) -> bool {
        // Outside of the runtime there are no timers, which the work may need.
        if lock(&self.relay.0).is_none() || Handle::try_current().is_err() {
            return false;
        }
        let work = match self.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::WouldBlock) => {
                // Whoever has it may be past what the caller wants done.
                self.relay.wake_by_ref();
                return true;
            }
            Err(TryLockError::Poisoned(_)) => return false,
        };
        if self.poll(work).is_ready() {
            // The task has to notice.
            self.relay.wake_by_ref();
        }
        true
    }
}

impl std::fmt::Debug for InlineTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").field("relay", &self.relay).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::sync::Notify;

    use super::*;

    /// Work that counts how often it was called.
    fn counting() -> (Arc<InlineTask>, Arc<Notify>, Arc<AtomicUsize>) {
        let (call, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (calls, counts) = (Arc::clone(&call), Arc::clone(&count));
        let stepped = InlineTask::new(async move {
            loop {
                calls.notified().await;
                counts.fetch_add(1, Ordering::SeqCst);
            }
        });
        (stepped, call, count)
    }

    #[tokio::test]
    async fn the_task_works_while_nobody_is_there() {
        let (stepped, call, count) = counting();
        tokio::spawn(Arc::clone(&stepped).run());
        tokio::task::yield_now().await;
        call.notify_one();
        tokio::task::yield_now().await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_step_is_taken_by_who_is_there_and_the_task_takes_the_next() {
        let (stepped, call, count) = counting();
        assert!(!stepped.step(), "the task has not begun");
        tokio::spawn(Arc::clone(&stepped).run());
        tokio::task::yield_now().await;
        call.notify_one();
        assert!(stepped.step());
        assert_eq!(count.load(Ordering::SeqCst), 1);
        call.notify_one();
        tokio::task::yield_now().await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn outside_of_the_runtime_the_task_works() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let stepped = InlineTask::new(async {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        let task = runtime.spawn(Arc::clone(&stepped).run());
        runtime.block_on(tokio::task::yield_now());
        assert!(!stepped.step());
        runtime.block_on(task).unwrap();
    }

    #[tokio::test]
    async fn work_that_a_volunteer_finished_ends_the_task() {
        let stepped = InlineTask::new(tokio::task::yield_now());
        let task = tokio::spawn(Arc::clone(&stepped).run());
        tokio::task::yield_now().await;
        while stepped.step() && !task.is_finished() {
            tokio::task::yield_now().await;
        }
        task.await.unwrap();
    }
}
