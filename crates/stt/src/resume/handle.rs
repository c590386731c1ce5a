//! What applications hold of a resumable session.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    ResumeError, ResumeState,
    continuity::Inner,
    entry::Entry,
    machine::{Item, Machine, Taken, Unsent},
    pace,
    shared::Shared,
};
use crate::{IntoAddress, NodeId, Payload, Session, SessionId};

/// A message of a resumable session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResumedMessage {
    /// Its number among all that the peer sends, from 0.
    pub position: u64,
    /// The number of a stream, as the sender said; it survives every cut.
    pub stream: u32,
    /// What was sent.
    pub data: Bytes,
}

/// A session that survives what carries it.
///
/// Clones are the same session. When the last one is dropped, one that is kept in memory is given
/// up; one that is kept on a disk is let go of ([`ResumeError::Left`]), and goes on when its log is
/// opened again.
#[derive(Clone, Debug)]
pub struct ResumableSession {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // One that was through ends by itself, and says so.
        let is_kept = self.shared.kept().is_some();
        if !self.shared.machine().is_finished() {
            self.shared.end(if is_kept {
                ResumeError::Left
            } else {
                ResumeError::GivenUp { by_peer: false }
            });
        }
        if !is_kept {
            self.inner.forget(&self.shared);
        }
    }
}

impl ResumableSession {
    pub(super) fn new(shared: Arc<Shared>, inner: Arc<Inner>) -> Self {
        Self { handle: Arc::new(Handle { shared, inner }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Its id: that of the sealed session that carried it first. Both sides know it, and it stays.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.shared().id
    }

    /// The node at its other end.
    #[must_use]
    pub fn peer_node_id(&self) -> NodeId {
        self.shared().peer
    }

    /// The sealed session that carries it; `None` while none does.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.shared().session()
    }

    /// How it is, and whoever it tells when that changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ResumeState> {
        self.shared().states()
    }

    /// Sends a message on stream 0: [`send_on`](Self::send_on).
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, data: impl Payload) -> Result<u64, ResumeError> {
        self.send_on(0, data).await
    }

    /// Keeps a message for the peer, whether it is connected or not, and returns its position.
    /// Waits while too much is not committed. A message is kept until the peer's application
    /// committed it.
    ///
    /// # Cancel safety
    /// A dropped future has sent all of it or nothing.
    ///
    /// # Errors
    /// [`ResumeError::TooLarge`], [`ResumeError::Closed`], or why the session is over.
    pub async fn send_on(&self, stream: u32, data: impl Payload) -> Result<u64, ResumeError> {
        let data = data.into_bytes();
        self.until(|| match self.try_send_on(stream, data.clone()) {
            Err(ResumeError::Full { .. }) => None,
            sent => Some(sent),
        })
        .await
    }

    /// As [`send_on`](Self::send_on), without waiting.
    ///
    /// # Errors
    /// [`ResumeError::Full`]; as [`send_on`](Self::send_on).
    pub fn try_send_on(&self, stream: u32, data: impl Payload) -> Result<u64, ResumeError> {
        let (data, options) = (data.into_bytes(), &self.shared().options);
        let limit = options.max_message;
        if data.len() > limit {
            return Err(ResumeError::TooLarge { got: data.len(), limit });
        }
        if let Some(why) = self.shared().ended() {
            return Err(why);
        }
        let pushed = self.shared().with_quietly(|machine| {
            // A link that is behind looks again by itself, and what a disk keeps waits for it.
            let is_news = machine.is_all_written();
            let pushed = machine.push(Item::Message { stream, data });
            let pushed = pushed.map_err(|unsent| (unsent, machine.unacknowledged_bytes()));
            pushed.map(|position| (position, is_news))
        });
        match pushed {
            Ok((position, is_news)) => {
                if is_news {
                    self.shared().to_write.notify_waiters();
                }
                Ok(position)
            }
            Err((Unsent::Full, waiting)) => {
                Err(ResumeError::Full { waiting, limit: options.bounds.outbox })
            }
            Err((Unsent::Ended, _)) => Err(ResumeError::Closed),
        }
    }

    /// Waits until the message at `position`, and all before, outlives this process and a loss of
    /// power: it is synced to the disk. Only then it goes to the peer.
    ///
    /// # Errors
    /// [`ResumeError::InMemory`] for a session that no disk keeps; why the session is over.
    pub async fn durable(&self, position: u64) -> Result<(), ResumeError> {
        self.synced(|machine| machine.synced().sent > position).await
    }

    /// Waits until the [`commit`](Self::commit) of the message at `position` is synced to the disk:
    /// from now on it is not handed out again, whatever happens to this process.
    ///
    /// # Errors
    /// [`ResumeError::InMemory`] for a session that no disk keeps; why the session is over.
    pub async fn committed(&self, position: u64) -> Result<(), ResumeError> {
        self.synced(|machine| machine.synced().committed > position).await
    }

    async fn synced(&self, is_there: impl Fn(&Machine) -> bool) -> Result<(), ResumeError> {
        if self.shared().kept().is_none() {
            return Err(ResumeError::InMemory);
        }
        self.until(|| {
            if is_there(&self.shared().machine()) {
                return Some(Ok(()));
            }
            self.shared().ended().map(Err)
        })
        .await
    }

    /// The position that the next message gets. After a restart: how many messages the disk has,
    /// those included that the peer has committed.
    #[must_use]
    pub fn next_sent(&self) -> u64 {
        self.shared().machine().last()
    }

    /// The position of the message that [`receive`](Self::receive) gives next. After a restart: the
    /// one behind the last commit that was synced.
    #[must_use]
    pub fn next_received(&self) -> u64 {
        self.shared().machine().taken()
    }

    /// Dials the peer at `address` from the next attempt on, also after a restart: for a peer that
    /// is elsewhere now, or another route.
    ///
    /// # Errors
    /// [`ResumeError::NotDialled`] when the peer dials; [`ResumeError::Connect`] for what is no
    /// address; [`ResumeError::OutOfRange`] for one of more than 1,024 bytes.
    pub fn dial_at(&self, address: impl IntoAddress) -> Result<(), ResumeError> {
        let address = super::options::checked_address(address)?;
        if self.shared().set_address(address) {
            return Ok(());
        }
        Err(ResumeError::NotDialled)
    }

    /// Gives the session up, on the disk as well, with all that the peer has not committed. A peer
    /// that is connected is told; another one learns it when it comes back.
    ///
    /// # Errors
    /// [`ResumeError::Log`] when the disk may still have it.
    pub async fn give_up(&self) -> Result<(), ResumeError> {
        let shared = self.shared();
        shared.end(ResumeError::GivenUp { by_peer: false });
        self.handle.inner.forget(shared);
        let Some(kept) = shared.kept() else { return Ok(()) };
        kept.journal.write(kept.number, Entry::Gone).await
    }

    /// Waits until the peer's application has committed the message at `position` and all before.
    ///
    /// # Errors
    /// Why the session is over.
    pub async fn acknowledged(&self, position: u64) -> Result<(), ResumeError> {
        self.until(|| {
            if self.shared().machine().acknowledged() > position {
                return Some(Ok(()));
            }
            self.shared().ended().map(Err)
        })
        .await
    }

    /// The next message, in order and once; `None` once the peer closed its end. What arrived
    /// before the session was over is given out first.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    ///
    /// # Errors
    /// Why the session is over.
    pub async fn receive(&self) -> Result<Option<ResumedMessage>, ResumeError> {
        self.until(|| {
            let (taken, has_room) = self.shared().with_quietly(|machine| {
                let was_full = !machine.has_room();
                (machine.take(), was_full && machine.has_room())
            });
            match taken {
                Taken::Message(message) => {
                    if has_room {
                        self.shared().has_room.notify_waiters();
                    }
                    let (position, stream) = (message.position, message.stream);
                    Some(Ok(Some(ResumedMessage { position, stream, data: message.data })))
                }
                Taken::End => {
                    // Nobody commits the end: the link says so.
                    self.shared().to_write.notify_waiters();
                    Some(Ok(None))
                }
                Taken::Nothing => self.shared().ended().map(Err),
            }
        })
        .await
    }

    /// The application has dealt with the message at `position` and all before: the peer forgets
    /// them. Without it the peer's `send` waits in the end. With a disk the peer hears of it once
    /// it is synced, which [`committed`](Self::committed) waits for.
    ///
    /// # Errors
    /// [`ResumeError::NotReceived`].
    pub fn commit(&self, position: u64) -> Result<(), ResumeError> {
        let (is_taken, before, now) = self.shared().with_quietly(|machine| {
            let before = machine.pending_commits();
            (machine.commit(position), before, machine.pending_commits())
        });
        if pace::is_news(before, now) {
            self.shared().to_write.notify_waiters();
        }
        is_taken.then_some(()).ok_or(ResumeError::NotReceived { position })
    }

    /// Says that nothing follows, and waits until the peer has committed all and received the end.
    /// The session is over when both sides did so.
    ///
    /// # Errors
    /// Why the session was over before.
    pub async fn close(&self) -> Result<(), ResumeError> {
        let _ = self.shared().with(|machine| machine.push(Item::End));
        self.until(|| {
            let machine = self.shared().machine();
            if machine.unacknowledged_bytes() == 0 {
                return Some(Ok(()));
            }
            drop(machine);
            self.shared().ended().map(Err)
        })
        .await
    }

    /// Waits until the session is over, and says why: [`ResumeError::Finished`] is the good end.
    pub async fn ended(&self) -> ResumeError {
        self.until(|| self.shared().ended()).await
    }

    /// What the peer has not committed, with positions and streams, once the session is over;
    /// `None` before. A process gets it once. A disk keeps it until [`give_up`](Self::give_up).
    #[must_use]
    pub fn take_unacknowledged(&self) -> Option<Vec<ResumedMessage>> {
        self.shared().ended()?;
        let kept = self.shared().machine().give_back();
        let message = |(position, stream, data)| ResumedMessage { position, stream, data };
        Some(kept.into_iter().map(message).collect())
    }

    /// Waits until `ready` says something.
    async fn until<T>(&self, ready: impl Fn() -> Option<T>) -> T {
        tokio::task::consume_budget().await;
        // Mostly nothing has to be waited for, and who begins to wait takes a lock.
        if let Some(ready) = ready() {
            return ready;
        }
        loop {
            let mut changed = pin!(self.shared().changed.notified());
            changed.as_mut().enable();
            if let Some(ready) = ready() {
                return ready;
            }
            changed.await;
        }
    }
}
