//! What a node's sessions report to it: the place where they meet.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, mpsc};

use super::{Admission, Packet, builder::Limits};
use crate::{
    CloseReason, Event, EventEmitter, EventKind, NodeId, Refusal, SessionId, session::SessionShared,
};

/// Messages that wait for [`crate::Node::receive`]; beyond them their streams wait.
const PACKET_QUEUE: usize = 1_024;
/// What the sessions of a node share.
pub(crate) struct Hub {
    limits: Limits,
    sessions: Mutex<HashMap<SessionId, Arc<SessionShared>>>,
    /// Sessions that peers began and [`Self::accept`] has not given out.
    begun: Mutex<VecDeque<SessionId>>,
    begun_one: Notify,
    total: AtomicU64,
    accepting: AtomicBool,
    admission: Mutex<Admission>,
    packets: mpsc::Sender<Packet>,
    /// `receive` was called, so unclaimed messages may flow.
    receiving: AtomicBool,
    started_receiving: Notify,
    events: EventEmitter,
}

impl Hub {
    pub(super) fn new(
        limits: Limits,
        accepting: bool,
        events: EventEmitter,
        admission: Admission,
    ) -> (Arc<Self>, mpsc::Receiver<Packet>) {
        let (packets, receiver) = mpsc::channel(PACKET_QUEUE);
        let hub = Self {
            limits,
            sessions: Mutex::default(),
            begun: Mutex::default(),
            begun_one: Notify::new(),
            total: AtomicU64::new(0),
            accepting: AtomicBool::new(accepting),
            admission: Mutex::new(admission),
            packets,
            receiving: AtomicBool::new(false),
            started_receiving: Notify::new(),
            events,
        };
        (Arc::new(hub), receiver)
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<SessionShared>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- sessions ---

    pub(super) fn set_accepting(&self, accepting: bool) {
        self.accepting.store(accepting, Ordering::Relaxed);
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Relaxed)
    }

    /// Changes who may have sessions, and gives back those who have one and may not any more.
    pub(super) fn set_admission(&self, admission: Admission) -> Vec<Arc<SessionShared>> {
        let mut unwanted = self.all_sessions();
        unwanted.retain(|session| admission.check(session.peer).is_err());
        *self.admission.lock().unwrap_or_else(PoisonError::into_inner) = admission;
        unwanted
    }

    /// Whether a peer that proved itself gets a session.
    pub(super) fn admit(&self, peer: NodeId) -> Result<(), Refusal> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner).check(peer)?;
        if !self.is_accepting() {
            return Err(Refusal::NotAccepting);
        }
        if self.sessions().len() >= self.limits.max_sessions {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Takes a new session in. False if its id is taken, which is the sign of a peer that plays
    /// tricks or of a chance of one in 2^64.
    pub(super) fn session_started(&self, session: &Arc<SessionShared>) -> bool {
        // Events are emitted under the lock, so that their order is that of the table.
        let mut sessions = self.sessions();
        if sessions.contains_key(&session.id) {
            return false;
        }
        let peer = session.peer;
        let is_first = !sessions.values().any(|other| other.peer == peer);
        sessions.insert(session.id, Arc::clone(session));
        self.total.fetch_add(1, Ordering::Relaxed);
        if is_first {
            self.events.emit(Event::PeerConnected { peer });
        }
        self.events.emit(Event::SessionCreated { session_id: session.id, peer });
        drop(sessions);
        if !session.initiator {
            self.begun().push_back(session.id);
            self.begun_one.notify_waiters();
        }
        true
    }

    fn begun(&self) -> MutexGuard<'_, VecDeque<SessionId>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next session that a peer began, each given out once.
    pub(super) async fn accept(&self) -> Arc<SessionShared> {
        loop {
            let begun = self.begun_one.notified();
            let mut begun = std::pin::pin!(begun);
            begun.as_mut().enable();
            let next = self.begun().pop_front();
            match next {
                // One that ended meanwhile is nobody's business any more.
                Some(id) => {
                    if let Some(session) = self.session(id) {
                        return session;
                    }
                }
                None => begun.await,
            }
        }
    }

    pub(crate) fn session_ended(&self, session: &Arc<SessionShared>, reason: &CloseReason) {
        let mut sessions = self.sessions();
        // A session that was never taken in must not remove the one that has its id.
        match sessions.get(&session.id) {
            Some(known) if Arc::ptr_eq(known, session) => sessions.remove(&session.id),
            _ => return,
        };
        if !session.initiator {
            self.begun().retain(|id| *id != session.id);
        }
        let peer = session.peer;
        let was_last = !sessions.values().any(|other| other.peer == peer);
        let reason = reason.clone();
        self.events.emit(Event::SessionClosed { session_id: session.id, peer, reason });
        if was_last {
            self.events.emit(Event::PeerDisconnected { peer });
        }
    }

    pub(super) fn session(&self, id: SessionId) -> Option<Arc<SessionShared>> {
        self.sessions().get(&id).cloned()
    }

    pub(super) fn all_sessions(&self) -> Vec<Arc<SessionShared>> {
        self.sessions().values().cloned().collect()
    }

    /// Sessions now, and ever.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.sessions().len(), self.total.load(Ordering::Relaxed))
    }

    // --- messages of unclaimed streams ---

    pub(super) fn start_receiving(&self) {
        if !self.receiving.swap(true, Ordering::AcqRel) {
            self.started_receiving.notify_waiters();
        }
    }

    /// Ready once somebody calls the node's `receive`.
    pub(crate) async fn receiving(&self) {
        let started = self.started_receiving.notified();
        let mut started = std::pin::pin!(started);
        started.as_mut().enable();
        if !self.receiving.load(Ordering::Acquire) {
            started.await;
        }
    }

    /// A place in the queue of `receive`; `None` once the node stopped.
    pub(crate) async fn packet_permit(&self) -> Option<mpsc::Permit<'_, Packet>> {
        self.packets.reserve().await.ok()
    }

    // --- events ---

    pub(super) const fn events(&self) -> &EventEmitter {
        &self.events
    }

    /// Tells listeners of something that needs attention.
    pub(crate) fn warn(&self, code: &'static str, details: String) {
        self.events.emit(Event::Warning { code, details });
    }

    /// Tells listeners of a message before it reaches `receive`.
    pub(crate) fn data_received(&self, packet: &Packet) {
        if self.events.wants(EventKind::DataReceived) {
            self.events.emit(Event::DataReceived {
                session_id: packet.session_id,
                stream_id: packet.stream_id,
                data: packet.data.clone(),
            });
        }
    }
}
