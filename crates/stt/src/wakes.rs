//! Who is to be woken, gathered while a lock is held and woken when it is free again.

use std::task::Waker;

/// Mostly one, so that there is nothing to allocate.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl Wakes {
    pub(crate) fn add(&mut self, waker: Waker) {
        match &self.first {
            None => self.first = Some(waker),
            Some(_) => self.others.push(waker),
        }
    }

    pub(crate) fn extend(&mut self, wakers: impl IntoIterator<Item = Waker>) {
        wakers.into_iter().for_each(|waker| self.add(waker));
    }

    /// Notes who waits, once.
    pub(crate) fn register(&mut self, waker: &Waker) {
        let mut known = self.first.iter().chain(&self.others);
        if !known.any(|known| known.will_wake(waker)) {
            self.add(waker.clone());
        }
    }

    /// Forgets who waited and does not any more.
    pub(crate) fn forget(&mut self, waker: &Waker) {
        self.first.take_if(|known| known.will_wake(waker));
        self.others.retain(|known| !known.will_wake(waker));
    }

    /// Adds all of `others`, which has none afterwards.
    pub(crate) fn append(&mut self, others: &mut Self) {
        self.extend(others.first.take());
        self.extend(others.others.drain(..));
    }

    pub(crate) fn wake(self) {
        self.first.into_iter().chain(self.others).for_each(Waker::wake);
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

    #[test]
    fn all_who_wait_are_woken_once_and_those_who_left_are_not() {
        let counts: [Arc<Count>; 4] = std::array::from_fn(|_| Arc::default());
        let wakers = counts.clone().map(Waker::from);
        let mut wakes = Wakes::default();
        for waker in wakers.iter().chain(&wakers) {
            wakes.register(waker);
        }
        wakes.forget(&wakers[0]);
        wakes.forget(&wakers[2]);
        let mut all = Wakes::default();
        all.append(&mut wakes);
        wakes.wake();
        assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::SeqCst)), [0; 4]);
        all.wake();
        assert_eq!(counts.map(|count| count.0.load(Ordering::SeqCst)), [0, 1, 0, 1]);
    }
}
