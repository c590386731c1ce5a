//! What the handles and the tasks of one resumable session share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::{ResumeError, ResumeOptions, machine::Machine};
use crate::{Event, EventEmitter, NodeId, Session, SessionId};

/// How a resumable session is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ResumeState {
    /// A sealed session carries it.
    Connected,
    /// None does; what is sent is kept until one does again.
    Suspended,
    /// It is over, and why.
    Ended(ResumeError),
}

/// One resumable session.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: SessionId,
    pub(super) peer: NodeId,
    pub(super) options: ResumeOptions,
    machine: Mutex<Machine>,
    /// Something of the machine or the state has changed.
    pub(super) changed: Notify,
    state: watch::Sender<ResumeState>,
    /// What carries it. One that is over would keep the socket of its node.
    session: Mutex<Option<Session>>,
    events: EventEmitter,
}

impl Shared {
    pub(super) fn new(
        id: SessionId,
        peer: NodeId,
        options: ResumeOptions,
        events: EventEmitter,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            peer,
            options,
            machine: Mutex::new(Machine::new(options.bounds)),
            changed: Notify::new(),
            state: watch::Sender::new(ResumeState::Suspended),
            session: Mutex::new(None),
            events,
        })
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state machine and wakes the tasks that wait for its events.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let result = change(&mut self.machine());
        self.changed.notify_waiters();
        result
    }

    pub(super) fn session(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn states(&self) -> watch::Receiver<ResumeState> {
        self.state.subscribe()
    }

    /// Why it is over, if it is.
    pub(super) fn ended(&self) -> Option<ResumeError> {
        match &*self.state.borrow() {
            ResumeState::Ended(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// A link is there.
    pub(super) fn connected(&self, session: Session, is_first: bool) {
        let held = Some(session);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = held;
        if self.set(ResumeState::Connected) && !is_first {
            self.tell("session_resumed");
        }
    }

    /// The link is gone.
    pub(super) fn suspended(&self) {
        if self.set(ResumeState::Suspended) {
            self.tell("session_suspended");
        }
    }

    /// It is over; the first reason stays.
    pub(super) fn end(&self, why: ResumeError) {
        self.set(ResumeState::Ended(why));
    }

    /// False if it is over, or was so before.
    fn set(&self, state: ResumeState) -> bool {
        let is_same =
            |old: &ResumeState| std::mem::discriminant(old) == std::mem::discriminant(&state);
        if !matches!(state, ResumeState::Connected) {
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let changed = self.state.send_if_modified(|old| {
            if matches!(old, ResumeState::Ended(_)) || is_same(old) {
                return false;
            }
            old.clone_from(&state);
            true
        });
        self.changed.notify_waiters();
        changed
    }

    fn tell(&self, name: &str) {
        let fields = [("session_id", self.id.to_string()), ("peer", self.peer.to_string())];
        // The names are good ones.
        if let Ok(event) = Event::custom(name, fields) {
            let _ = self.events.emit(event);
        }
    }
}
