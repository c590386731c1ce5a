//! The provider's side: files of this machine that members may fetch.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bao_tree::{
    BaoTree,
    io::{
        outboard::PreOrderOutboard,
        sync::{CreateOutboard, encode_ranges_validated},
    },
};
use blake3::Hash;
use bytes::Bytes;
use stt::{Node, NodeId, ProtocolHandler, ProtocolStream, Session};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    GROUP, LABEL, PIECE,
    wire::{Answer, Request, chunks},
};
use crate::{ContentError, ContentTicket, Provider};

/// Contents of one library, at most. Each holds two open files.
const MAX_CONTENTS: usize = 256;
/// Answers that are in memory at once, of a little more than [`PIECE`] each, and of one peer.
const ANSWERS: usize = 64;
const ANSWERS_OF_A_PEER: usize = 8;
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

/// Files that this node's members may fetch, until it is dropped.
///
/// Whoever holds the shared seed and knows a content's hash may fetch it. Files are read when they
/// are asked for; of one that changed since it was added, peers get what did not change and are told
/// that the rest is damaged.
#[derive(Debug)]
pub struct ContentLibrary {
    shelf: Arc<Shelf>,
    node_id: NodeId,
    /// New streams are refused without it.
    _handler: ProtocolHandler,
}

/// A content that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shared {
    /// Its BLAKE3 hash, which is its id.
    pub root: Hash,
    /// Its length in bytes.
    pub size: u64,
    /// The name of the file that it is.
    pub name: String,
}

/// What a library did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LibraryStats {
    /// Contents that are offered now.
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
    contents: Mutex<HashMap<Hash, Arc<Content>>>,
    turns: Arc<Semaphore>,
    peers: Mutex<HashMap<NodeId, Arc<Semaphore>>>,
    answers: AtomicU64,
    bytes: AtomicU64,
    damaged: AtomicU64,
}

#[derive(Debug)]
struct Content {
    file: File,
    outboard: PreOrderOutboard<File>,
    name: String,
}

impl Content {
    fn size(&self) -> u64 {
        self.outboard.tree.size()
    }

    /// Opens and hashes a file.
    fn open(path: &Path) -> Result<Self, ContentError> {
        let failed = |error| ContentError::file("read", path, error);
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(ContentError::NotAFile { path: path.to_owned() });
        }
        let size = about.len();
        if size > ContentTicket::MAX_SIZE {
            return Err(ContentError::TooLarge { size, max: ContentTicket::MAX_SIZE });
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let aside = |error| ContentError::file("write", &std::env::temp_dir(), error);
        let mut outboard = PreOrderOutboard {
            root: Hash::from_bytes([0; 32]),
            tree: BaoTree::new(size, GROUP),
            data: tempfile::tempfile().map_err(aside)?,
        };
        outboard.init_from(BufReader::with_capacity(1 << 20, &file)).map_err(failed)?;
        Ok(Self { file, outboard, name: name.unwrap_or_default() })
    }

    /// A whole answer.
    fn answer(&self, request: &Request) -> Result<Vec<u8>, Answer> {
        let size = self.size();
        if request.bytes.start >= size.max(1) {
            return Err(Answer::BadRequest);
        }
        let room = usize::try_from(PIECE + PIECE / 64).unwrap_or_default();
        let mut out = Vec::with_capacity(room);
        out.push(Answer::Here.to_byte());
        out.extend_from_slice(&size.to_le_bytes());
        let wanted = chunks(&request.bytes, size);
        // Compared with the hashes, so that a bad disk makes no corrupt provider.
        encode_ranges_validated(&self.file, &self.outboard, &wanted, &mut out)
            .map_err(|_| Answer::Damaged)?;
        Ok(out)
    }
}

impl Shelf {
    fn contents(&self) -> MutexGuard<'_, HashMap<Hash, Arc<Content>>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn of this peer, and one of all.
    async fn turn(&self, peer: NodeId) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let of_peer = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            // Those who have no stream any more.
            peers.retain(|_, turns| Arc::strong_count(turns) > 1);
            Arc::clone(
                peers.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(ANSWERS_OF_A_PEER))),
            )
        };
        let own = of_peer.acquire_owned().await.ok()?;
        let one = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        Some((own, one))
    }

    async fn answer(self: &Arc<Self>, request: Request) -> Vec<u8> {
        let content = self.contents().get(&request.root).cloned();
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
    async fn serve(self: Arc<Self>, peer: NodeId, mut stream: ProtocolStream) {
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
            let Some(_turn) = self.turn(peer).await else { return };
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
        let shelf = Arc::new(Shelf {
            contents: Mutex::default(),
            turns: Arc::new(Semaphore::new(ANSWERS)),
            peers: Mutex::default(),
            answers: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        });
        let serving = Arc::clone(&shelf);
        let handler = node.handle_protocol(LABEL, move |session: Session, stream| {
            Arc::clone(&serving).serve(session.peer_node_id(), stream)
        })?;
        Ok(Self { shelf, node_id: node.node_id(), _handler: handler })
    }

    /// Hashes a file and offers it from now on. One that is offered already is hashed anew.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn share(&self, path: impl AsRef<Path>) -> Result<Shared, ContentError> {
        let path = path.as_ref().to_owned();
        let opened = tokio::task::spawn_blocking(move || Content::open(&path));
        let content = opened.await.map_err(|_| ContentError::Ended)??;
        let shared = Shared {
            root: content.outboard.root,
            size: content.size(),
            name: content.name.clone(),
        };
        let mut contents = self.shelf.contents();
        if contents.len() >= MAX_CONTENTS && !contents.contains_key(&shared.root) {
            return Err(ContentError::TooMany { max: MAX_CONTENTS });
        }
        contents.insert(shared.root, Arc::new(content));
        Ok(shared)
    }

    /// Offers a content no longer. False if it was not offered.
    pub fn unshare(&self, root: Hash) -> bool {
        self.shelf.contents().remove(&root).is_some()
    }

    /// All that is offered, in no particular order.
    #[must_use]
    pub fn contents(&self) -> Vec<Shared> {
        let shared = |(root, content): (&Hash, &Arc<Content>)| Shared {
            root: *root,
            size: content.size(),
            name: content.name.clone(),
        };
        self.shelf.contents().iter().map(shared).collect()
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
        let mut ticket = ContentTicket::new(shared.root, shared.size, &shared.name)?;
        let provider = Provider { node_id: self.node_id, addresses: addresses.to_vec() };
        ticket.add_provider(provider)?;
        Ok(ticket)
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> LibraryStats {
        LibraryStats {
            contents: self.shelf.contents().len(),
            answers: self.shelf.answers.load(Ordering::Relaxed),
            bytes: self.shelf.bytes.load(Ordering::Relaxed),
            damaged: self.shelf.damaged.load(Ordering::Relaxed),
        }
    }
}
