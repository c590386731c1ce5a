//! The provider's side: files of this machine that members may fetch.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use blake3::Hash;
use bytes::Bytes;
use stt::{ContentId, Node, NodeId, Payload, ProtocolHandler, ProtocolStream, Session};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    LABEL,
    offer::{Content, Offer, Shared},
    wire::{Answer, Request},
};
use crate::{ContentError, ContentTicket, Provider};

/// Files and folders of one library, at most: each has a temporary file open. And contents: a
/// folder is as many as it has files, and one more.
const MAX_SHARED: usize = 256;
const MAX_CONTENTS: usize = 131_072;
/// Answers that are in memory at once, of a little more than 1 MiB each, and of one peer.
const ANSWERS: usize = 64;
const ANSWERS_OF_A_PEER: usize = 8;
/// Streams of one peer that wait for an answer or take it.
const STREAMS_OF_A_PEER: usize = 256;
/// How long a peer may keep a stream without asking.
const IDLE: Duration = Duration::from_secs(60);
/// How long it may take over [`PART`] bytes of an answer, and over all of it: others may be waiting
/// for its place.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_FOR_ALL: Duration = Duration::from_secs(600);
/// Little enough that a node with a low bandwidth and many peers is in time for each.
const PART: usize = 32 << 10;
/// What is said to one that took longer.
const TOO_SLOW: u32 = 0x101;
/// What is said to one that asks in too many streams at once.
const TOO_MANY: u32 = 0x102;

/// Files that this node's members may fetch, until it is dropped.
///
/// Whoever holds the shared seed and knows a content's hash may fetch it. Files are read when they
/// are asked for; of one that changed since it was added, peers get what did not change and are
/// told that the rest is damaged.
#[derive(Debug)]
pub struct ContentLibrary {
    shelf: Arc<Shelf>,
    node_id: NodeId,
    /// New streams are refused without it.
    _handler: ProtocolHandler,
}

/// What a library did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LibraryStats {
    /// Files and folders that are offered now.
    pub contents: usize,
    /// Answers that were given, refusals included.
    pub answers: u64,
    /// Bytes of answers that were handed to streams, proofs included.
    pub bytes: u64,
    /// Answers that were refused because a file changed or could not be read.
    pub damaged: u64,
}

#[derive(Debug)]
struct Shelf {
    books: Mutex<Books>,
    turns: Arc<Semaphore>,
    peers: Mutex<HashMap<NodeId, Arc<Semaphore>>>,
    answers: AtomicU64,
    bytes: AtomicU64,
    damaged: AtomicU64,
}

/// What is offered, by root.
#[derive(Debug, Default)]
struct Books {
    shared: HashMap<ContentId, (Shared, Vec<Hash>)>,
    /// With how many of those above have it.
    contents: HashMap<Hash, (Arc<Content>, usize)>,
}

impl Books {
    fn add(&mut self, offer: Offer) -> Result<(), ContentError> {
        self.add_within(offer, MAX_SHARED, MAX_CONTENTS)
    }

    fn add_within(
        &mut self,
        offer: Offer,
        max_shared: usize,
        max_contents: usize,
    ) -> Result<(), ContentError> {
        // One that is offered already is read from where it is now; it goes only if the new one
        // fits.
        let former = self.shared.get(&offer.shared.root);
        if former.is_none() && self.shared.len() >= max_shared {
            return Err(ContentError::TooMany { max: max_shared });
        }
        let only_its = |root: &&Hash| self.contents.get(*root).is_some_and(|(_, uses)| *uses == 1);
        let freed = former.map_or(0, |(_, roots)| roots.iter().filter(only_its).count());
        let kept = self.contents.len().saturating_sub(freed);
        if kept.saturating_add(offer.contents.len()) > max_contents {
            return Err(ContentError::TooMany { max: max_contents });
        }
        self.remove(offer.shared.root);
        let mut roots = Vec::with_capacity(offer.contents.len());
        for content in offer.contents {
            let root = content.root();
            roots.push(root);
            let uses = self.contents.get(&root).map_or(0, |(_, uses)| *uses);
            self.contents.insert(root, (Arc::new(content), uses + 1));
        }
        self.shared.insert(offer.shared.root, (offer.shared, roots));
        Ok(())
    }

    fn remove(&mut self, root: ContentId) -> bool {
        let Some((_, roots)) = self.shared.remove(&root) else { return false };
        for root in roots {
            if let Some((_, uses)) = self.contents.get_mut(&root) {
                *uses -= 1;
                if *uses == 0 {
                    self.contents.remove(&root);
                }
            }
        }
        true
    }
}

impl Shelf {
    fn new() -> Self {
        Self {
            books: Mutex::default(),
            turns: Arc::new(Semaphore::new(ANSWERS)),
            peers: Mutex::default(),
            answers: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn of this peer, and one of all. `None` if too many of the peer's streams wait.
    async fn turn(&self, peer: NodeId) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let of_peer = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            // Those who have no stream any more.
            peers.retain(|_, turns| Arc::strong_count(turns) > 1);
            Arc::clone(
                peers.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(ANSWERS_OF_A_PEER))),
            )
        };
        // One is the list's own.
        if Arc::strong_count(&of_peer) > STREAMS_OF_A_PEER + 1 {
            return None;
        }
        let own = of_peer.acquire_owned().await.ok()?;
        let one = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        Some((own, one))
    }

    async fn answer(self: &Arc<Self>, request: Request) -> Vec<u8> {
        let content =
            self.books().contents.get(&request.root).map(|(content, _)| Arc::clone(content));
        let answer = match content {
            None => Err(Answer::NotHere),
            Some(content) => {
                let read = tokio::task::spawn_blocking(move || content.answer(&request));
                read.await.unwrap_or(Err(Answer::Damaged))
            }
        };
        self.answers.fetch_add(1, Ordering::Relaxed);
        answer.unwrap_or_else(|refusal| {
            if refusal == Answer::Damaged {
                self.damaged.fetch_add(1, Ordering::Relaxed);
            }
            vec![refusal.to_byte()]
        })
    }

    /// Answers the requests of one stream, one after the other.
    async fn serve(self: Arc<Self>, session: Session, mut stream: ProtocolStream) {
        let peer = session.peer_node_id();
        loop {
            let mut bytes = [0; Request::LEN];
            match tokio::time::timeout(IDLE, stream.read_exact(&mut bytes)).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return,
            }
            let Some(request) = Request::decode(&bytes) else {
                let refusal = Bytes::copy_from_slice(&[Answer::BadRequest.to_byte()]);
                let _ = stream.write_chunk(refusal).await;
                return;
            };
            // Who is gone must not wait for others.
            let turn = tokio::select! {
                turn = self.turn(peer) => turn,
                _ = session.closed() => return,
            };
            let Some(_turn) = turn else { return stream.reset(TOO_MANY) };
            let answer = self.answer(request).await;
            let len = answer.len();
            // The turn lasts as long as the answer waits here.
            let written = write(&mut stream, Bytes::from(answer));
            match tokio::time::timeout(PATIENCE_FOR_ALL, written).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.kind() != io::ErrorKind::TimedOut => return,
                Ok(Err(_)) | Err(_) => return stream.reset(TOO_SLOW),
            }
            self.bytes.fetch_add(u64::try_from(len).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// Hands an answer to a stream as fast as the peer takes it.
async fn write(stream: &mut ProtocolStream, mut answer: Bytes) -> io::Result<()> {
    while !answer.is_empty() {
        let part = answer.split_to(PART.min(answer.len()));
        let written = async {
            stream.write_chunk(part).await?;
            stream.flush().await
        };
        tokio::time::timeout(PATIENCE, written).await??;
    }
    Ok(())
}

impl ContentLibrary {
    /// An empty library of `node`.
    ///
    /// # Errors
    /// [`ContentError::Protocol`] when the node has one already.
    pub fn new(node: &Node) -> Result<Self, ContentError> {
        let shelf = Arc::new(Shelf::new());
        let serving = Arc::clone(&shelf);
        let handler = node.handle_protocol(LABEL, move |session: Session, stream| {
            Arc::clone(&serving).serve(session, stream)
        })?;
        Ok(Self { shelf, node_id: node.node_id(), _handler: handler })
    }

    /// Hashes a file, or all files of a folder, and offers them from now on. What is offered
    /// already is hashed anew. Links in a folder are not followed.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn share(&self, path: impl AsRef<Path>) -> Result<Shared, ContentError> {
        let path = path.as_ref().to_owned();
        self.add(move || Offer::of(&path)).await
    }

    /// Offers bytes under a name.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn share_bytes(
        &self,
        bytes: impl Payload,
        name: &str,
    ) -> Result<Shared, ContentError> {
        let (bytes, name) = (bytes.into_bytes(), name.to_owned());
        self.add(move || Offer::of_bytes(bytes, name)).await
    }

    async fn add(
        &self,
        make: impl FnOnce() -> Result<Offer, ContentError> + Send + 'static,
    ) -> Result<Shared, ContentError> {
        let made = tokio::task::spawn_blocking(make).await;
        let offer = made.map_err(|_| ContentError::Ended)??;
        let shared = offer.shared.clone();
        self.shelf.books().add(offer)?;
        Ok(shared)
    }

    /// The bytes of a content that is held in memory.
    pub(super) fn bytes_of(&self, root: Hash) -> Option<Bytes> {
        self.shelf.books().contents.get(&root).and_then(|(content, _)| content.bytes())
    }

    /// Offers a file or folder no longer. False if it was not offered.
    pub fn unshare(&self, root: ContentId) -> bool {
        self.shelf.books().remove(root)
    }

    /// All that is offered, in no particular order.
    #[must_use]
    pub fn contents(&self) -> Vec<Shared> {
        self.shelf.books().shared.values().map(|(shared, _)| shared.clone()).collect()
    }

    /// A ticket for a content of this node, which others reach at `addresses`.
    ///
    /// # Errors
    /// [`TicketError::TooMuch`](crate::TicketError::TooMuch).
    pub fn ticket(
        &self,
        shared: &Shared,
        addresses: &[SocketAddr],
    ) -> Result<ContentTicket, crate::TicketError> {
        let make = if shared.folder.is_some() { ContentTicket::folder } else { ContentTicket::new };
        let mut ticket = make(shared.root, shared.size, &shared.name)?;
        let provider = Provider { node_id: self.node_id, addresses: addresses.to_vec() };
        ticket.add_provider(provider)?;
        Ok(ticket)
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> LibraryStats {
        LibraryStats {
            contents: self.shelf.books().shared.len(),
            answers: self.shelf.answers.load(Ordering::Relaxed),
            bytes: self.shelf.bytes.load(Ordering::Relaxed),
            damaged: self.shelf.damaged.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_immediate;

    use super::*;

    #[tokio::test]
    async fn one_peer_waits_with_a_bounded_number_of_streams_and_keeps_nobody_out() {
        let shelf = Shelf::new();
        let (greedy, other) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let mut waiting = Vec::new();
        let mut turns = Vec::new();
        for _ in 0..STREAMS_OF_A_PEER {
            let mut turn = Box::pin(shelf.turn(greedy));
            match poll_immediate(&mut turn).await {
                Some(turn) => turns.push(turn.unwrap()),
                None => waiting.push(turn),
            }
        }
        assert_eq!((turns.len(), waiting.len()), (ANSWERS_OF_A_PEER, 256 - ANSWERS_OF_A_PEER));
        assert!(poll_immediate(shelf.turn(greedy)).await.unwrap().is_none());
        assert!(poll_immediate(shelf.turn(other)).await.unwrap().is_some());
        // One that gave up makes room.
        waiting.pop();
        assert!(poll_immediate(shelf.turn(greedy)).await.is_none());
    }

    #[test]
    fn an_offer_that_does_not_fit_leaves_the_former_one() {
        let of = |bytes: &'static [u8]| Offer::of_bytes(bytes.into(), "name".into()).unwrap();
        let mut books = Books::default();
        books.add_within(of(b"one"), 2, 2).unwrap();
        books.add_within(of(b"two"), 2, 2).unwrap();
        assert!(books.add_within(of(b"three"), 3, 2).is_err());
        assert!(books.add_within(of(b"three"), 2, 3).is_err());
        // Again, also where nothing more fits.
        books.add_within(of(b"two"), 2, 2).unwrap();
        // Not where even it does not.
        assert!(books.add_within(of(b"two"), 2, 1).is_err());
        let mut shared: Vec<_> = books.shared.values().map(|(shared, _)| shared.root).collect();
        shared.sort();
        let mut wanted = [ContentId::of(b"one"), ContentId::of(b"two")];
        wanted.sort();
        assert_eq!(shared, wanted);
        assert!(wanted.iter().all(|root| books.contents.contains_key(&Hash::from(*root))));
    }
}
