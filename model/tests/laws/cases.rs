//! Who meets the task at once.

use std::{collections::HashSet, sync::Arc, task::Waker};

use super::{
    book::{Book, Clock, Event, Reason, State},
    task::{Flag, Task},
};
use crate::{handover::Handover, sync::spawn};

type Shared = Handover<Book>;

/// Somebody beside the task.
struct Volunteer(Box<dyn FnOnce(&Shared) -> Vec<Arc<Flag>> + Send>);

impl Volunteer {
    fn new(act: impl FnOnce(&Shared) + Send + 'static) -> Self {
        Self(Box::new(|shared| {
            act(shared);
            Vec::new()
        }))
    }

    /// Brings each event by itself.
    fn receiver(events: Vec<Event>, few: bool) -> Self {
        Self::new(move |shared| {
            for event in events {
                shared.deliver(std::iter::once(event), few);
            }
        })
    }

    /// Brings all events at once, for the task.
    fn burst(events: Vec<Event>) -> Self {
        Self::new(move |shared| shared.deliver(events.into_iter(), false))
    }

    /// Has something to send, and sends it.
    fn writer(due: Vec<Option<u32>>) -> Self {
        Self::new(move |shared| {
            for due in due {
                let mut held = shared.lock();
                held.unsent += 1;
                held.due.extend(due);
                shared.turn_here(held);
            }
        })
    }

    /// Has something to send, and leaves it to the task.
    fn caller() -> Self {
        Self::new(|shared| {
            shared.lock().unsent += 1;
            shared.call();
        })
    }

    fn closer() -> Self {
        Self::new(|shared| shared.end(Reason::Closed, |_| {}))
    }

    /// Ends it with a turn, as the peer's farewell does.
    fn farewell() -> Self {
        Self::new(|shared| {
            let mut held = shared.lock();
            held.end = Some(Reason::Closed);
            shared.turn_here(held);
        })
    }

    /// Does the same, and then waits for the end.
    fn waits(self) -> Self {
        Self(Box::new(|shared| {
            let mut flags = (self.0)(shared);
            let mut held = shared.lock();
            if held.end.is_none() {
                let flag = Arc::new(Flag::default());
                held.waiters.push(Waker::from(Arc::clone(&flag)));
                flags.push(flag);
            }
            flags
        }))
    }
}

fn event(from: usize, number: usize) -> Event {
    Event { from, number, ..Event::default() }
}

fn events(from: usize, count: usize) -> Vec<Event> {
    (0..count).map(|number| event(from, number)).collect()
}

/// Has the volunteers run beside the task, which may take so many turns meanwhile, and looks at
/// what is left once nobody moves any more.
fn meet(state: State, volunteers: Vec<Volunteer>, turns: usize) -> State {
    let clock = Clock::default();
    let shared = Arc::new(Handover::new(Book(clock.clone()), state));
    let mut task = Task::new(Arc::clone(&shared), clock);
    let there: Vec<_> = volunteers
        .into_iter()
        .map(|volunteer| {
            let shared = Arc::clone(&shared);
            spawn(move || (volunteer.0)(&shared))
        })
        .collect();
    for _ in 0..turns {
        task.poll_if_called();
    }
    let flags: Vec<_> = there.into_iter().flat_map(|one| one.join().unwrap()).collect();
    task.settle();
    let state = std::mem::take(&mut **shared.lock());
    assert!(!state.moved_after_a_panic, "what is broken is not moved");
    assert!(!state.rushed, "the task makes the handshake");
    let once: HashSet<_> = state.taken.iter().collect();
    assert_eq!(once.len(), state.taken.len(), "nothing is taken twice");
    let mut last = std::collections::HashMap::new();
    for (from, number) in &state.taken {
        assert!(last.insert(from, number) < Some(number), "in order");
    }
    assert_eq!(task.over, state.end.is_some(), "the task ends with the rest, and not before");
    assert!(flags.iter().all(|flag| flag.take() == state.end.is_some()), "whoever waits is woken");
    if state.end.is_none() {
        assert_eq!(state.unsent, 0, "all is sent");
        assert_eq!(state.turns_owed, 0, "each turn is taken");
        assert!(state.due.is_empty(), "what was due is done");
        assert!(state.done.iter().all(|(due, done)| due == done), "in time: {:?}", state.done);
    }
    state
}

fn open() -> State {
    State { open: true, ..State::default() }
}

/// Two that bring events at once.
pub(crate) fn two_receivers() {
    let both =
        vec![Volunteer::receiver(events(1, 2), true), Volunteer::receiver(events(2, 1), true)];
    let state = meet(open(), both, 2);
    assert_eq!(state.taken.len(), 3, "nothing is lost");
}

/// What came before the handshake is over is the task's work, and nothing overtakes it.
pub(crate) fn a_handshake() {
    let both = vec![Volunteer::receiver(events(1, 3), true), Volunteer::writer(vec![None])];
    let state = meet(State::default(), both, 2);
    assert_eq!((state.taken.len(), state.sent), (3, 1));
}

pub(crate) fn a_receiver_and_a_writer() {
    let both = vec![Volunteer::receiver(events(1, 2), true), Volunteer::writer(vec![None, None])];
    let state = meet(open(), both, 2);
    assert_eq!((state.taken.len(), state.sent), (2, 2));
}

pub(crate) fn a_receiver_and_a_caller() {
    let both = vec![Volunteer::receiver(events(1, 2), true), Volunteer::caller()];
    let state = meet(open(), both, 2);
    assert_eq!((state.taken.len(), state.sent), (2, 1));
}

/// More than one turn takes, and single ones behind it.
pub(crate) fn a_burst() {
    let mut late = events(1, 3);
    let burst = late.drain(..2).collect();
    let both = Volunteer::new(move |shared| {
        (Volunteer::burst(burst).0)(shared);
        (Volunteer::receiver(late, true).0)(shared);
    });
    let state = meet(open(), vec![both, Volunteer::writer(vec![None])], 3);
    assert_eq!((state.taken.len(), state.sent), (3, 1));
}

/// There are more than may wait: some are lost, as they would be in the system's buffer.
pub(crate) fn too_much() {
    let both = vec![Volunteer::burst(events(1, 6)), Volunteer::burst(events(2, 1))];
    let state = meet(open(), both, 1);
    assert!((4..=5).contains(&state.taken.len()), "{:?}", state.taken);
}

/// A volunteer cannot send, and nobody waits for room.
pub(crate) fn no_room() {
    let writer = Volunteer::new(|shared| {
        let mut held = shared.lock();
        held.full = true;
        held.unsent += 1;
        shared.turn_here(held);
    });
    let both = vec![writer, Volunteer::receiver(events(1, 1), true)];
    let state = meet(open(), both, 2);
    assert_eq!((state.taken.len(), state.sent), (1, 1));
}

/// What a volunteer took in takes another turn.
pub(crate) fn another_turn() {
    let event = Event { again: true, ..event(1, 0) };
    let both = vec![Volunteer::receiver(vec![event], true), Volunteer::caller()];
    let state = meet(open(), both, 2);
    assert_eq!((state.taken.len(), state.sent), (1, 1));
}

/// Each sets another alarm, and the earliest counts.
pub(crate) fn alarms() {
    let event = Event { due: Some(2), ..event(1, 0) };
    let both =
        vec![Volunteer::receiver(vec![event], true), Volunteer::writer(vec![Some(3), Some(1)])];
    let state = meet(open(), both, 2);
    assert_eq!(state.done, [(1, 1), (2, 2), (3, 3)]);
}

pub(crate) fn closing() {
    let both = vec![Volunteer::receiver(events(1, 2), true).waits(), Volunteer::closer().waits()];
    let state = meet(open(), both, 2);
    assert_eq!(state.end, Some(Reason::Closed));
}

/// A volunteer's turn finds that it is over.
pub(crate) fn a_farewell() {
    let both = vec![Volunteer::receiver(events(1, 1), true), Volunteer::farewell()];
    let state = meet(open(), both, 2);
    assert_eq!(state.end, Some(Reason::Closed));
}

/// The engine panics, in a volunteer's hands or the task's.
pub(crate) fn a_panic() {
    let panics = Event { panics: true, ..event(1, 0) };
    let both = vec![
        Volunteer::receiver(vec![panics, event(1, 1)], true),
        Volunteer::writer(vec![None]).waits(),
    ];
    let state = meet(open(), both, 2);
    assert_eq!((state.end, state.taken.len()), (Some(Reason::Fault), 0));
}

/// As many as a busy connection has.
pub(crate) fn a_crowd() {
    let mut crowd: Vec<_> = (0..3)
        .map(|from| {
            let mut events = events(from, 4);
            events[1].again = true;
            events[3].due = Some(7 - u32::try_from(from).unwrap());
            Volunteer::receiver(events, true)
        })
        .collect();
    crowd.push(Volunteer::writer(vec![None, Some(9), None, Some(2)]));
    crowd.push(Volunteer::caller());
    crowd.push(Volunteer::caller());
    let state = meet(State { full: true, ..State::default() }, crowd, 12);
    // Four may wait, each of the three brings four: some may be lost.
    assert!(state.taken.len() >= 4);
    assert_eq!(state.sent, 6);
}

pub(crate) fn a_crowd_that_ends(panics: bool) {
    let mut crowd: Vec<_> = (0..3)
        .map(|from| {
            let mut events = events(from, 3);
            events[2].panics = panics && from == 1;
            Volunteer::receiver(events, true).waits()
        })
        .collect();
    crowd.push(Volunteer::writer(vec![Some(4), None]).waits());
    crowd.push(Volunteer::closer().waits());
    let state = meet(open(), crowd, 8);
    assert!(state.end.is_some());
}
