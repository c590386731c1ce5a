//! A relay for UDP in user space: delay, loss, a NAT that forgets, a path that dies.
#![allow(dead_code, reason = "each program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

/// Stands between one client and a server, as a NAT in front of each of them would: each address of
/// the client has one that the server sees, and each of the server one that the client sees. Ends
/// when it is dropped.
pub(crate) struct Relay {
    /// Where the client finds the server.
    pub(crate) address: SocketAddr,
    control: Arc<Control>,
    task: AbortHandle,
}

#[derive(Default)]
struct Control {
    dead: AtomicBool,
    forget: Notify,
    forget_server: Notify,
    /// One way, in microseconds.
    delay: AtomicU64,
    /// Of a million.
    loss: AtomicU64,
    /// Longest datagram that gets through; 0 is any.
    widest: AtomicU64,
}

impl Relay {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let (arrived, arriving) = mpsc::channel(1024);
        let front = Mapped::new(server.ip(), server, Side::Client, &arrived).await;
        let address = front.socket.local_addr().unwrap();
        let control = Arc::new(Control::default());
        let nat = Nat {
            host: server.ip(),
            fronts: HashMap::from([(server, front)]),
            backs: HashMap::new(),
            arrived,
        };
        let task = tokio::spawn(nat.carry(arriving, Arc::clone(&control))).abort_handle();
        Self { address, control, task }
    }

    /// The server sees the client at another port from now on.
    pub(crate) fn forget(&self) {
        self.control.forget.notify_one();
    }

    /// The client sees the server at another port from now on.
    pub(crate) fn forget_server(&self) {
        self.control.forget_server.notify_one();
    }

    /// Whether nothing gets through from now on.
    pub(crate) fn set_dead(&self, dead: bool) {
        self.control.dead.store(dead, Relaxed);
    }

    /// How long each way takes.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.control.delay.store(delay.as_micros().try_into().unwrap(), Relaxed);
    }

    /// How many of a million datagrams get lost.
    pub(crate) fn set_loss(&self, loss: u64) {
        self.control.loss.store(loss, Relaxed);
    }

    /// Longer datagrams are lost.
    pub(crate) fn set_widest(&self, bytes: u64) {
        self.control.widest.store(bytes, Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whose datagrams arrive at a socket.
#[derive(Clone, Copy, Debug)]
enum Side {
    Client,
    Server,
}

/// What arrived: from whom, at the socket that stands for `to`.
struct Arrived {
    side: Side,
    from: SocketAddr,
    to: SocketAddr,
    datagram: Vec<u8>,
}

/// A socket that stands for an address of one side, where the other side writes to.
struct Mapped {
    socket: Arc<UdpSocket>,
    task: AbortHandle,
}

impl Mapped {
    /// A socket for `owner`, which `side` writes to.
    async fn new(
        host: IpAddr,
        owner: SocketAddr,
        side: Side,
        arrived: &mpsc::Sender<Arrived>,
    ) -> Self {
        let socket = Arc::new(UdpSocket::bind((host, 0)).await.unwrap());
        let (reading, arrived) = (Arc::clone(&socket), arrived.clone());
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            loop {
                // What the system reports of a port that is closed ends nothing.
                let Ok((length, from)) = reading.recv_from(&mut buffer).await else { continue };
                let datagram = buffer[..length].to_vec();
                if arrived.send(Arrived { side, from, to: owner, datagram }).await.is_err() {
                    return;
                }
            }
        });
        Self { socket, task: task.abort_handle() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Nat {
    host: IpAddr,
    /// Where the client finds each address of the server.
    fronts: HashMap<SocketAddr, Mapped>,
    /// Where the server finds each address of the client.
    backs: HashMap<SocketAddr, Mapped>,
    arrived: mpsc::Sender<Arrived>,
}

impl Nat {
    async fn carry(mut self, mut arriving: mpsc::Receiver<Arrived>, control: Arc<Control>) {
        let mut waiting: VecDeque<(Instant, Arrived)> = VecDeque::new();
        loop {
            let due = waiting.front().map(|(at, ..)| *at);
            let arrived = tokio::select! {
                Some(arrived) = arriving.recv() => arrived,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((_, arrived)) = waiting.pop_front() {
                        self.pass(arrived).await;
                    }
                    continue;
                }
                () = control.forget.notified() => {
                    self.backs.clear();
                    continue;
                }
                () = control.forget_server.notified() => {
                    self.fronts.clear();
                    continue;
                }
            };
            let widest = control.widest.load(Relaxed);
            if control.dead.load(Relaxed)
                || fastrand::u64(..1_000_000) < control.loss.load(Relaxed)
                || (widest > 0 && arrived.datagram.len() as u64 > widest)
            {
                continue;
            }
            let delay = control.delay.load(Relaxed);
            if delay == 0 {
                self.pass(arrived).await;
            } else {
                waiting.push_back((Instant::now() + Duration::from_micros(delay), arrived));
            }
        }
    }

    async fn pass(&mut self, arrived: Arrived) {
        let Arrived { side, from, to, datagram } = arrived;
        let (table, answers) = match side {
            Side::Client => (&mut self.backs, Side::Server),
            Side::Server => (&mut self.fronts, Side::Client),
        };
        let mapped = match table.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert(Mapped::new(self.host, from, answers, &self.arrived).await)
            }
        };
        // What the system does not take is lost, as on any network.
        let _ = mapped.socket.send_to(&datagram, to).await;
    }
}
