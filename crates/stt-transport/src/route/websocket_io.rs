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
    frame::{self, Decoder, Goodbye, MaskKey, Next, Violation},
    mapped_addrs::Entry,
    tcp::ByteStream,
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
    Close(Goodbye),
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
/// A peer that breaks the rules is told so: it has shown a knock, or let one in, so it knows that a
/// WebSocket is here, and any server of WebSockets says as much (docs/protocol.md, WEB-4).
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
    let writing = write(writer, role, queue, replies, &entry, idle);
    let reading = read(reader, role, ahead, &reply, &entry, idle);
    tokio::pin!(writing, reading);
    tokio::select! {
        // A connection that is closed over unread bytes is reset, and what was written last may be
        // lost with it: so the peer's end is waited for, for a moment.
        written = &mut writing => if written.is_ok() {
            let _ = timeout(GOODBYE, reading).await;
        },
        answering = &mut reading => if answering {
            let _ = timeout(GOODBYE, writing).await;
        },
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
                (taken == 0).then_some(Reply::Close(Goodbye::Normal))
            }
            Ok(()) = replies.changed() => replies.borrow_and_update().clone(),
        };
        match reply {
            None => write_all(&mut writer, batch, entry, idle).await?,
            Some(Reply::Pong(payload)) => {
                let pong = frame::pong(&payload, role.mask_key());
                timeout(idle, writer.write_all(&pong)).await??;
            }
            Some(Reply::Close(why)) => {
                let goodbye = async {
                    writer.write_all(&frame::close(why, role.mask_key())).await?;
                    writer.shutdown().await
                };
                return timeout(GOODBYE, goodbye).await?;
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

/// Hands on what arrives. Returns whether the WebSocket ended with an answer that is to be written.
async fn read(
    mut reader: ReadHalf<Bytestream>,
    role: Role,
    mut buffer: BytesMut,
    reply: &watch::Sender<Option<Reply>>,
    entry: &Entry,
    idle: Duration,
) -> bool {
    let mut decoder = Decoder::new(role == Role::Server);
    let mut room = ROOM.0;
    loop {
        let needs = match decoder.next(&mut buffer) {
            Ok(Next::Datagram(datagram)) => {
                if !entry.received(datagram).await {
                    return false;
                }
                continue;
            }
            Ok(Next::Ping(payload)) => {
                reply.send_replace(Some(Reply::Pong(payload)));
                continue;
            }
            Ok(Next::Close) => return answer(&mut reader, reply, Goodbye::Normal).await,
            Err(Violation(why)) => return answer(&mut reader, reply, why).await,
            Ok(Next::Needs(needs)) => needs,
        };
        // What a peer announces takes no memory before it comes.
        let wanted = needs.min(buffer.len().saturating_mul(2)).max(room);
        buffer.reserve(wanted.saturating_sub(buffer.len()));
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
                    Err(_) => return false,
                }
            }
        };
        match length {
            Ok(0) | Err(_) => return false,
            Ok(length) if length == spare => room = room.saturating_mul(GROWTH).min(ROOM.1),
            Ok(length) if length < room / GROWTH => room = (room / 2).max(ROOM.0),
            Ok(_) => {}
        }
    }
}

/// Has a goodbye written, and throws away what still comes, for a moment. Returns whether the peer
/// ended its side meanwhile.
async fn answer(
    reader: &mut ReadHalf<Bytestream>,
    reply: &watch::Sender<Option<Reply>>,
    why: Goodbye,
) -> bool {
    reply.send_replace(Some(Reply::Close(why)));
    let mut unread = [0; 1 << 10];
    let draining = async { while reader.read(&mut unread).await.is_ok_and(|length| length > 0) {} };
    timeout(GOODBYE, draining).await.is_ok()
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

    /// What a client that breaks a rule gets, and how long the WebSocket lives after that.
    async fn answered(frames: &[u8], then_ends: bool) -> (Vec<u8>, Duration) {
        let (table, _engine) = Table::new(false);
        let (mut client, end) = tokio::io::duplex(1 << 20);
        let entry = table.add(None, Role::Server);
        let carried = carry(Box::new(end), Role::Server, BytesMut::new(), entry, IDLE);
        let task = tokio::spawn(carried);
        let since = Instant::now();
        client.write_all(frames).await.unwrap();
        // It goes on and on.
        let _ = client.write_all(&[0xff; 500_000]).await;
        if then_ends {
            client.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        task.await.unwrap();
        assert_eq!(table.len(), 0);
        (answer, since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_breaks_the_rules_is_told_why_before_it_ends() {
        for (frames, code) in [
            (&b"\x82\x05Hello"[..], 1002_u16),
            (b"\xc2\x80\0\0\0\0", 1002),
            (b"\x81\x85\0\0\0\0Hello", 1003),
            (b"\x82\xff\0\0\0\0\0\x01\0\x01\0\0\0\0", 1009),
            // After something that is well.
            (b"\x8a\x80\0\0\0\0\x89\x81\0\0\0\0", 1002),
            (b"\x88\x82\0\0\0\0\x03\xe8", 1000),
        ] {
            for then_ends in [true, false] {
                let (answer, took) = answered(frames, then_ends).await;
                let expected = [&[0x88, 2][..], &code.to_be_bytes()].concat();
                assert!(answer.ends_with(&expected), "{frames:x?}: {answer:x?}");
                assert!(took <= GOODBYE, "{took:?}");
            }
        }
    }

    /// The session ended: the peer says goodbye as well, and nothing lingers.
    #[tokio::test(start_paused = true)]
    async fn both_ends_of_a_websocket_say_goodbye() {
        let (table, _engine) = Table::new(false);
        let (one, other) = tokio::io::duplex(1 << 10);
        let ends = [(one, Role::Server), (other, Role::Client)].map(|(end, role)| {
            let entry = table.add(None, role);
            let stand_in = entry.stand_in;
            let carried = carry(Box::new(end), role, BytesMut::new(), entry, IDLE);
            (tokio::spawn(carried), stand_in)
        });
        let since = Instant::now();
        table.remove(ends[0].1);
        for (task, _) in ends {
            task.await.unwrap();
        }
        assert_eq!((table.len(), since.elapsed()), (0, Duration::ZERO));
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

    /// Notes the longest room that was given to a read.
    struct Watched(DuplexStream, Arc<std::sync::atomic::AtomicUsize>);

    impl tokio::io::AsyncRead for Watched {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            out: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            self.1.fetch_max(out.remaining(), std::sync::atomic::Ordering::Relaxed);
            Pin::new(&mut self.0).poll_read(cx, out)
        }
    }

    impl AsyncWrite for Watched {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(
            mut self: Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_length_of_a_frame_alone_takes_no_memory() {
        let (table, mut engine) = Table::new(false);
        let (mut client, end) = tokio::io::duplex(1 << 20);
        let room = Arc::default();
        let watched = Watched(end, Arc::clone(&room));
        let entry = table.add(None, Role::Server);
        tokio::spawn(carry(Box::new(watched), Role::Server, BytesMut::new(), entry, IDLE));
        client.write_all(&[0x82, 0xfe, 0xfd, 0xe8, 0, 0, 0, 0]).await.unwrap();
        for _ in 0..10 {
            client.write_all(&[7; 100]).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
        let given = room.load(std::sync::atomic::Ordering::Relaxed);
        assert!(given <= 8 << 10, "{given}");
        // All of it comes through.
        client.write_all(&[7; 64_000]).await.unwrap();
        let (_, datagram) = engine.recv().await.unwrap();
        assert_eq!(datagram, vec![7; 65_000]);
    }
}
