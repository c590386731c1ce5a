//! The rules of one end: what it keeps, what it puts on a link, what it takes. No clock, no I/O.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{frame::Frame, stored::Stored};

/// Bytes that a message is charged beside its own.
pub(super) const ENTRY_BYTES: usize = 128;

/// How far one end has come with what the other one sends: positions count from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Positions {
    /// It has all before this one, and takes this one next.
    pub(super) received: u64,
    /// Its application has dealt with all before this one.
    pub(super) committed: u64,
}

/// What takes a position.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    Message {
        stream: u32,
        data: Bytes,
    },
    /// Nothing follows.
    End,
}

impl Item {
    pub(super) fn charge(&self) -> usize {
        match self {
            Self::Message { data, .. } => data.len().saturating_add(ENTRY_BYTES),
            Self::End => ENTRY_BYTES,
        }
    }
}

/// A message with its position.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Received {
    pub(super) position: u64,
    pub(super) stream: u32,
    pub(super) data: Bytes,
}

/// What the application gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Message(Received),
    /// The peer sends nothing more.
    End,
    /// Nothing is there yet.
    Nothing,
}

/// Why a message was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The peer has to commit first.
    Full,
    /// This end said that nothing follows.
    Ended,
}

/// What the peer did that no peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It forgot what it had committed.
    Forgot,
    /// It claims to have what it was never sent.
    NeverSent,
    /// Its messages do not follow each other.
    OutOfOrder,
}

/// What a disk is to keep.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Sent {
        position: u64,
        item: Item,
    },
    /// The peer has committed all before.
    Acknowledged {
        before: u64,
    },
    /// The application has dealt with all before; the peer's end, if that is among it.
    Committed {
        before: u64,
        end: Option<u64>,
    },
}

impl Change {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Sent { item, .. } => item.charge(),
            Self::Acknowledged { .. } | Self::Committed { .. } => 0,
        }
    }
}

/// How far something has come: each is the position before which all is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) committed: u64,
}

/// How far the disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Disk {
    /// It was handed so much.
    under_way: Progress,
    /// So much is synced.
    synced: Progress,
}

/// Bounds of what is held, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounds {
    /// Sent and not committed by the peer.
    pub(super) outbox: usize,
    /// Arrived and not taken by the application. One message more may be held, or one batch.
    pub(super) inbox: usize,
}

/// One end of a resumable session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    bounds: Bounds,
    outbox: VecDeque<Item>,
    outbox_bytes: usize,
    /// Position of the first in the outbox: the peer committed all before.
    first: u64,
    /// Position of what goes onto the link next.
    cursor: u64,
    has_ended: bool,
    inbox: VecDeque<Received>,
    inbox_bytes: usize,
    /// Position of what comes from the peer next.
    received: u64,
    /// One above the last message that the application took.
    taken: u64,
    committed: u64,
    /// What the peer was told of `committed` on this link.
    told: u64,
    /// Position of the peer's end.
    end: Option<u64>,
    link: Option<u64>,
    links: u64,
    /// `None` without one: then nothing waits for it.
    disk: Option<Disk>,
}

impl Machine {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            first: 0,
            cursor: 0,
            has_ended: false,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            received: 0,
            taken: 0,
            committed: 0,
            told: 0,
            end: None,
            link: None,
            links: 0,
            disk: None,
        }
    }

    /// Goes on with what a disk has, which is to keep what comes: the peer hears of nothing else.
    pub(super) fn of_disk(bounds: Bounds, stored: &Stored) -> Self {
        let synced = stored.progress();
        Self {
            outbox: stored.items.clone(),
            outbox_bytes: stored.items.iter().map(Item::charge).sum(),
            first: stored.first,
            cursor: stored.first,
            has_ended: stored.has_ended,
            received: stored.committed,
            taken: stored.committed,
            committed: stored.committed,
            told: stored.committed,
            end: stored.end,
            disk: Some(Disk { under_way: synced, synced }),
            ..Self::new(bounds)
        }
    }

    // --- the disk ---

    fn progress(&self) -> Progress {
        let Self { first: acknowledged, committed, .. } = *self;
        Progress { sent: self.last(), acknowledged, committed }
    }

    /// What outlives this process; without a disk all of it counts as such.
    pub(super) fn synced(&self) -> Progress {
        self.disk.map_or_else(|| self.progress(), |disk| disk.synced)
    }

    /// Whether [`changes`](Self::changes) has something.
    pub(super) fn has_changes(&self) -> bool {
        self.disk.is_some_and(|disk| disk.under_way != self.progress())
    }

    /// What the disk is to keep next: messages until they have `max_bytes`, at least one. Once it
    /// is synced, [`on_disk`](Self::on_disk) is told how far that is.
    pub(super) fn changes(&mut self, max_bytes: usize) -> (Vec<Change>, Progress) {
        let (now, mut changes, mut bytes) = (self.progress(), Vec::new(), 0_usize);
        let Some(disk) = &mut self.disk else { return (changes, now) };
        let Progress { acknowledged, committed, .. } = now;
        if disk.under_way.acknowledged < acknowledged {
            changes.push(Change::Acknowledged { before: acknowledged });
        }
        if disk.under_way.committed < committed {
            let end = self.end.filter(|end| committed > *end);
            changes.push(Change::Committed { before: committed, end });
        }
        let mut position = disk.under_way.sent;
        let index = usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for item in self.outbox.iter().skip(index) {
            if bytes >= max_bytes {
                break;
            }
            bytes = bytes.saturating_add(item.charge());
            changes.push(Change::Sent { position, item: item.clone() });
            position += 1;
        }
        disk.under_way = Progress { sent: position, ..now };
        (changes, disk.under_way)
    }

    /// So much is synced.
    pub(super) const fn on_disk(&mut self, synced: Progress) {
        if let Some(disk) = &mut self.disk {
            disk.synced = synced;
        }
    }

    // --- the application ---

    /// Keeps an item until the peer committed it, and returns its position.
    pub(super) fn push(&mut self, item: Item) -> Result<u64, Unsent> {
        if self.has_ended {
            return Err(Unsent::Ended);
        }
        let bytes = self.outbox_bytes.saturating_add(item.charge());
        // The end has room in any case: it is one.
        if bytes > self.bounds.outbox && !self.outbox.is_empty() && item != Item::End {
            return Err(Unsent::Full);
        }
        let position = self.last();
        self.has_ended = item == Item::End;
        self.outbox_bytes = bytes;
        self.outbox.push_back(item);
        Ok(position)
    }

    /// One above the last position that was given away.
    pub(super) fn last(&self) -> u64 {
        self.first.saturating_add(self.outbox.len() as u64)
    }

    /// The next message, in order.
    pub(super) fn take(&mut self) -> Taken {
        if let Some(message) = self.inbox.pop_front() {
            self.inbox_bytes -= message.data.len() + ENTRY_BYTES;
            self.taken = message.position.saturating_add(1);
            return Taken::Message(message);
        }
        match self.end {
            Some(end) if self.taken >= end => {
                self.taken = end.saturating_add(1);
                self.commit_end();
                Taken::End
            }
            _ => Taken::Nothing,
        }
    }

    /// The application has dealt with all messages up to this one. False if it was never given it.
    pub(super) fn commit(&mut self, position: u64) -> bool {
        if position >= self.taken || self.end.is_some_and(|end| position >= end) {
            return false;
        }
        self.committed = self.committed.max(position.saturating_add(1));
        self.commit_end();
        true
    }

    /// The end needs nobody who deals with it.
    fn commit_end(&mut self) {
        if let Some(end) = self.end
            && self.committed == end
            && self.taken > end
        {
            self.committed = end.saturating_add(1);
        }
    }

    /// The peer has committed all before this position.
    pub(super) const fn acknowledged(&self) -> u64 {
        self.first
    }

    /// Bytes that wait for the peer's commit.
    pub(super) const fn unacknowledged_bytes(&self) -> usize {
        self.outbox_bytes
    }

    /// Hands out what the peer has not committed, and forgets it.
    pub(super) fn give_back(&mut self) -> Vec<(u64, u32, Bytes)> {
        let from = self.first;
        let messages = std::mem::take(&mut self.outbox).into_iter();
        // Nothing more is written; what the disk has stays there until it is told to forget it.
        self.disk = None;
        self.outbox_bytes = 0;
        self.has_ended = true;
        let message = |(position, item)| match item {
            Item::Message { stream, data } => Some((position, stream, data)),
            Item::End => None,
        };
        (from..).zip(messages).filter_map(message).collect()
    }

    /// Whether both ends said that nothing follows, and each application dealt with all.
    pub(super) fn is_finished(&self) -> bool {
        let committed = self.synced().committed;
        self.has_ended && self.outbox.is_empty() && self.end.is_some_and(|end| committed > end)
    }

    /// Position of the message that [`take`](Self::take) gives next.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    // --- links ---

    /// What the peer is told when a link begins.
    pub(super) fn positions(&self) -> Positions {
        Positions { received: self.received, committed: self.synced().committed }
    }

    /// Nothing more goes over the link before: what comes from it counts for nothing.
    pub(super) const fn detach(&mut self) {
        self.link = None;
    }

    /// Whether a link is there.
    pub(super) const fn is_attached(&self) -> bool {
        self.link.is_some()
    }

    /// How many links there were.
    pub(super) const fn links(&self) -> u64 {
        self.links
    }

    /// Whether this is the link.
    pub(super) fn has_link(&self, link: u64) -> bool {
        self.link == Some(link)
    }

    /// A link begins: the peer is at `peer`, and was told `told`. Returns the number of the link.
    pub(super) fn attach(&mut self, peer: Positions, told: Positions) -> Result<u64, Broken> {
        if peer.committed < self.first {
            return Err(Broken::Forgot);
        }
        if peer.received > self.synced().sent || peer.committed > peer.received {
            return Err(Broken::NeverSent);
        }
        self.forget(peer.committed);
        self.cursor = peer.received;
        self.told = told.committed;
        self.links += 1;
        self.link = Some(self.links);
        Ok(self.links)
    }

    fn forget(&mut self, committed: u64) {
        while self.first < committed
            && let Some(item) = self.outbox.pop_front()
        {
            self.outbox_bytes -= item.charge();
            self.first += 1;
        }
    }

    /// What goes onto the link next. The caller owns the link.
    pub(super) fn next_frame(&mut self, link: u64) -> Option<Frame> {
        self.next_commit(link).or_else(|| self.next_item(link))
    }

    /// How many commits the peer was not told of; all that it can be told of.
    pub(super) fn pending_commits(&self) -> u64 {
        self.synced().committed.saturating_sub(self.told)
    }

    /// Whether all that the peer sends is committed: nobody waits for more commits.
    pub(super) fn has_committed_all(&self) -> bool {
        self.end.is_some_and(|end| self.synced().committed > end)
    }

    fn next_commit(&mut self, link: u64) -> Option<Frame> {
        let committed = self.synced().committed;
        if self.link != Some(link) || self.told >= committed {
            return None;
        }
        self.told = committed;
        Some(Frame::Committed { before: committed })
    }

    /// As [`next_frame`](Self::next_frame), while the peer is not told of commits.
    pub(super) fn next_item(&mut self, link: u64) -> Option<Frame> {
        if self.link != Some(link) {
            return None;
        }
        let sent = self.synced().sent;
        // A peer that has what this end forgets in a crash would be ahead of it.
        if self.cursor >= sent {
            return None;
        }
        let index = usize::try_from(self.cursor.checked_sub(self.first)?).ok()?;
        let item = self.outbox.get(index)?.clone();
        let position = self.cursor;
        self.cursor += 1;
        Some(match item {
            Item::Message { stream, data } => Frame::Message { position, stream, data },
            Item::End => Frame::End { position },
        })
    }

    /// Whether all that was sent went onto the link: nothing is written until more comes.
    pub(super) fn is_all_written(&self) -> bool {
        self.cursor == self.last()
    }

    /// Whether another frame may be read from the link.
    pub(super) const fn has_room(&self) -> bool {
        self.inbox_bytes < self.bounds.inbox
    }

    /// Takes a frame from a link; one from a link that is gone counts for nothing.
    pub(super) fn frame(&mut self, link: u64, frame: Frame) -> Result<(), Broken> {
        if self.link != Some(link) {
            return Ok(());
        }
        match frame {
            Frame::Committed { before } => {
                if before > self.cursor {
                    return Err(Broken::NeverSent);
                }
                if before < self.first {
                    return Err(Broken::Forgot);
                }
                self.forget(before);
                Ok(())
            }
            Frame::Message { position, stream, data } => {
                self.next_position(position)?;
                self.inbox_bytes = self.inbox_bytes.saturating_add(data.len() + ENTRY_BYTES);
                self.inbox.push_back(Received { position, stream, data });
                Ok(())
            }
            Frame::End { position } => {
                self.next_position(position)?;
                self.end = Some(position);
                Ok(())
            }
            _ => Err(Broken::OutOfOrder),
        }
    }

    fn next_position(&mut self, position: u64) -> Result<(), Broken> {
        if position != self.received || self.end.is_some() {
            return Err(Broken::OutOfOrder);
        }
        self.received += 1;
        Ok(())
    }
}
