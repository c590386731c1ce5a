//! The side that is dialled: beginning sessions, and going on with those that were cut.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    ResumeError, ResumeOptions,
    entry::Entry as Record,
    frame::{Frame, Refused},
    journal::Journal,
    link::{self, LinkEnd, broken, first},
    machine::Machine,
    shared::{Kept, Shared},
    stored::{Keys, Role, Stored},
    tokens::{Asked, EXPORT, Holder},
};
use crate::{
    EventEmitter, NodeId, ProtocolReceiver, ProtocolSender, ProtocolStream, Session, SessionId,
};

/// By peer and session.
type Entries = HashMap<(NodeId, SessionId), Arc<Entry>>;

/// How long a stream may be silent before it says what it wants.
const FIRST_FRAME: Duration = Duration::from_secs(10);

/// One session, and the tickets for it.
#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    /// Held until a link is attached: attempts take effect in the order of their checks.
    holder: tokio::sync::Mutex<Holder>,
}

/// The sessions that peers began here, by peer and id. Bounded.
#[derive(Debug)]
pub(super) struct Sessions {
    options: ResumeOptions,
    events: EventEmitter,
    entries: Mutex<Entries>,
    /// Changes with the entries locked.
    is_closed: AtomicBool,
    journal: Option<Arc<Journal>>,
}

type Ends = (ProtocolSender, ProtocolReceiver);

/// The way to whoever accepts.
pub(super) type Begun = mpsc::Sender<Arc<Shared>>;

impl Sessions {
    pub(super) fn new(
        options: ResumeOptions,
        events: EventEmitter,
        journal: Option<Arc<Journal>>,
    ) -> Self {
        let (entries, is_closed) = (Mutex::default(), AtomicBool::new(false));
        Self { options, events, entries, is_closed, journal }
    }

    pub(super) const fn journal(&self) -> Option<&Arc<Journal>> {
        self.journal.as_ref()
    }

    /// Takes in a session that a process before this one left: its peer has so long to come back.
    pub(super) fn restore(self: &Arc<Self>, shared: &Arc<Shared>, keys: &Keys, left: Duration) {
        let holder = tokio::sync::Mutex::new(Holder::of_disk(keys));
        let entry = Arc::new(Entry { shared: Arc::clone(shared), holder });
        self.entries().insert((shared.peer, shared.id), Arc::clone(&entry));
        self.wait_for_peer(&entry, 0, left);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one stream of a peer until its end.
    pub(super) async fn serve(
        self: Arc<Self>,
        begun: Begun,
        session: Session,
        stream: ProtocolStream,
    ) {
        stream.set_max_frame_size(self.options.max_frame());
        let (sender, receiver) = stream.into_split();
        let asked = match first(&receiver, FIRST_FRAME).await {
            Ok(Some(frame)) => frame,
            _ => return,
        };
        let found = match asked {
            Frame::Open => self.begin(&begun, &session).await,
            Frame::Resume { id, attempt, at, proof } => {
                self.go_on(&session, Asked { id, attempt, at }, proof).await
            }
            _ => Err(Refused::Broken),
        };
        // Only who may still begin one keeps `accept` waiting.
        drop(begun);
        match found {
            Ok((entry, link, answer)) => {
                if sender.send(answer.encode()).await.is_err() {
                    entry.shared.with(|machine| {
                        if machine.has_link(link) {
                            machine.detach();
                        }
                    });
                    self.cut(&entry);
                    return;
                }
                self.carry(&entry, link, (sender, receiver)).await;
            }
            Err(refused) => {
                // Whoever was refused need not be waited for.
                let _ = sender.send(Frame::Refused(refused).encode()).await;
                let _ = tokio::time::timeout(FIRST_FRAME, sender.close()).await;
            }
        }
    }

    async fn begin(
        &self,
        begun: &Begun,
        session: &Session,
    ) -> Result<(Arc<Entry>, u64, Frame), Refused> {
        let key = (session.peer_node_id(), session.id());
        // Without a place the application has too many to look at already.
        let place = begun.try_reserve().map_err(|_| Refused::Full)?;
        let ticket = session.export(EXPORT);
        let stored = Stored::new(key.0, key.1, Role::Accepted, ticket.clone());
        let entry = {
            let mut entries = self.entries();
            if self.is_closed.load(Ordering::Relaxed) {
                return Err(Refused::Away);
            }
            let is_full = |entries: &Entries| {
                let of_peer = entries.keys().filter(|(peer, _)| *peer == key.0).count();
                of_peer >= self.options.max_sessions_per_peer
                    || entries.len() >= self.options.max_sessions
            };
            if is_full(&entries) {
                // Those that finished only answer a peer that has not heard so yet.
                entries.retain(|_, entry| {
                    let is_finished = matches!(entry.shared.ended(), Some(ResumeError::Finished));
                    if is_finished {
                        entry.shared.forget();
                    }
                    !is_finished
                });
            }
            if is_full(&entries) || self.is_disk_full() {
                return Err(Refused::Full);
            }
            if entries.contains_key(&key) {
                return Err(Refused::Broken);
            }
            let kept = self.journal.as_ref();
            let kept = kept.map(|journal| Kept::new(Arc::clone(journal), journal.number()));
            let bounds = self.options.bounds;
            let machine = match &kept {
                Some(_) => Machine::of_disk(bounds, &stored),
                None => Machine::new(bounds),
            };
            let ids = (key.1, key.0, None);
            let shared = Shared::new(ids, machine, kept, self.options, self.events.clone());
            let holder = tokio::sync::Mutex::new(Holder::new(ticket));
            let entry = Arc::new(Entry { shared, holder });
            entries.insert(key, Arc::clone(&entry));
            entry
        };
        if let Some(Kept { journal, number, .. }) = entry.shared.kept() {
            // The peer counts on it from the answer on.
            let written = journal.write(*number, Record::Session(Box::new(stored))).await;
            if written.is_err() {
                self.entries().remove(&key);
                return Err(Refused::Away);
            }
        }
        let at = entry.shared.machine().positions();
        let link = entry.shared.with(|machine| machine.attach(at, at));
        let link = link.map_err(|_| Refused::Broken)?;
        entry.shared.connected(session.clone(), true);
        place.send(Arc::clone(&entry.shared));
        Ok((entry, link, Frame::Accepted { at, proof: [0; 32] }))
    }

    /// Sessions that are over may hold what nobody took yet.
    fn is_disk_full(&self) -> bool {
        let most = self.options.max_sessions.saturating_mul(2);
        self.journal.as_ref().is_some_and(|journal| journal.kept() >= most)
    }

    async fn go_on(
        &self,
        session: &Session,
        asked: Asked,
        proof: [u8; 32],
    ) -> Result<(Arc<Entry>, u64, Frame), Refused> {
        let key = (session.peer_node_id(), asked.id);
        let entry = self.entries().get(&key).cloned().ok_or(Refused::Unknown)?;
        let export = session.export(EXPORT);
        let mut holder = entry.holder.lock().await;
        let accepted = holder.check(&asked, &export, proof).ok_or(Refused::Ticket)?;
        // From the answer on the peer may have nothing but the next ticket.
        if entry.shared.keep_keys(holder.keys()).await.is_err() {
            return Err(Refused::Away);
        }
        let attached = entry.shared.with(|machine| {
            if entry.shared.ended().is_some_and(|why| why.is_for_later()) {
                return Ok(None);
            }
            machine.detach();
            let at = machine.positions();
            let link = machine.attach(asked.at, at)?;
            // The one before is cut, whether it knew or not.
            entry.shared.suspended();
            entry.shared.connected(session.clone(), false);
            Ok(Some((link, at)))
        });
        drop(holder);
        let (link, at) = match attached {
            Ok(Some(attached)) => attached,
            Ok(None) => return Err(Refused::Away),
            Err(why) => {
                self.over(&entry, broken(why));
                return Err(Refused::Broken);
            }
        };
        Ok((entry, link, Frame::Accepted { at, proof: accepted.answer(at, &export) }))
    }

    async fn carry(self: Arc<Self>, entry: &Arc<Entry>, link: u64, ends: Ends) {
        let seen = || {
            // A frame of a link before says nothing of the newest ticket. While somebody holds it
            // there is a newer attempt, and both tickets may count for a while longer.
            if let Ok(mut holder) = entry.holder.try_lock()
                && entry.shared.machine().has_link(link)
            {
                holder.used();
            }
        };
        match link::run(&entry.shared, link, ends, seen).await {
            LinkEnd::Finished | LinkEnd::Cut => {
                // The peer may not know yet, and ask again, or never come again because it does:
                // the entry stays until it expires.
                if entry.shared.machine().is_finished() {
                    entry.shared.end(ResumeError::Finished);
                }
                self.cut(entry);
            }
            LinkEnd::Over(why) => self.over(entry, why),
        }
    }

    /// Nothing carries it: the peer has its lifetime to come back.
    fn cut(self: &Arc<Self>, entry: &Arc<Entry>) {
        let links = {
            let machine = entry.shared.machine();
            if machine.is_attached() {
                return;
            }
            // Told under the lock: whoever attaches next says that it is connected after this.
            entry.shared.suspended();
            machine.links()
        };
        self.wait_for_peer(entry, links, self.options.lifetime);
    }

    fn wait_for_peer(self: &Arc<Self>, entry: &Arc<Entry>, links: u64, left: Duration) {
        let (sessions, entry) = (Arc::downgrade(self), Arc::clone(entry));
        tokio::spawn(async move { expire(&sessions, &entry, links, left).await });
    }

    fn over(&self, entry: &Entry, why: ResumeError) {
        if matches!(entry.shared.ended(), Some(ResumeError::Finished)) {
            entry.shared.forget();
        }
        entry.shared.end(why);
        self.entries().remove(&(entry.shared.peer, entry.shared.id));
    }

    /// Takes in nothing any more, and gives up what lies in memory.
    pub(super) fn close(&self) {
        let entries = {
            let mut entries = self.entries();
            self.is_closed.store(true, Ordering::Relaxed);
            std::mem::take(&mut *entries)
        };
        for entry in entries.into_values() {
            entry.shared.give_up();
        }
    }

    /// The application has dropped the session.
    pub(super) fn forget(&self, shared: &Shared) {
        // What finished answers a peer that has not heard so yet.
        if !shared.machine().is_finished() {
            self.entries().remove(&(shared.peer, shared.id));
        }
    }
}

async fn expire(sessions: &Weak<Sessions>, entry: &Arc<Entry>, links: u64, left: Duration) {
    let lifetime = entry.shared.options.lifetime;
    let deadline = tokio::time::sleep(left);
    let mut deadline = std::pin::pin!(deadline);
    loop {
        let mut changed = std::pin::pin!(entry.shared.changed.notified());
        changed.as_mut().enable();
        if entry.shared.machine().links() != links {
            return;
        }
        if entry.shared.ended().is_some_and(|why| !matches!(why, ResumeError::Finished)) {
            return;
        }
        tokio::select! {
            () = changed => {}
            () = &mut deadline => break,
        }
    }
    if let Some(sessions) = sessions.upgrade() {
        sessions.over(entry, ResumeError::Expired { lifetime });
    }
}
