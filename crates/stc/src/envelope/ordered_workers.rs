//! Workers that take turns: read, compute, write.
//!
//! Each worker owns one buffer. It fills the buffer from the source while it holds the source's
//! lock, computes without any lock, and hands the result to the sink when every earlier piece has
//! been there. So the order is kept, all cores compute, reading and writing overlap with computing,
//! and memory is one buffer per worker whatever the length.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use zeroize::Zeroizing;

/// What a worker carries from the source to the sink.
pub(crate) type Buffer = Zeroizing<Vec<u8>>;

/// Gives the pieces in order.
pub(crate) trait Source<J, E>: Send {
    /// Fills `buffer` with the next piece; `None` at the end.
    fn next(&mut self, buffer: &mut Buffer) -> Result<Option<J>, E>;
}

/// Takes the results in the order of the pieces.
pub(crate) trait Sink<O, E>: Send {
    fn put(&mut self, buffer: &[u8], outcome: O) -> Result<(), E>;
}

struct Input<S> {
    source: S,
    taken: u64,
    finished: bool,
}

struct Outlet<K, E> {
    sink: K,
    put: u64,
    failure: Option<E>,
}

struct Turns<S, K, E> {
    input: Mutex<Input<S>>,
    outlet: Mutex<Outlet<K, E>>,
    turn: Condvar,
    stopped: AtomicBool,
}

/// Stops the others when a worker panics, who would wait for its turn for ever otherwise.
struct Alarm<'a, S, K, E>(&'a Turns<S, K, E>);

impl<S, K, E> Drop for Alarm<'_, S, K, E> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stopped.store(true, Ordering::Relaxed);
            self.0.turn.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S, K, E> Turns<S, K, E> {
    fn worker<J, O>(&self, work: &(impl Fn(&mut Buffer, J) -> Result<O, E> + Sync))
    where
        S: Source<J, E>,
        K: Sink<O, E>,
    {
        let _alarm = Alarm(self);
        let mut buffer = Buffer::default();
        while let Some((index, job)) = self.take(&mut buffer) {
            let outcome = job.and_then(|job| work(&mut buffer, job));
            let mut outlet = lock(&self.outlet);
            while outlet.put != index && !self.stopped.load(Ordering::Relaxed) {
                outlet = self.turn.wait(outlet).unwrap_or_else(PoisonError::into_inner);
            }
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            match outcome.and_then(|outcome| outlet.sink.put(&buffer, outcome)) {
                Ok(()) => outlet.put += 1,
                Err(error) => {
                    outlet.failure = Some(error);
                    self.stopped.store(true, Ordering::Relaxed);
                }
            }
            drop(outlet);
            self.turn.notify_all();
        }
    }

    fn take<J>(&self, buffer: &mut Buffer) -> Option<(u64, Result<J, E>)>
    where
        S: Source<J, E>,
    {
        let mut input = lock(&self.input);
        if input.finished || self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let job = input.source.next(buffer).transpose();
        let Some(job) = job else {
            input.finished = true;
            return None;
        };
        input.finished = job.is_err();
        let index = input.taken;
        input.taken += 1;
        Some((index, job))
    }
}

/// Carries every piece of `source` through `work` into `sink`, and gives both back.
///
/// With one worker nothing is spawned. The error is the one of the earliest piece that failed, and
/// the sink has then seen exactly the pieces before it.
pub(crate) fn run<J, O, E, S, K>(
    workers: usize,
    source: S,
    work: impl Fn(&mut Buffer, J) -> Result<O, E> + Sync,
    sink: K,
) -> Result<(S, K), E>
where
    E: Send,
    S: Source<J, E>,
    K: Sink<O, E>,
{
    let turns = Turns {
        input: Mutex::new(Input { source, taken: 0, finished: false }),
        outlet: Mutex::new(Outlet { sink, put: 0, failure: None }),
        turn: Condvar::new(),
        stopped: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| turns.worker(&work));
        }
        turns.worker(&work);
    });
    let input = turns.input.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outlet = turns.outlet.into_inner().unwrap_or_else(PoisonError::into_inner);
    match outlet.failure {
        Some(error) => Err(error),
        None => Ok((input.source, outlet.sink)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count {
        next: u64,
        end: u64,
        fails_at: Option<u64>,
    }

    impl Source<u64, u64> for Count {
        fn next(&mut self, buffer: &mut Buffer) -> Result<Option<u64>, u64> {
            if self.next == self.end {
                return Ok(None);
            }
            let at = self.next;
            self.next += 1;
            if self.fails_at == Some(at) {
                return Err(at);
            }
            buffer.clear();
            buffer.extend(at.to_be_bytes());
            Ok(Some(at))
        }
    }

    impl Sink<u64, u64> for Vec<u64> {
        fn put(&mut self, buffer: &[u8], outcome: u64) -> Result<(), u64> {
            assert_eq!(buffer, outcome.to_be_bytes());
            self.push(outcome);
            Ok(())
        }
    }

    #[test]
    fn order_is_kept_by_any_number_of_workers() {
        for workers in [1, 2, 7] {
            let source = Count { next: 0, end: 500, fails_at: None };
            let (source, sink) = run(workers, source, |_, at| Ok(at), Vec::new()).unwrap();
            assert_eq!(sink, (0..500).collect::<Vec<_>>());
            assert_eq!(source.next, 500);
        }
    }

    #[test]
    fn the_earliest_failure_is_the_one_told() {
        for workers in [1, 2, 7] {
            let source = Count { next: 0, end: 500, fails_at: Some(300) };
            let work = |_: &mut Buffer, at| if at == 100 || at == 101 { Err(at) } else { Ok(at) };
            assert_eq!(run(workers, source, work, Vec::new()).err(), Some(100));
        }
    }

    #[test]
    fn a_panic_stops_the_others_instead_of_leaving_them_waiting() {
        let source = Count { next: 0, end: 500, fails_at: None };
        let work = |_: &mut Buffer, at| {
            assert!(at != 100, "on purpose");
            Ok(at)
        };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(4, source, work, Vec::new())
        }));
        assert!(ended.is_err());
    }
}
