//! An engine that does nothing but keep account.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Waker},
};

use crate::{
    handover::{Engine, Turn},
    waker_list::WakerList,
};

/// What somebody brings.
#[derive(Clone, Copy, Default)]
pub(super) struct Event {
    pub(super) from: usize,
    pub(super) number: usize,
    /// There is something to do at this time.
    pub(super) due: Option<u32>,
    /// It takes one more turn.
    pub(super) again: bool,
    pub(super) panics: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Closed,
    Fault,
}

#[derive(Default)]
pub(super) struct State {
    /// Volunteers are welcome.
    pub(super) open: bool,
    /// A volunteer took an event before.
    pub(super) rushed: bool,
    pub(super) taken: Vec<(usize, usize)>,
    pub(super) unsent: usize,
    pub(super) sent: usize,
    /// Only the task can send.
    pub(super) full: bool,
    pub(super) turns_owed: usize,
    pub(super) due: Vec<u32>,
    /// What was due, and when it was done.
    pub(super) done: Vec<(u32, u32)>,
    pub(super) waiters: Vec<Waker>,
    pub(super) end: Option<Reason>,
    pub(super) panicked: bool,
    pub(super) moved_after_a_panic: bool,
}

/// The clock stands still while there are threads.
#[derive(Clone, Default)]
pub(super) struct Clock(Arc<AtomicU32>);

impl Clock {
    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, at: u32) {
        self.0.store(at, Ordering::Relaxed);
    }
}

pub(super) struct Book(pub(super) Clock);

impl Engine for Book {
    type State = State;
    type Event = Event;
    type Time = u32;
    type Reason = Reason;

    const MAX_WAITING: usize = 4;
    const PART: usize = 1;

    fn takes_volunteers(state: &State) -> bool {
        state.open
    }

    fn take(&self, state: &mut State, event: Event) {
        state.moved_after_a_panic |= state.panicked;
        if event.panics {
            state.panicked = true;
            panic!("a fault of the model's engine");
        }
        state.taken.push((event.from, event.number));
        state.due.extend(event.due);
        if event.again {
            state.turns_owed += 2;
        }
    }

    fn turn(
        &self,
        state: &mut State,
        cx: Option<&mut Context<'_>>,
        _: &mut WakerList,
    ) -> Turn<u32> {
        state.moved_after_a_panic |= state.panicked;
        state.rushed |= cx.is_none() && !state.open && !state.taken.is_empty();
        let mut turn = Turn::default();
        if cx.is_some() {
            state.open = true;
            state.full = false;
        }
        if state.full {
            turn.stuck = state.unsent > 0;
        } else {
            state.sent += mem::take(&mut state.unsent);
        }
        state.turns_owed = state.turns_owed.saturating_sub(1);
        turn.again = state.turns_owed > 0;
        let now = self.0.now();
        let (done, due) = state.due.iter().partition(|due| **due <= now);
        state.due = due;
        let done: Vec<u32> = done;
        state.done.extend(done.into_iter().map(|due| (due, now)));
        turn.next = state.due.iter().min().copied();
        turn.over = state.end.is_some();
        turn
    }

    fn end(&self, state: &mut State, reason: Reason, wakes: &mut WakerList) {
        state.end.get_or_insert(reason);
        wakes.extend(state.waiters.drain(..));
    }

    fn fault() -> Reason {
        Reason::Fault
    }
}
