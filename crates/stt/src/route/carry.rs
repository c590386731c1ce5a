//! Moving datagrams in and out of one WebSocket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::{mpsc, watch},
    time::{sleep, timeout},
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
/// How long what waits may take once nobody writes any more.
const PARTING: Duration = Duration::from_secs(10);

type Bytestream = Box<dyn ByteStream>;

/// Which side of a WebSocket this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// What is said beside datagrams.
#[derive(Clone)]
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

/// Moves datagrams both ways until the WebSocket ends, nothing came for `idle`, the peer took nothing
/// for as long, or its entry left the table. `ahead` is what was read already.
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
    let (reply, replies) = watch::channel(None);
    let (_, empty) = mpsc::unbounded_channel();
    let queue = std::mem::replace(&mut entry.queue, empty);
    let parting = async {
        entry.removed().await;
        sleep(PARTING).await;
    };
    tokio::select! {
        _ = write(writer, role, queue, replies, &entry, idle) => {}
        () = read(reader, role, ahead, &reply, &entry, idle) => {}
        () = parting => {}
    }
}

/// Writes what is queued, in as few calls as the system takes. A peer that takes nothing for `idle`
/// is given up, whatever it says.
async fn write(
    mut writer: WriteHalf<Bytestream>,
    role: Role,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    mut replies: watch::Receiver<Option<Reply>>,
    entry: &Entry,
    idle: Duration,
) -> io::Result<()> {
    loop {
        let mut batch = Vec::new();
        let reply = tokio::select! {
            taken = queue.recv_many(&mut batch, BATCH) => {
                (taken == 0).then_some(Reply::Close)
            }
            Ok(()) = replies.changed() => replies.borrow_and_update().clone(),
        };
        match reply {
            None => write_all(&mut writer, batch, entry, idle).await?,
            Some(Reply::Pong(payload)) => {
                let pong = frame::pong(&payload, role.mask_key());
                timeout(idle, writer.write_all(&pong)).await??;
            }
            Some(Reply::Close) => {
                let goodbye = async {
                    writer.write_all(&frame::close(role.mask_key())).await?;
                    writer.shutdown().await
                };
                return timeout(GOODBYE, goodbye).await.unwrap_or(Ok(()));
            }
        }
        timeout(idle, writer.flush()).await??;
    }
}

async fn write_all(
    writer: &mut WriteHalf<Bytestream>,
    mut batch: Vec<Bytes>,
    entry: &Entry,
    idle: Duration,
) -> io::Result<()> {
    let mut done = 0;
    while let Some(waiting) = batch.get(done..).filter(|waiting| !waiting.is_empty()) {
        let some = std::future::poll_fn(|cx| {
            let mut slices = [IoSlice::new(&[]); BATCH];
            slices.iter_mut().zip(waiting).for_each(|(slice, piece)| *slice = IoSlice::new(piece));
            let slices = slices.get(..waiting.len()).unwrap_or_default();
            Pin::new(&mut *writer).poll_write_vectored(cx, slices)
        });
        let mut written = timeout(idle, some).await??;
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
    reply: &watch::Sender<Option<Reply>>,
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
                reply.send_replace(Some(Reply::Pong(payload)));
                continue;
            }
            Ok(Next::Close) => {
                reply.send_replace(Some(Reply::Close));
                // The writer ends it, if it can.
                sleep(GOODBYE).await;
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

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc};

    use tokio::{io::DuplexStream, task::JoinHandle, time::Instant};

    use super::*;
    use crate::route::Table;

    const IDLE: Duration = Duration::from_secs(65);

    /// A carried WebSocket, to whose client more was sent than fits, and that client's end.
    struct Stalled {
        table: Arc<Table>,
        stand_in: SocketAddr,
        client: DuplexStream,
        task: JoinHandle<()>,
        since: Instant,
        /// Is sent nothing.
        _engine: mpsc::Receiver<(SocketAddr, Bytes)>,
    }

    impl Stalled {
        async fn new() -> Self {
            let (table, engine) = Table::new(false);
            let (client, end) = tokio::io::duplex(1 << 10);
            let entry = table.add(None, Role::Server);
            let stand_in = entry.stand_in;
            table.send(stand_in, &[7; 10_000], 10_000).unwrap();
            let carried = carry(Box::new(end), Role::Server, BytesMut::new(), entry, IDLE);
            let task = tokio::spawn(carried);
            // The writer is at it, and can't go on.
            sleep(Duration::from_millis(1)).await;
            Self { table, stand_in, client, task, since: Instant::now(), _engine: engine }
        }

        /// A control frame of a client.
        async fn say(&mut self, kind: u8, byte: u8) {
            self.client.write_all(&[0x80 | kind, 0x81, 0, 0, 0, 0, byte]).await.unwrap();
        }

        /// Asks again and again for a sign of life until it ends; how long that took.
        async fn pinged_until_its_end(mut self) -> Duration {
            while !self.task.is_finished() {
                let ping = [0x89, 0x80, 0, 0, 0, 0];
                let _ = self.client.write_all(&ping).await;
                sleep(Duration::from_secs(1)).await;
                assert!(self.since.elapsed() < IDLE * 3, "it lives as long as it is pinged");
            }
            assert_eq!(self.table.len(), 0);
            self.since.elapsed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_though_it_asks_for_signs_of_life() {
        let took = Stalled::new().await.pinged_until_its_end().await;
        assert!(took <= IDLE + Duration::from_secs(2), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_left_the_table_ends_soon_though_the_peer_takes_nothing() {
        let stalled = Stalled::new().await;
        stalled.table.remove(stalled.stand_in);
        let took = stalled.pinged_until_its_end().await;
        assert!(took <= PARTING + Duration::from_secs(2), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_goodbye_and_takes_nothing_is_gone_at_once() {
        let mut stalled = Stalled::new().await;
        // An answer waits already.
        stalled.say(9, 1).await;
        let close = [0x88, 0x80, 0, 0, 0, 0];
        stalled.client.write_all(&close).await.unwrap();
        timeout(GOODBYE * 2, stalled.task).await.expect("it ended").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_question_is_answered() {
        let mut stalled = Stalled::new().await;
        for number in 1..=5 {
            stalled.say(9, number).await;
        }
        sleep(Duration::from_millis(1)).await;
        let mut message = [0; 4 + 10_000];
        stalled.client.read_exact(&mut message).await.unwrap();
        let mut pong = [0; 3];
        stalled.client.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 1, 5]);
        // And no other one.
        stalled.table.remove(stalled.stand_in);
        let mut rest = Vec::new();
        stalled.client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.first(), Some(&0x88), "{rest:?}");
    }
}
