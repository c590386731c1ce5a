//! What the handles and the tasks of one resumable session share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use super::{
    ResumeError, ResumeOptions,
    entry::Entry,
    journal::Journal,
    machine::{Change, Machine, Progress},
    stored::{Keys, Over},
};
use crate::{CloseReason, Coded, Event, EventEmitter, NodeId, Session, SessionId};

/// Signs of life that the log has during one lifetime.
const SIGNS_OF_LIFE: u32 = 8;

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

/// Where a session is kept, so that it outlives the process.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) journal: Arc<Journal>,
    pub(super) number: u64,
    /// Its changes wait to be taken.
    is_queued: AtomicBool,
}

impl Kept {
    pub(super) const fn new(journal: Arc<Journal>, number: u64) -> Self {
        Self { journal, number, is_queued: AtomicBool::new(false) }
    }
}

/// One resumable session.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: SessionId,
    pub(super) peer: NodeId,
    pub(super) options: ResumeOptions,
    /// Where the peer is dialled, if this side does that.
    address: Mutex<Option<String>>,
    kept: Option<Kept>,
    machine: Mutex<Machine>,
    /// For the application: there is something to take, what it sent has come further, or the state
    /// has changed.
    pub(super) changed: Notify,
    /// For a link: there may be something to write.
    pub(super) to_write: Notify,
    /// For a link: the application has taken enough to read on.
    pub(super) has_room: Notify,
    state: watch::Sender<ResumeState>,
    /// `state` says that it is over: asked for each message, and cheaper than the state.
    is_over: AtomicBool,
    /// What carries it. One that is over would keep the socket of its node.
    session: Mutex<Option<Session>>,
    events: EventEmitter,
    /// The end of the sealed session that began it was not told: it is when this one is over.
    is_open: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        (id, peer, address): (SessionId, NodeId, Option<String>),
        machine: Machine,
        kept: Option<Kept>,
        options: ResumeOptions,
        events: EventEmitter,
    ) -> Arc<Self> {
        let shared = Arc::new(Self {
            id,
            peer,
            options,
            address: Mutex::new(address),
            kept,
            machine: Mutex::new(machine),
            changed: Notify::new(),
            to_write: Notify::new(),
            has_room: Notify::new(),
            state: watch::Sender::new(ResumeState::Suspended),
            is_over: AtomicBool::new(false),
            session: Mutex::new(None),
            events,
            is_open: AtomicBool::new(false),
        });
        if let Some(Kept { journal, number, .. }) = &shared.kept {
            journal.join(*number, &shared);
        }
        shared
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`with_quietly`](Self::with_quietly), and notifies all waiters.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let result = self.with_quietly(change);
        self.tell_all();
        result
    }

    /// Changes the state machine and queues the changes for the disk. The caller notifies waiters.
    pub(super) fn with_quietly<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let (result, has_changes) = {
            let mut machine = self.machine();
            (change(&mut machine), machine.has_changes())
        };
        if has_changes {
            self.queue();
        }
        result
    }

    /// The disk is to take what has changed.
    fn queue(&self) {
        if let Some(kept) = &self.kept
            && !kept.is_queued.swap(true, Ordering::AcqRel)
        {
            kept.journal.changed(kept.number);
        }
    }

    fn tell_all(&self) {
        self.changed.notify_waiters();
        self.to_write.notify_waiters();
        self.has_room.notify_waiters();
    }

    // --- the disk ---

    pub(super) const fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// What the log is to keep, about so many bytes of it. It is told where the rest is.
    pub(super) fn take_changes(&self, max_bytes: usize) -> (Vec<Change>, Progress) {
        if let Some(kept) = &self.kept {
            kept.is_queued.store(false, Ordering::Release);
        }
        let (taken, has_more) = {
            let mut machine = self.machine();
            (machine.changes(max_bytes), machine.has_changes())
        };
        if has_more {
            self.queue();
        }
        taken
    }

    /// So much is synced.
    pub(super) fn on_disk(&self, progress: Progress) {
        self.machine().on_disk(progress);
        self.changed.notify_waiters();
        self.to_write.notify_waiters();
    }

    /// The next process needs these tickets. Returns when they are synced.
    pub(super) async fn keep_keys(&self, keys: Keys) -> Result<(), ResumeError> {
        match &self.kept {
            Some(kept) => kept.journal.write(kept.number, Entry::Keys(keys)).await,
            None => Ok(()),
        }
    }

    fn note(&self, entry: Entry) {
        if let Some(kept) = &self.kept {
            kept.journal.note(kept.number, entry);
        }
    }

    /// Tells the log now and then that there is a link, as long as there is one.
    pub(super) async fn show_life(&self) {
        if self.kept.is_none() {
            std::future::pending::<()>().await;
        }
        loop {
            let pause = self.options.lifetime / SIGNS_OF_LIFE;
            tokio::time::sleep(pause.max(Duration::from_secs(1))).await;
            self.note(Entry::Seen);
        }
    }

    /// Forgets it on the disk.
    pub(super) fn forget(&self) {
        self.note(Entry::Gone);
    }

    // --- where the peer is ---

    pub(super) fn address(&self) -> Option<String> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// False if this side does not dial.
    pub(super) fn set_address(&self, to: String) -> bool {
        let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        if address.is_none() {
            return false;
        }
        *address = Some(to.clone());
        drop(address);
        self.note(Entry::Address(to));
        true
    }

    // --- its state ---

    pub(super) fn session(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn states(&self) -> watch::Receiver<ResumeState> {
        self.state.subscribe()
    }

    /// Why it is over, if it is.
    pub(super) fn ended(&self) -> Option<ResumeError> {
        if !self.is_over.load(Ordering::Acquire) {
            return None;
        }
        match &*self.state.borrow() {
            ResumeState::Ended(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// A link is there.
    pub(super) fn connected(&self, session: Session, is_first: bool) {
        if is_first {
            self.is_open.store(session.outlive(), Ordering::Relaxed);
        }
        let held = Some(session);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = held;
        if self.set(ResumeState::Connected) && !is_first {
            self.tell("session_resumed");
        }
    }

    /// The link is gone.
    pub(super) fn suspended(&self) {
        if self.set(ResumeState::Suspended) {
            self.note(Entry::Seen);
            self.tell("session_suspended");
        }
    }

    /// It is over; the first reason stays.
    pub(super) fn end(&self, why: ResumeError) {
        let is_dialler = self.address().is_some();
        let entry = match &why {
            // Nobody asks the side that dials.
            ResumeError::Finished if is_dialler => Some(Entry::Gone),
            ResumeError::GivenUp { by_peer: false } => Some(Entry::Gone),
            ResumeError::Left => Some(Entry::Seen),
            why => Over::of(why).map(Entry::Over),
        };
        let (code, is_for_later, reason) = (why.code(), why.is_for_later(), closed(&why));
        // A task that sees the end may close the log at once.
        let note = || {
            if let Some(entry) = entry {
                self.note(entry);
            }
        };
        if self.set_after(ResumeState::Ended(why), note) && !is_for_later {
            if self.is_open.swap(false, Ordering::Relaxed) {
                let (session_id, peer) = (self.id, self.peer);
                self.events.emit(Event::SessionClosed { session_id, peer, reason });
            }
            self.tell_of("session_given_up", Some(("code", code.to_owned())));
        }
    }

    /// Gives it up, unless it is through: such a one ends by itself, and says so.
    pub(super) fn give_up(&self) {
        if !self.machine().is_finished() {
            self.end(ResumeError::GivenUp { by_peer: false });
        }
    }

    /// A process before this one began it.
    pub(super) fn is_restored(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// It was over before this process began.
    pub(super) fn was_over(&self, why: ResumeError) {
        self.set(ResumeState::Ended(why));
    }

    /// False if it is over, or was so before.
    fn set(&self, state: ResumeState) -> bool {
        self.set_after(state, || ())
    }

    /// As [`set`](Self::set); `first` comes before anybody sees the change.
    fn set_after(&self, state: ResumeState, first: impl FnOnce()) -> bool {
        let is_same =
            |old: &ResumeState| std::mem::discriminant(old) == std::mem::discriminant(&state);
        if !matches!(state, ResumeState::Connected) {
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let changed = self.state.send_if_modified(|old| {
            if matches!(old, ResumeState::Ended(_)) || is_same(old) {
                return false;
            }
            first();
            old.clone_from(&state);
            // Nobody may see the state and then hear that it is not over.
            self.is_over.store(matches!(state, ResumeState::Ended(_)), Ordering::Release);
            true
        });
        self.tell_all();
        changed
    }

    fn tell(&self, name: &str) {
        self.tell_of(name, None);
    }

    fn tell_of(&self, name: &str, more: Option<(&'static str, String)>) {
        let fields = [("session_id", self.id.to_string()), ("peer", self.peer.to_string())];
        let fields = fields.into_iter().chain(more);
        // The names are good ones.
        if let Ok(event) = Event::custom(name, fields) {
            let _ = self.events.emit(event);
        }
    }
}

/// What `session_closed` says when a resumable session is over.
fn closed(why: &ResumeError) -> CloseReason {
    match why {
        ResumeError::Expired { .. } => CloseReason::Timeout,
        ResumeError::Ticket => CloseReason::AuthFailure,
        ResumeError::GivenUp { by_peer } => {
            CloseReason::Closed { by_peer: *by_peer, text: why.to_string() }
        }
        why => CloseReason::Closed { by_peer: false, text: why.to_string() },
    }
}
