//! Moving datagrams in and out of one WebSocket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::mpsc,
    time::timeout,
};

use super::{
    frame::{self, Decoder, MaskKey, Next},
    network::ByteStream,
    table::Entry,
};

/// Waiting pieces that one call to the system writes at most.
const BATCH: usize = 32;
/// Room for what is read: of an idle WebSocket, and most of a busy one. It grows while it is filled,
/// and what is read by one call is handed on without a copy.
const ROOM: (usize, usize) = (1 << 10, 256 << 10);
/// How fast it grows.
const GROWTH: usize = 8;
/// Silence after which the room is given back.
const QUIET: Duration = Duration::from_secs(1);
/// How long the last frame may take.
const GOODBYE: Duration = Duration::from_secs(1);

type Bytestream = Box<dyn ByteStream>;

/// Which side of a WebSocket this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// What is said beside datagrams.
enum Reply {
    Pong(Bytes),
    Close,
}

impl Role {
    /// What this side masks its next frames with. Without randomness it is no secret, which protects
    /// caches of ancient proxies from chosen bytes, and ours are sealed anyway.
    pub(super) fn mask_key(self) -> Option<MaskKey> {
        match self {
            Self::Client => Some(stc::random::bytes().unwrap_or_default()),
            Self::Server => None,
        }
    }
}

/// Moves datagrams both ways until the WebSocket ends or nothing came for `idle`. `ahead` is what
/// was read already.
///
/// Reading waits while the engine has no room, writing while the peer takes nothing; neither waits
/// for the other.
pub(super) async fn carry(
    stream: Bytestream,
    role: Role,
    ahead: BytesMut,
    mut entry: Entry,
    idle: Duration,
) {
    let (reader, writer) = split(stream);
    // The newest question counts (RFC 6455, section 5.5.3).
    let (reply, replies) = mpsc::channel(1);
    let (_, empty) = mpsc::unbounded_channel();
    let queue = std::mem::replace(&mut entry.queue, empty);
    tokio::select! {
        _ = write(writer, role, queue, replies, &entry) => {}
        () = read(reader, role, ahead, &reply, &entry, idle) => {}
    }
}

/// Writes what is queued, in as few calls as the system takes.
async fn write(
    mut writer: WriteHalf<Bytestream>,
    role: Role,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    mut replies: mpsc::Receiver<Reply>,
    entry: &Entry,
) -> io::Result<()> {
    loop {
        let mut batch = Vec::new();
        let reply = tokio::select! {
            taken = queue.recv_many(&mut batch, BATCH) => {
                (taken == 0).then_some(Reply::Close)
            }
            Some(reply) = replies.recv() => Some(reply),
        };
        match reply {
            None => write_all(&mut writer, batch, entry).await?,
            Some(Reply::Pong(payload)) => {
                writer.write_all(&frame::pong(&payload, role.mask_key())).await?;
            }
            Some(Reply::Close) => {
                let goodbye = async {
                    writer.write_all(&frame::close(role.mask_key())).await?;
                    writer.shutdown().await
                };
                return timeout(GOODBYE, goodbye).await.unwrap_or(Ok(()));
            }
        }
        writer.flush().await?;
    }
}

async fn write_all(
    writer: &mut WriteHalf<Bytestream>,
    mut batch: Vec<Bytes>,
    entry: &Entry,
) -> io::Result<()> {
    let mut done = 0;
    while let Some(waiting) = batch.get(done..).filter(|waiting| !waiting.is_empty()) {
        let mut written = std::future::poll_fn(|cx| {
            let mut slices = [IoSlice::new(&[]); BATCH];
            slices.iter_mut().zip(waiting).for_each(|(slice, piece)| *slice = IoSlice::new(piece));
            let slices = slices.get(..waiting.len()).unwrap_or_default();
            Pin::new(&mut *writer).poll_write_vectored(cx, slices)
        })
        .await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let (bytes, before) = (written, done);
        while let Some(first) = batch.get_mut(done).filter(|_| written > 0) {
            let part = written.min(first.len());
            first.advance(part);
            written -= part;
            done += usize::from(first.is_empty());
        }
        entry.sent(bytes, done - before);
    }
    Ok(())
}

/// Hands on what arrives.
async fn read(
    mut reader: ReadHalf<Bytestream>,
    role: Role,
    mut buffer: BytesMut,
    reply: &mpsc::Sender<Reply>,
    entry: &Entry,
    idle: Duration,
) {
    let mut decoder = Decoder::new(role == Role::Server);
    let mut room = ROOM.0;
    loop {
        let needs = match decoder.next(&mut buffer) {
            Ok(Next::Datagram(datagram)) => {
                if !entry.received(datagram).await {
                    return;
                }
                continue;
            }
            Ok(Next::Ping(payload)) => {
                // One answer that waits answers this question as well.
                let _ = reply.try_send(Reply::Pong(payload));
                continue;
            }
            Ok(Next::Close) => {
                if reply.send(Reply::Close).await.is_ok() {
                    // The writer ends it.
                    tokio::time::sleep(GOODBYE).await;
                }
                return;
            }
            Ok(Next::Needs(needs)) => needs,
            Err(frame::Violation) => return,
        };
        buffer.reserve(room.max(needs).saturating_sub(buffer.len()));
        let spare = buffer.capacity().saturating_sub(buffer.len());
        let length = match timeout(QUIET, reader.read_buf(&mut buffer)).await {
            Ok(length) => length,
            Err(_) => {
                room = ROOM.0;
                if buffer.capacity() > room && buffer.len() < room {
                    let mut smaller = BytesMut::with_capacity(room);
                    smaller.extend_from_slice(&buffer);
                    buffer = smaller;
                }
                let patience = idle.saturating_sub(QUIET);
                match timeout(patience, reader.read_buf(&mut buffer)).await {
                    Ok(length) => length,
                    Err(_) => return,
                }
            }
        };
        match length {
            Ok(0) | Err(_) => return,
            Ok(length) if length == spare => room = room.saturating_mul(GROWTH).min(ROOM.1),
            Ok(length) if length < room / GROWTH => room = (room / 2).max(ROOM.0),
            Ok(_) => {}
        }
    }
}
