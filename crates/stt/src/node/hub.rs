//! What a node's sessions report to it: the place where they meet.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use stc::Coded;
use stt_transport::{
    WireError,
    internal::{Pool, TokenBucket},
};
use tokio::sync::{Notify, mpsc};

use super::Admission;
use crate::{
    CloseReason, Event, EventEmitter, NodeId, Refusal, Route, SessionId,
    limits::{LimitCounters, LimitStats, Limits, NodeBudget, Throttle, count},
    session::{Common, Packet, Packets, Pulse, SessionHost, SessionShared},
};

/// How often quiet sessions are asked to give back what they do not need.
const RECLAIM_EVERY: Duration = Duration::from_secs(1);

/// Handshakes of peers that failed: so many a second are events, and so many seconds' worth at once.
/// All of them are counted.
const FAILURES: (NonZeroU64, Duration) = (NonZeroU64::MIN, Duration::from_secs(32));

/// What the sessions of a node share.
pub(crate) struct Hub {
    common: Arc<Common>,
    sessions: Mutex<Sessions>,
    /// Sessions that peers began and [`Self::accept`] has not given out.
    begun: Mutex<VecDeque<SessionId>>,
    begun_one: Notify,
    total: AtomicU64,
    accepting: AtomicBool,
    admission: Mutex<Admission>,
    events: EventEmitter,
    reclaimed: Mutex<Option<Instant>>,
    /// How many failed handshakes may be told of.
    failures: Mutex<TokenBucket>,
}

/// The sessions of a node.
#[derive(Default)]
struct Sessions {
    by_id: HashMap<SessionId, Arc<SessionShared>>,
    /// How many each peer has.
    of_peer: HashMap<NodeId, usize>,
    /// Places promised to peers whose session begins in a moment.
    promised: usize,
}

/// A place among the sessions, for a peer that was admitted.
pub(crate) struct Place(Arc<Hub>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut sessions = self.0.sessions();
        sessions.promised = sessions.promised.saturating_sub(1);
    }
}

impl Hub {
    pub(super) fn new(
        limits: Limits,
        accepting: bool,
        events: EventEmitter,
        admission: Admission,
        pulse: Pulse,
    ) -> (Arc<Self>, mpsc::Receiver<Packet>) {
        let (packets, receiver) = Packets::new(events.clone(), limits.max_node_buffer / 4);
        let common = Common {
            limits,
            pulse,
            unread: Arc::new(NodeBudget::new(limits.max_node_buffer, limits.max_sessions)),
            in_flight: Arc::new(Pool::new(limits.max_node_in_flight)),
            throttle: Throttle::new(limits.node_bandwidth),
            counters: LimitCounters::default(),
            protocols: Arc::default(),
            packets,
        };
        let hub = Self {
            common: Arc::new(common),
            sessions: Mutex::default(),
            begun: Mutex::default(),
            begun_one: Notify::new(),
            total: AtomicU64::new(0),
            accepting: AtomicBool::new(accepting),
            admission: Mutex::new(admission),
            events,
            reclaimed: Mutex::default(),
            failures: Mutex::new(TokenBucket::new(FAILURES.0, FAILURES.1)),
        };
        (Arc::new(hub), receiver)
    }

    /// What its sessions have in common.
    pub(crate) const fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// What the limits did.
    pub(super) fn limit_stats(&self, half_open: usize, websockets: bool) -> LimitStats {
        let unread = self.common.unread.total().saturating_add(self.common.packets.waiting());
        self.common.counters.snapshot(
            unread,
            half_open,
            self.common.limits.memory_bound(websockets),
        )
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
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
        // In this order: a session that is taken in meanwhile is in the table, or asks the new one.
        *self.admission() = admission.clone();
        let mut unwanted = self.all_sessions();
        unwanted.retain(|session| admission.check(session.peer).is_err());
        unwanted
    }

    fn admission(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a peer that proved itself gets a session. Its place is kept until it is dropped.
    pub(super) fn admit(self: &Arc<Self>, peer: NodeId) -> Result<Place, Refusal> {
        self.admission().check(peer)?;
        if !self.is_accepting() {
            return Err(Refusal::NotAccepting);
        }
        self.place().ok_or_else(|| {
            count(&self.common.counters.sessions_refused);
            Refusal::Full
        })
    }

    /// A place for one more session, if there is one.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let mut sessions = self.sessions();
        if sessions.by_id.len() + sessions.promised >= self.common.limits.max_sessions {
            return None;
        }
        sessions.promised += 1;
        Some(Place(Arc::clone(self)))
    }

    /// Takes a new session in. False if its id is taken, which is the sign of a peer that plays
    /// tricks or of a chance of one in 2^64.
    pub(super) fn session_started(&self, session: &Arc<SessionShared>) -> bool {
        // Events are emitted under the lock, so that their order is that of the table.
        let mut sessions = self.sessions();
        if sessions.by_id.contains_key(&session.id) {
            return false;
        }
        let peer = session.peer;
        let of_peer = sessions.of_peer.entry(peer).or_default();
        *of_peer += 1;
        let is_first = *of_peer == 1;
        sessions.by_id.insert(session.id, Arc::clone(session));
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
        // Its own task may have come to its end before it was in the table, and a peer can delay its
        // admission until it would be denied.
        if let Some(reason) = session.end_reason() {
            self.session_ended(session, &reason);
        } else if !session.initiator && self.admission().check(peer).is_err() {
            session.abort(CloseReason::Refused(Refusal::Denied));
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

    pub(super) fn session(&self, id: SessionId) -> Option<Arc<SessionShared>> {
        self.sessions().by_id.get(&id).cloned()
    }

    pub(super) fn all_sessions(&self) -> Vec<Arc<SessionShared>> {
        self.sessions().by_id.values().cloned().collect()
    }

    /// Sessions now, and ever.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.sessions().by_id.len(), self.total.load(Ordering::Relaxed))
    }

    // --- events ---

    pub(super) const fn events(&self) -> &EventEmitter {
        &self.events
    }

    /// Tells listeners of a peer's handshake that failed, unless very many do.
    pub(super) fn handshake_failed(&self, now: Instant, error: &WireError) {
        if self.failures.lock().unwrap_or_else(PoisonError::into_inner).try_take(now, 1) {
            self.events.emit(Event::Error { code: error.code(), details: error.to_string() });
        }
    }
}

impl SessionHost for Hub {
    fn session_ended(&self, session: &Arc<SessionShared>, reason: &CloseReason) {
        let mut sessions = self.sessions();
        // A session that was never taken in must not remove the one that has its id.
        match sessions.by_id.get(&session.id) {
            Some(known) if Arc::ptr_eq(known, session) => sessions.by_id.remove(&session.id),
            _ => return,
        };
        if !session.initiator {
            // Those that ended before anybody took them: forgotten together, not one by one.
            let mut begun = self.begun();
            if begun.len() > 64 + 2 * sessions.by_id.len() {
                begun.retain(|id| sessions.by_id.contains_key(id));
            }
        }
        let peer = session.peer;
        let left = sessions.of_peer.get_mut(&peer).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        let was_last = left == 0;
        if was_last {
            sessions.of_peer.remove(&peer);
        }
        if !session.is_outlived() {
            let reason = reason.clone();
            self.events.emit(Event::SessionClosed { session_id: session.id, peer, reason });
        }
        if was_last {
            self.events.emit(Event::PeerDisconnected { peer });
        }
    }

    fn outlive(&self, session: &Arc<SessionShared>) -> bool {
        let sessions = self.sessions();
        let lives =
            sessions.by_id.get(&session.id).is_some_and(|known| Arc::ptr_eq(known, session));
        if lives {
            session.set_outlived();
        }
        lives
    }

    fn heartbeat_missed(&self, session: &SessionShared, missed: u32, silence: Duration) {
        let (session_id, peer) = (session.id, session.peer);
        self.events.emit(Event::HeartbeatMissed { session_id, peer, missed, silence });
    }

    fn route_changed(&self, session: &SessionShared, from: Route, to: Route) {
        let (session_id, peer) = (session.id, session.peer);
        self.events.emit(Event::RouteChanged { session_id, peer, from, to });
    }

    fn warn(&self, code: &'static str, details: String) {
        self.events.emit(Event::Warning { code, details });
    }

    fn reclaim(&self) {
        count(&self.common.counters.send_windows_held_down);
        let now = Instant::now();
        let mut last = self.reclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|at| now.saturating_duration_since(at) < RECLAIM_EVERY) {
            return;
        }
        *last = Some(now);
        drop(last);
        for session in self.all_sessions() {
            session.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventKind;

    /// A member can fail as many handshakes as the door lets it begin.
    #[tokio::test]
    async fn a_flood_of_failed_handshakes_is_no_flood_of_events() {
        let events = EventEmitter::new();
        let mut heard = events.subscribe(EventKind::Error).unwrap();
        let (heartbeat, idle_timeout) = (Duration::from_secs(30), Duration::from_secs(90));
        let pulse = Pulse { heartbeat, idle_timeout };
        let (hub, _packets) =
            Hub::new(Limits::default(), true, events, Admission::default(), pulse);
        let now = Instant::now();
        for flood in 0..1_000 {
            hub.handshake_failed(now + Duration::from_millis(flood), &WireError::Closed);
        }
        // What is heard ends with the hub, when it was all taken.
        drop(hub);
        let mut count = 0;
        while heard.next().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 32);
    }
}
