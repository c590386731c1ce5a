//! Which stream gets the room that becomes free in the engine's window.
//!
//! The window is one for all streams of a session. Without an order, a bulk transfer takes every
//! byte of it as it becomes free, and an urgent message waits outside, where the engine's own
//! priorities do not reach.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// The more urgent first, and of the same urgency who came first.
type Place = (Reverse<i32>, u64);

#[derive(Debug, Default)]
struct Waiting {
    places: BTreeMap<Place, Waker>,
    next: u64,
}

impl Waiting {
    fn place(&mut self, priority: i32) -> Place {
        self.next += 1;
        (Reverse(priority), self.next)
    }
}

/// Writers of one session that wait for room.
#[derive(Debug, Default)]
pub(super) struct WriteOrder(Mutex<Waiting>);

/// A place among them, given up when it is dropped.
struct Turn<'a> {
    precedence: &'a WriteOrder,
    place: Option<Place>,
}

impl WriteOrder {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `write` go on whenever nobody with precedence waits.
    pub(super) async fn write<T>(&self, priority: i32, write: impl Future<Output = T>) -> T {
        let mut turn = Turn { precedence: self, place: None };
        let mut write = pin!(write);
        poll_fn(|cx| {
            if !turn.may_go(priority, cx.waker()) {
                return Poll::Pending;
            }
            let outcome = write.as_mut().poll(cx);
            if outcome.is_pending() {
                turn.wait(priority, cx.waker());
            }
            outcome
        })
        .await
    }
}

impl Turn<'_> {
    /// Whether this writer is the first; if not, it waits. Both under one lock: who is first may end
    /// in between, and would wake nobody.
    fn may_go(&mut self, priority: i32, waker: &Waker) -> bool {
        let mut waiting = self.precedence.lock();
        let may = match (waiting.places.keys().next().copied(), self.place) {
            (None, _) => true,
            (Some((Reverse(other), _)), None) => other < priority,
            (Some(first), Some(own)) => own <= first,
        };
        if !may {
            let place = *self.place.get_or_insert_with(|| waiting.place(priority));
            waiting.places.insert(place, waker.clone());
        }
        may
    }

    fn wait(&mut self, priority: i32, waker: &Waker) {
        let mut waiting = self.precedence.lock();
        let place = *self.place.get_or_insert_with(|| waiting.place(priority));
        waiting.places.insert(place, waker.clone());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut waiting = self.precedence.lock();
        waiting.places.remove(&place);
        let next = waiting.places.values().next().cloned();
        drop(waiting);
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        pin::Pin,
        task::Context,
    };

    use super::*;

    /// Room that writers take byte by byte.
    struct Room(Cell<usize>);

    impl Room {
        async fn take(&self, order: &RefCell<Vec<char>>, name: char) {
            poll_fn(|_| match self.0.get() {
                0 => Poll::Pending,
                room => {
                    self.0.set(room - 1);
                    order.borrow_mut().push(name);
                    Poll::Ready(())
                }
            })
            .await;
        }
    }

    fn poll(task: &mut Pin<Box<dyn Future<Output = ()> + '_>>) -> bool {
        task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_urgent_go_first_and_equals_in_the_order_they_came() {
        let (precedence, room, order) =
            (WriteOrder::default(), Room(Cell::new(0)), RefCell::new(Vec::new()));
        let writer = |priority, name| -> Pin<Box<dyn Future<Output = ()> + '_>> {
            let (precedence, room, order) = (&precedence, &room, &order);
            Box::pin(async move {
                precedence.write(priority, room.take(order, name)).await;
            })
        };
        let mut tasks =
            [writer(0, 'b'), writer(0, 'c'), writer(9, 'u'), writer(-5, 'l'), writer(0, 'd')];
        for task in &mut tasks {
            assert!(!poll(task));
        }
        for _ in 0..5 {
            room.0.set(1);
            // Whoever is asked, the room waits for who has precedence.
            let mut at = 0;
            while room.0.get() == 1 {
                if !finished(&order, at) {
                    poll(&mut tasks[at]);
                }
                at = (at + 1) % tasks.len();
            }
        }
        assert_eq!(*order.borrow(), ['u', 'b', 'c', 'd', 'l']);
    }

    fn finished(order: &RefCell<Vec<char>>, at: usize) -> bool {
        order.borrow().contains(&['b', 'c', 'u', 'l', 'd'][at])
    }

    /// Many writers on real threads, each of which goes through often: nobody is left waiting.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_writer_is_forgotten() {
        use std::sync::{Arc, atomic::*};
        let precedence = Arc::new(WriteOrder::default());
        let room = Arc::new((AtomicUsize::new(0), tokio::sync::Notify::new()));
        let through = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let (precedence, room) = (Arc::clone(&precedence), Arc::clone(&room));
                let through = Arc::clone(&through);
                tokio::spawn(async move {
                    for _ in 0..5_000 {
                        precedence
                            .write(number % 3, async {
                                let (left, order) = (&room.0, Ordering::SeqCst);
                                let less = |left: usize| left.checked_sub(1);
                                while left.fetch_update(order, order, less).is_err() {
                                    room.1.notified().await;
                                }
                            })
                            .await;
                        through.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let all = async {
            for writer in writers {
                writer.await.unwrap();
            }
        };
        let source = async {
            loop {
                if room.0.load(Ordering::SeqCst) < 4 {
                    room.0.fetch_add(1, Ordering::SeqCst);
                }
                room.1.notify_one();
                tokio::task::yield_now().await;
            }
        };
        // However slow the machine is: somebody gets through.
        let stuck = async {
            loop {
                let before = through.load(Ordering::SeqCst);
                tokio::time::sleep(std::time::Duration::from_secs(120)).await;
                if through.load(Ordering::SeqCst) == before {
                    return before;
                }
            }
        };
        tokio::select! {
            () = all => {}
            () = source => {}
            before = stuck => panic!("nobody got through after {before} times"),
        }
    }

    #[test]
    fn who_gives_up_leaves_the_way_free() {
        let (precedence, room, order) =
            (WriteOrder::default(), Room(Cell::new(0)), RefCell::new(Vec::new()));
        let mut urgent: Pin<Box<dyn Future<Output = ()> + '_>> =
            Box::pin(precedence.write(9, room.take(&order, 'u')));
        let mut bulk: Pin<Box<dyn Future<Output = ()> + '_>> =
            Box::pin(precedence.write(0, room.take(&order, 'b')));
        assert!(!poll(&mut urgent) && !poll(&mut bulk));
        room.0.set(1);
        assert!(!poll(&mut bulk), "the urgent one waits");
        drop(urgent);
        assert!(poll(&mut bulk));
    }
}
