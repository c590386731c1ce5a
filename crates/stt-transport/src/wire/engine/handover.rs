//! Who moves a connection at which moment, so that nothing waits for somebody who sleeps.
//!
//! A connection has one task. Whoever else is there takes a turn as a volunteer if that is little:
//! the receiving task with a few datagrams, a writer with a few bytes. The rest is handed over to
//! the task, by a queue and a call. Neither QUIC nor tokio is known here, so that `model/` can try
//! this file with the orders in which volunteers and the task meet.

use std::{
    collections::VecDeque,
    mem,
    ops::{Deref, DerefMut},
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
};

use super::sync::{Guard, Mutex};
use crate::waker_list::WakerList;

/// Places for waiting events that are kept while there are none.
const MAX_SPARE: usize = 64;

/// What is moved.
pub(super) trait Engine {
    /// What is only touched under the lock.
    type State;
    /// What comes from outside.
    type Event;
    type Time: Copy + Ord;
    /// Why it ends.
    type Reason;

    /// Events that wait for the task. More are lost, as they would be in the system's buffer.
    const MAX_WAITING: usize;
    /// How many of them are worked on in one turn: others wait for the state meanwhile.
    const PART: usize;

    /// Whether volunteers may take events in.
    fn takes_volunteers(state: &Self::State) -> bool;

    fn take(&self, state: &mut Self::State, event: Self::Event);

    /// Does what there is to do. The task has a context: it waits for what is missing by itself.
    fn turn(
        &self,
        state: &mut Self::State,
        cx: Option<&mut Context<'_>>,
        wakes: &mut WakerList,
    ) -> Turn<Self::Time>;

    /// Tells everybody who waits that it is over. The first reason stays.
    fn end(&self, state: &mut Self::State, reason: Self::Reason, wakes: &mut WakerList);

    /// The reason after a panic.
    fn fault() -> Self::Reason;
}

/// How far a turn came.
pub(super) struct Turn<T> {
    /// There is more to do at once.
    pub(super) again: bool,
    /// Something is missing, and nobody waits for it.
    pub(super) stuck: bool,
    pub(super) over: bool,
    /// When there is something to do at the latest.
    pub(super) next: Option<T>,
}

impl<T> Default for Turn<T> {
    fn default() -> Self {
        Self { again: false, stuck: false, over: false, next: None }
    }
}

/// What wakes the task at a time.
pub(super) trait Alarm<T> {
    fn set(&mut self, at: T);

    /// Ready once that time has come.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// An engine, its state, and what is handed over to its task.
pub(super) struct Handover<E: Engine> {
    pub(super) engine: E,
    held: Mutex<Held<E>>,
    /// What came while somebody else had the state, or was too much for whoever brought it.
    waiting: Mutex<VecDeque<E::Event>>,
    task: Mutex<Option<Waker>>,
}

/// The state and what is known about it.
pub(super) struct Held<E: Engine> {
    state: E::State,
    /// What waited and is being worked on, a part with each turn.
    taken: VecDeque<E::Event>,
    /// When the task wakes by itself.
    alarm: Option<E::Time>,
    /// A panic left the state as it was at that moment: nothing moves it any more.
    broken: bool,
}

impl<E: Engine> Deref for Held<E> {
    type Target = E::State;

    fn deref(&self) -> &E::State {
        &self.state
    }
}

impl<E: Engine> DerefMut for Held<E> {
    fn deref_mut(&mut self) -> &mut E::State {
        &mut self.state
    }
}

impl<E: Engine> Held<E> {
    /// Whether the task would wake too late for it.
    fn oversleeps(&self, next: Option<E::Time>) -> bool {
        next.is_some_and(|next| self.alarm.is_none_or(|alarm| next < alarm))
    }
}

impl<E: Engine> Handover<E> {
    pub(super) fn new(engine: E, state: E::State) -> Self {
        let held = Held { state, taken: VecDeque::new(), alarm: None, broken: false };
        Self { engine, held: Mutex::new(held), waiting: Mutex::default(), task: Mutex::default() }
    }

    pub(super) fn lock(&self) -> Guard<'_, Held<E>> {
        self.held.lock()
    }

    /// Has the task take a turn.
    pub(super) fn call(&self) {
        let task = self.task.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Takes in what came. A `few` events are worked on here and now, if nobody else is at it and
    /// none came before them.
    pub(super) fn deliver(&self, events: impl Iterator<Item = E::Event>, few: bool) {
        if few && let Some(held) = self.held.try_lock() {
            let first = held.taken.is_empty() && self.waiting.lock().is_empty();
            if first && E::takes_volunteers(&held.state) {
                self.help(held, |held| {
                    for event in events {
                        self.engine.take(&mut held.state, event);
                    }
                });
                return;
            }
        }
        let mut waiting = self.waiting.lock();
        let room = E::MAX_WAITING.saturating_sub(waiting.len());
        waiting.extend(events.take(room));
        drop(waiting);
        self.call();
    }

    /// Does what there is to do; what takes longer is left to the task.
    pub(super) fn turn_here(&self, held: Guard<'_, Held<E>>) {
        self.help(held, |_| {});
    }

    /// Takes a turn as a volunteer, after `act`.
    fn help(&self, mut held: Guard<'_, Held<E>>, act: impl FnOnce(&mut Held<E>)) {
        let mut wakes = WakerList::default();
        let turn = self.attempt(&mut held, &mut wakes, |held, wakes| {
            act(held);
            self.engine.turn(&mut held.state, None, wakes)
        });
        let calls = turn
            .is_none_or(|turn| turn.again || turn.stuck || turn.over || held.oversleeps(turn.next));
        drop(held);
        wakes.wake();
        if calls {
            self.call();
        }
    }

    /// Ends it after `act`, and has the task see to it.
    pub(super) fn end(&self, reason: E::Reason, act: impl FnOnce(&mut E::State)) {
        let mut wakes = WakerList::default();
        let mut held = self.lock();
        self.attempt(&mut held, &mut wakes, |held, wakes| {
            act(&mut held.state);
            self.engine.end(&mut held.state, reason, wakes);
        });
        drop(held);
        wakes.wake();
        self.call();
    }

    /// Moves it for somebody who must not meet its faults: a panic ends it, and nobody else. `None`
    /// if it is broken; the task is to be called then.
    fn attempt<T>(
        &self,
        held: &mut Held<E>,
        wakes: &mut WakerList,
        act: impl FnOnce(&mut Held<E>, &mut WakerList) -> T,
    ) -> Option<T> {
        if held.broken {
            return None;
        }
        let done = catch_unwind(AssertUnwindSafe(|| act(held, wakes))).ok();
        if done.is_none() {
            held.broken = true;
            let end = || self.engine.end(&mut held.state, E::fault(), wakes);
            // What is broken may break once more.
            let _ = catch_unwind(AssertUnwindSafe(end));
        }
        done
    }

    /// The task's work. Ready when it is over.
    pub(super) fn poll(&self, cx: &mut Context<'_>, alarm: &mut impl Alarm<E::Time>) -> Poll<()> {
        // Before it looks what there is: who brings something afterwards finds whom to call.
        self.expect_calls(cx);
        loop {
            let mut wakes = WakerList::default();
            let mut held = self.lock();
            let moved = self.attempt(&mut held, &mut wakes, |held, wakes| {
                let more = self.take_waiting(held);
                (more, self.engine.turn(&mut held.state, Some(cx), wakes))
            });
            let next = moved.as_ref().and_then(|(_, turn)| turn.next);
            // One that is too early stays: most are put off with every packet, and to move one
            // costs more than to wake for nothing.
            if let Some(next) = next
                && held.oversleeps(Some(next))
            {
                held.alarm = Some(next);
                alarm.set(next);
            }
            let sleeps = held.alarm.is_some();
            drop(held);
            wakes.wake();
            let Some((more, turn)) = moved else { return Poll::Ready(()) };
            if turn.over {
                return Poll::Ready(());
            }
            if turn.again || more {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !sleeps || alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.lock().alarm = None;
        }
    }

    fn expect_calls(&self, cx: &Context<'_>) {
        let mut task = self.task.lock();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    /// Works on a part of what waits. True if there is more.
    fn take_waiting(&self, held: &mut Held<E>) -> bool {
        if held.taken.is_empty() {
            mem::swap(&mut *self.waiting.lock(), &mut held.taken);
        }
        for _ in 0..E::PART {
            let Some(event) = held.taken.pop_front() else { break };
            self.engine.take(&mut held.state, event);
        }
        if !held.taken.is_empty() {
            return true;
        }
        // What a burst needed is not kept for ever.
        if held.taken.capacity() > MAX_SPARE {
            held.taken = VecDeque::new();
        }
        !self.waiting.lock().is_empty()
    }
}
