//! A task whose next step somebody else may take.
//!
//! Between an application and QUIC stand two tasks of each stream, and to wake a task costs more
//! than what it then does with a short message. So who waits for a stream, or has just queued the
//! only thing in it, does that work itself; the task does it whenever nobody is there.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often somebody looks after volunteers that were woken and do not come.
const ROUND: Duration = Duration::from_millis(50);

/// Nobody was woken who has not come.
const CAME: u8 = 0;
/// The volunteer was woken and has not come yet.
const CALLED: u8 = 1;
/// Nor had it come when somebody looked.
const MISSED: u8 = 2;

/// Looks after the work of a session that was left to volunteers.
///
/// A future that waits may be woken and not polled for long, for instance while another branch of a
/// `select!` is busy. What it volunteered for is then done by the task after one round or two:
/// bytes that nobody reads would pile up in the engine.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    armed: AtomicBool,
    alarm: Notify,
}

impl Watch {
    fn arm(&self) {
        if !self.armed.load(Ordering::SeqCst) && !self.armed.swap(true, Ordering::SeqCst) {
            self.alarm.notify_one();
        }
    }

    /// Waits until a round is over in which a volunteer was called.
    pub(crate) async fn round(&self) {
        if !self.armed.load(Ordering::SeqCst) {
            self.alarm.notified().await;
        }
        tokio::time::sleep(ROUND).await;
    }

    /// Ends a round: does what volunteers missed and forgets the work that is over.
    pub(crate) fn look(&self, all: &mut Vec<Weak<Stepped>>) {
        self.armed.store(false, Ordering::SeqCst);
        all.retain(|work| match work.upgrade() {
            Some(work) => {
                work.look();
                true
            }
            None => false,
        });
    }
}

/// Who is to be woken when the work can go on.
#[derive(Debug, Default)]
struct Relay {
    task: Mutex<Option<Waker>>,
    /// Somebody who waits, and will take the step instead of the task.
    volunteer: Mutex<Option<Waker>>,
    called: AtomicU8,
    watch: Arc<Watch>,
}

impl Relay {
    fn wake_task(&self) {
        let task = lock(&self.task).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let volunteer = {
            let mut volunteer = lock(&self.volunteer);
            let waker = volunteer.take();
            if waker.is_some() {
                self.called.store(CALLED, Ordering::SeqCst);
                self.watch.arm();
            }
            waker
        };
        match volunteer {
            Some(volunteer) => volunteer.wake(),
            None => self.wake_task(),
        }
    }
}

/// The work of a task, for the task and for volunteers.
pub(crate) struct Stepped {
    /// `None` once it is done.
    work: Mutex<Option<Work>>,
    relay: Arc<Relay>,
    waker: Waker,
}

impl Stepped {
    /// Work that may know itself. `watch` looks after its volunteers.
    pub(crate) fn new<F>(watch: &Arc<Watch>, work: impl FnOnce(Weak<Self>) -> F) -> Arc<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let relay = Arc::new(Relay { watch: Arc::clone(watch), ..Relay::default() });
        Arc::new_cyclic(|own| Self {
            work: Mutex::new(Some(Box::pin(work(Weak::clone(own))))),
            waker: Waker::from(Arc::clone(&relay)),
            relay,
        })
    }

    /// Does the work to its end, as a task.
    pub(crate) async fn run(self: Arc<Self>) {
        poll_fn(|cx| {
            {
                let mut task = lock(&self.relay.task);
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
        self.relay.called.store(CAME, Ordering::SeqCst);
        // Outside of the runtime there are no timers, which the work may need.
        if lock(&self.relay.task).is_none() || Handle::try_current().is_err() {
            return false;
        }
        let work = match self.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::WouldBlock) => {
                // Whoever has it may be past what the caller wants done.
                self.relay.wake_task();
                return true;
            }
            Err(TryLockError::Poisoned(_)) => return false,
        };
        if self.poll(work).is_ready() {
            // The task has to notice.
            self.relay.wake_task();
        }
        true
    }

    /// From now on `waker` is woken instead of the task, once, and takes the step.
    pub(crate) fn volunteer(&self, waker: &Waker) {
        *lock(&self.relay.volunteer) = Some(waker.clone());
    }

    /// Nobody waits any more: the task does what the volunteer was called for.
    pub(crate) fn resign(&self) {
        lock(&self.relay.volunteer).take();
        if self.relay.called.swap(CAME, Ordering::SeqCst) != CAME {
            self.relay.wake_task();
        }
    }

    /// Lets the task do what a volunteer missed for a whole round.
    fn look(&self) {
        let called = &self.relay.called;
        let change = |from, to| {
            called.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        if change(MISSED, CAME) {
            self.relay.wake_task();
        } else if change(CALLED, MISSED) {
            self.relay.watch.arm();
        }
    }
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").field("relay", &self.relay).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;

    /// Work that counts how often it was called.
    fn counting() -> (Arc<Stepped>, Arc<Notify>, Arc<AtomicUsize>) {
        let (call, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (calls, counts) = (Arc::clone(&call), Arc::clone(&count));
        let stepped = Stepped::new(&Arc::default(), |_| async move {
            loop {
                calls.notified().await;
                counts.fetch_add(1, Ordering::SeqCst);
            }
        });
        (stepped, call, count)
    }

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn the_task_works_while_nobody_volunteers() {
        let (stepped, call, count) = counting();
        tokio::spawn(Arc::clone(&stepped).run());
        tokio::task::yield_now().await;
        call.notify_one();
        tokio::task::yield_now().await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_volunteer_is_called_instead_of_the_task() {
        let (stepped, call, count) = counting();
        assert!(!stepped.step(), "the task has not begun");
        tokio::spawn(Arc::clone(&stepped).run());
        tokio::task::yield_now().await;
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        stepped.volunteer(&Waker::from(Arc::clone(&flag)));
        call.notify_one();
        tokio::task::yield_now().await;
        assert!(flag.0.load(Ordering::SeqCst));
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert!(stepped.step());
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_volunteer_that_never_comes_leaves_the_step_to_the_task() {
        let (stepped, call, count) = counting();
        tokio::spawn(Arc::clone(&stepped).run());
        tokio::task::yield_now().await;
        stepped.volunteer(Waker::noop());
        call.notify_one();
        stepped.resign();
        tokio::task::yield_now().await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_volunteer_that_is_called_and_not_polled_leaves_the_step_to_the_task_soon() {
        let (watch, call, count) =
            (Arc::<Watch>::default(), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (calls, counts) = (Arc::clone(&call), Arc::clone(&count));
        let stepped = Stepped::new(&watch, |_| async move {
            calls.notified().await;
            counts.fetch_add(1, Ordering::SeqCst);
        });
        let task = tokio::spawn(Arc::clone(&stepped).run());
        tokio::task::yield_now().await;
        stepped.volunteer(Waker::noop());
        let mut all = vec![Arc::downgrade(&stepped)];
        let called = tokio::time::Instant::now();
        call.notify_one();
        while count.load(Ordering::SeqCst) == 0 {
            watch.round().await;
            watch.look(&mut all);
            tokio::task::yield_now().await;
        }
        assert!(called.elapsed() <= ROUND * 2 + Duration::from_millis(2));
        task.await.unwrap();
        drop(stepped);
        watch.look(&mut all);
        assert!(all.is_empty());
    }

    #[test]
    fn outside_of_the_runtime_the_task_works() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let stepped = Stepped::new(&Arc::default(), |_| async {
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
        let stepped = Stepped::new(&Arc::default(), |_| tokio::task::yield_now());
        let task = tokio::spawn(Arc::clone(&stepped).run());
        tokio::task::yield_now().await;
        while stepped.step() && !task.is_finished() {
            tokio::task::yield_now().await;
        }
        task.await.unwrap();
    }
}
