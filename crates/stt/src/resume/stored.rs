//! What the log knows of sessions: what its entries add up to (RESUME-6). No I/O.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use stc::Key;

use super::{
    ResumeError,
    entry::Entry,
    machine::{Change, Item, Progress},
};
use crate::{NodeId, SessionId};

/// Bytes that a session is charged beside its messages.
const SESSION_BYTES: usize = 512;
/// Marks the numbers of sessions in entries of a snapshot.
const IN_SNAPSHOT: u64 = 1 << 63;
/// Attempts that one process makes at most: the next one begins above them.
const ATTEMPTS: u64 = 1 << 32;

/// Which side of a session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It dials, there.
    Dialled(String),
    Accepted,
}

/// The tickets of either side; one that dials has no successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) current: Key,
    pub(super) successor: Option<Key>,
    pub(super) attempt: u64,
}

/// Why a session went no further, as far as that outlives a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Finished = 1,
    Expired,
    Lost,
    Ticket,
    GivenUpByPeer,
    Broken,
}

impl Over {
    /// `None` for what the next process should try again.
    pub(super) const fn of(why: &ResumeError) -> Option<Self> {
        Some(match why {
            ResumeError::Finished => Self::Finished,
            ResumeError::Expired { .. } => Self::Expired,
            ResumeError::Lost => Self::Lost,
            ResumeError::Ticket => Self::Ticket,
            ResumeError::GivenUp { by_peer: true } => Self::GivenUpByPeer,
            ResumeError::Broken { .. } => Self::Broken,
            _ => return None,
        })
    }

    pub(super) const fn why(self, lifetime: Duration) -> ResumeError {
        match self {
            Self::Finished => ResumeError::Finished,
            Self::Expired => ResumeError::Expired { lifetime },
            Self::Lost => ResumeError::Lost,
            Self::Ticket => ResumeError::Ticket,
            Self::GivenUpByPeer => ResumeError::GivenUp { by_peer: true },
            Self::Broken => ResumeError::Broken { what: "it did so before this process began" },
        }
    }
}

/// One session as the disk has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) peer: NodeId,
    pub(super) id: SessionId,
    pub(super) role: Role,
    pub(super) keys: Keys,
    /// Position of the first item.
    pub(super) first: u64,
    /// Sent, and not committed by the peer.
    pub(super) items: VecDeque<Item>,
    pub(super) has_ended: bool,
    /// Of what the peer sends, the application has dealt with all before.
    pub(super) committed: u64,
    /// Position of the peer's end, once it is committed.
    pub(super) end: Option<u64>,
    /// When a link was there last, in milliseconds since 1970.
    pub(super) seen: u64,
    pub(super) over: Option<Over>,
}

impl Stored {
    /// One that begins.
    pub(super) const fn new(peer: NodeId, id: SessionId, role: Role, ticket: Key) -> Self {
        Self {
            peer,
            id,
            role,
            keys: Keys { current: ticket, successor: None, attempt: 0 },
            first: 0,
            items: VecDeque::new(),
            has_ended: false,
            committed: 0,
            end: None,
            seen: 0,
            over: None,
        }
    }

    /// How far the disk is.
    pub(super) fn progress(&self) -> Progress {
        let sent = self.first.saturating_add(self.items.len() as u64);
        Progress { sent, acknowledged: self.first, committed: self.committed }
    }

    /// Before the next process dials: it asks with attempts that were never used.
    pub(super) fn next_attempts(&mut self) {
        self.keys.attempt = self.keys.attempt.saturating_add(ATTEMPTS);
    }

    /// What is left of the lifetime at `now`, in milliseconds since 1970.
    pub(super) fn left(&self, lifetime: Duration, now: u64) -> Duration {
        lifetime.saturating_sub(Duration::from_millis(now.saturating_sub(self.seen)))
    }

    /// False if it does not follow from what was there.
    pub(super) fn change(&mut self, change: Change) -> bool {
        match change {
            Change::Sent { position, item } => {
                let follows = position == self.progress().sent && !self.has_ended;
                self.has_ended |= item == Item::End;
                self.items.push_back(item);
                follows
            }
            Change::Acknowledged { before } => {
                let known = (self.first..=self.progress().sent).contains(&before);
                while self.first < before && self.items.pop_front().is_some() {
                    self.first += 1;
                }
                known
            }
            Change::Committed { before, end } => {
                let follows = before >= self.committed;
                (self.committed, self.end) = (before, end);
                follows
            }
        }
    }
}

/// An entry does not follow from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inconsistent;

/// All sessions of a log.
#[derive(Clone, Debug)]
pub(super) struct Book {
    sessions: BTreeMap<u64, Stored>,
    /// A snapshot that is not whole yet.
    snapshot: Option<BTreeMap<u64, Stored>>,
    /// Whether all that came before is known.
    is_known: bool,
    next: u64,
}

impl Book {
    /// `is_whole`: the log begins with its first record. Otherwise a snapshot is in what is left.
    pub(super) const fn new(is_whole: bool) -> Self {
        Self { sessions: BTreeMap::new(), snapshot: None, is_known: is_whole, next: 0 }
    }

    /// Whether it knows all that counts.
    pub(super) const fn is_known(&self) -> bool {
        self.is_known
    }

    pub(super) const fn sessions(&self) -> &BTreeMap<u64, Stored> {
        &self.sessions
    }

    /// A number that no session has.
    pub(super) const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Bytes that it holds, about as many as a snapshot takes.
    pub(super) fn bytes(&self) -> usize {
        let items = |stored: &Stored| stored.items.iter().map(Item::charge).sum::<usize>();
        self.sessions.values().map(|stored| SESSION_BYTES + items(stored)).sum()
    }

    /// Takes in what was read at the end so far; `time` is in milliseconds since 1970.
    pub(super) fn apply(
        &mut self,
        number: u64,
        entry: Entry,
        time: u64,
    ) -> Result<(), Inconsistent> {
        match (&entry, number & IN_SNAPSHOT) {
            (Entry::SnapshotBegins, _) => {
                self.snapshot = Some(BTreeMap::new());
                Ok(())
            }
            (Entry::SnapshotIsWhole, _) => {
                self.sessions = self.snapshot.take().ok_or(Inconsistent)?;
                self.is_known = true;
                Ok(())
            }
            (_, 0) => {
                // A snapshot that was not finished counts for nothing.
                self.snapshot = None;
                if !self.is_known {
                    return Ok(());
                }
                self.next = self.next.max(number.saturating_add(1));
                Self::enter(&mut self.sessions, number, entry, Some(time))
            }
            _ => {
                let number = number & !IN_SNAPSHOT;
                self.next = self.next.max(number.saturating_add(1));
                let snapshot = self.snapshot.as_mut().ok_or(Inconsistent)?;
                Self::enter(snapshot, number, entry, None)
            }
        }
    }

    fn enter(
        sessions: &mut BTreeMap<u64, Stored>,
        number: u64,
        entry: Entry,
        time: Option<u64>,
    ) -> Result<(), Inconsistent> {
        if let Entry::Session(mut stored) = entry {
            stored.seen = time.unwrap_or(stored.seen);
            let before = sessions.insert(number, *stored);
            return if before.is_none() { Ok(()) } else { Err(Inconsistent) };
        }
        if entry == Entry::Gone {
            sessions.remove(&number);
            return Ok(());
        }
        // Its task may say something once more after it was forgotten.
        let Some(stored) = sessions.get_mut(&number) else { return Ok(()) };
        let is_sign_of_life = matches!(entry, Entry::Keys(_) | Entry::Seen);
        if let (true, Some(time)) = (is_sign_of_life, time) {
            stored.seen = time;
        }
        match entry {
            Entry::Keys(keys) => stored.keys = keys,
            Entry::Attempt(attempt) => stored.keys.attempt = attempt,
            Entry::Address(address) => stored.role = Role::Dialled(address),
            Entry::Change(change) => {
                return stored.change(change).then_some(()).ok_or(Inconsistent);
            }
            Entry::Over(over) => stored.over = Some(over),
            _ => {}
        }
        Ok(())
    }

    /// The records of a snapshot, as [`encode`](super::entry::encode) wants them.
    pub(super) fn snapshot(&self) -> impl Iterator<Item = (u64, Entry)> + '_ {
        let sessions = self.sessions.iter().flat_map(|(number, stored)| {
            let number = number | IN_SNAPSHOT;
            let items = (stored.first..).zip(&stored.items).map(move |(position, item)| {
                let item = item.clone();
                (number, Entry::Change(Change::Sent { position, item }))
            });
            let has_end = stored.items.back() == Some(&Item::End);
            let bare = Stored {
                items: VecDeque::new(),
                // Its own entry says so again.
                has_ended: stored.has_ended && !has_end,
                role: stored.role.clone(),
                keys: stored.keys.clone(),
                ..*stored
            };
            std::iter::once((number, Entry::Session(Box::new(bare)))).chain(items)
        });
        std::iter::once((0, Entry::SnapshotBegins))
            .chain(sessions)
            .chain(std::iter::once((0, Entry::SnapshotIsWhole)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{
        super::entry::{decode, encode},
        *,
    };

    fn message(position: u64) -> Entry {
        let data = Bytes::copy_from_slice(&position.to_be_bytes());
        Entry::Change(Change::Sent { position, item: Item::Message { stream: 1, data } })
    }

    fn begun(id: u8) -> Entry {
        let ids = (NodeId::from_bytes([id; 32]), SessionId::from_bytes([id; 8]));
        let ticket = Key::from_bytes([id; 32]);
        Entry::Session(Box::new(Stored::new(ids.0, ids.1, Role::Accepted, ticket)))
    }

    #[test]
    fn a_snapshot_is_the_same_and_counts_once_it_is_whole() {
        let mut book = Book::new(true);
        for id in [1, 2, 3] {
            let number = book.number();
            book.apply(number, begun(id), 7).unwrap();
            for position in 0..u64::from(id) {
                book.apply(number, message(position), 8).unwrap();
            }
        }
        let end = Change::Sent { position: 3, item: Item::End };
        book.apply(2, Entry::Change(end), 9).unwrap();
        book.apply(0, Entry::Change(Change::Acknowledged { before: 1 }), 9).unwrap();
        book.apply(1, Entry::Gone, 9).unwrap();
        let snapshot: Vec<_> = book.snapshot().map(|(n, entry)| encode(n, &entry)).collect();
        for cut in 0..=snapshot.len() {
            // From the beginning of the log, and without what was there before.
            let (mut after, mut trimmed) = (book.clone(), Book::new(false));
            trimmed.apply(9, message(5), 1).unwrap();
            for record in &snapshot[..cut] {
                let (number, entry) = decode(record.clone()).unwrap();
                after.apply(number, entry.clone(), 99).unwrap();
                trimmed.apply(number, entry, 99).unwrap();
            }
            assert_eq!(after.sessions, book.sessions, "cut after {cut}");
            assert_eq!(trimmed.is_known(), cut == snapshot.len());
            if trimmed.is_known() {
                assert_eq!(trimmed.sessions, book.sessions);
                assert_eq!(trimmed.number(), 3);
            }
            // The next process writes on.
            after.apply(0, message(1), 100).unwrap();
            assert_eq!(after.sessions[&0].items.len(), 1);
            assert!(after.snapshot.is_none());
        }
    }

    #[test]
    fn what_does_not_follow_is_seen() {
        let mut book = Book::new(true);
        book.apply(0, begun(1), 1).unwrap();
        assert_eq!(book.clone().apply(0, begun(2), 1), Err(Inconsistent));
        assert_eq!(book.clone().apply(0, message(1), 1), Err(Inconsistent));
        let ahead = Entry::Change(Change::Acknowledged { before: 1 });
        assert_eq!(book.clone().apply(0, ahead, 1), Err(Inconsistent));
        assert_eq!(book.clone().apply(0, Entry::SnapshotIsWhole, 1), Err(Inconsistent));
        assert_eq!(book.apply(7, message(4), 1), Ok(()), "it was forgotten");
    }
}
