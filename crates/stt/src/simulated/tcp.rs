//! Streams of bytes between the nodes of a world, as TCP would carry them: in order, without loss,
//! with the delay of the weather.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use stt_transport::internal::{Accept, Network, Soon, Stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use super::world::World;

/// Bytes that an end takes before they are on their way.
const BUFFER: usize = 64 << 10;
/// How often who is held up looks whether that is over.
const MOMENT: Duration = Duration::from_millis(10);

type Opened = (Stream, SocketAddr);

/// Who listens, and what is open.
#[derive(Default)]
pub(super) struct Streams {
    listeners: HashMap<SocketAddr, mpsc::UnboundedSender<Opened>>,
    open: Vec<(AbortHandle, Arc<AtomicBool>)>,
    last_port: u16,
    stalled: Arc<AtomicBool>,
}

impl Streams {
    /// How many were opened so far.
    pub(super) const fn opened(&self) -> u16 {
        self.last_port
    }

    /// All of them end.
    pub(super) fn cut(&mut self) {
        self.open.drain(..).for_each(|(task, _)| task.abort());
    }

    /// Nothing arrives any more through any of them, and no end hears of it: as behind a NAT that forgot.
    pub(super) fn forget(&self) {
        self.open.iter().for_each(|(_, forgotten)| forgotten.store(true, Relaxed));
    }

    /// Whether nothing arrives any more, though all of them stay open, and no new one is made.
    pub(super) fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Relaxed);
    }
}

/// One node's place in the world.
pub(super) struct Host {
    pub(super) world: World,
    pub(super) ip: IpAddr,
}

struct Listening(mpsc::UnboundedReceiver<Opened>);

impl Network for Host {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Soon<'a, io::Result<Stream>> {
        Box::pin(async move {
            let delay = self.world.delay();
            // A question and its answer.
            sleep(delay * 2).await;
            let stalled = Arc::clone(&self.world.streams().stalled);
            while stalled.load(Relaxed) {
                sleep(MOMENT).await;
            }
            let to = SocketAddr::new(host.parse().map_err(io::Error::other)?, port);
            let mut streams = self.world.streams();
            streams.last_port += 1;
            let from = SocketAddr::new(self.ip, 50_000 + streams.last_port);
            let refused = io::ErrorKind::ConnectionRefused;
            let listener = streams.listeners.get(&to).cloned().ok_or(refused)?;
            let forgotten = Arc::<AtomicBool>::default();
            let states = [stalled, Arc::clone(&forgotten)];
            let (ours, here) = duplex(BUFFER);
            let (theirs, there) = duplex(BUFFER);
            let task = tokio::spawn(carry(here, there, delay, states)).abort_handle();
            streams.open.push((task, forgotten));
            let stream =
                |end, local, remote| Stream { bytes: Box::new(end), ends: Some((local, remote)) };
            listener.send((stream(theirs, to, from), from)).map_err(|_| refused)?;
            Ok(stream(ours, from, to))
        })
    }

    fn listen(&self, at: SocketAddr) -> io::Result<(SocketAddr, Box<dyn Accept>)> {
        let (sender, opened) = mpsc::unbounded_channel();
        self.world.streams().listeners.insert(at, sender);
        Ok((at, Box::new(Listening(opened))))
    }
}

impl Accept for Listening {
    fn accept(&mut self) -> Soon<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(async { self.0.recv().await.ok_or(io::ErrorKind::NotConnected.into()) })
    }
}

/// Carries both directions until one end is gone.
async fn carry(
    one: DuplexStream,
    other: DuplexStream,
    delay: Duration,
    states: [Arc<AtomicBool>; 2],
) {
    let ((mut from_one, mut to_one), (mut from_other, mut to_other)) = (split(one), split(other));
    tokio::select! {
        () = pass(&mut from_one, &mut to_other, delay, &states) => {}
        () = pass(&mut from_other, &mut to_one, delay, &states) => {}
    }
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    delay: Duration,
    [stalled, forgotten]: &[Arc<AtomicBool>; 2],
) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let reading = async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now() + delay, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some((at, bytes)) = under_way.recv().await {
            sleep_until(at).await;
            while stalled.load(Relaxed) {
                sleep(MOMENT).await;
            }
            if forgotten.load(Relaxed) {
                std::future::pending::<()>().await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}
