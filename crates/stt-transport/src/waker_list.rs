//! Who is to be woken, gathered while a lock is held and woken when it is free again.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

/// Mostly one, so that there is nothing to allocate.
#[derive(Debug, Default)]
pub struct WakerList {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl WakerList {
    /// One more.
    pub fn add(&mut self, waker: Waker) {
        match &self.first {
            None => self.first = Some(waker),
            Some(_) => self.others.push(waker),
        }
    }

    /// Some more.
    pub fn extend(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        wakers.into_iter().for_each(|waker| self.add(waker));
    }

    /// Adds all of `others`, which has none afterwards.
    pub fn append(&mut self, others: &mut Self) {
        self.extend(others.first.take());
        self.extend(others.others.drain(..));
    }

    /// Wakes all of them.
    pub fn wake(self) {
        drop(self);
    }
}

/// Also when a panic comes in between: who was taken out of a list would sleep for ever. A waker of
/// somebody else's that panics keeps nobody from being woken, and does not harm who wakes.
impl Drop for WakerList {
    fn drop(&mut self) {
        for waker in self.first.take().into_iter().chain(self.others.drain(..)) {
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of somebody else's");
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_nobody_from_being_woken() {
        let count = Arc::new(Count::default());
        let mut wakes = WakerList::default();
        wakes.extend([Waker::from(Arc::new(Panics)), Waker::from(Arc::clone(&count))]);
        wakes.wake();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn all_are_woken_once_and_only_when_it_is_said() {
        let counts: [Arc<Count>; 3] = std::array::from_fn(|_| Arc::default());
        let woken = || counts.each_ref().map(|count| count.0.load(Ordering::SeqCst));
        let (mut some, mut all) = (WakerList::default(), WakerList::default());
        let [a, b, c] = counts.clone().map(Waker::from);
        all.add(a);
        some.extend([b, c]);
        all.append(&mut some);
        some.wake();
        assert_eq!(woken(), [0; 3]);
        all.wake();
        assert_eq!(woken(), [1; 3]);
    }
}
