//! A relay for UDP in user space: delay, loss, a NAT that forgets, a path that dies.
#![allow(dead_code, reason = "each program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::Notify,
    time::{Instant, sleep_until},
};

/// Stands between one client and a server. Ends when it is dropped.
pub(crate) struct Relay {
    /// Where the client finds the server.
    pub(crate) address: SocketAddr,
    control: Arc<Control>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Control {
    dead: AtomicBool,
    forget: Notify,
    /// One way, in microseconds.
    delay: AtomicU64,
    /// Of a million.
    loss: AtomicU64,
    /// Longest datagram that gets through; 0 is any.
    widest: AtomicU64,
}

impl Relay {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = front.local_addr().unwrap();
        let control = Arc::new(Control::default());
        let task = tokio::spawn(carry(front, server, Arc::clone(&control)));
        Self { address, control, task }
    }

    /// The server sees the client at another port from now on.
    pub(crate) fn forget(&self) {
        self.control.forget.notify_one();
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

async fn carry(front: UdpSocket, server: SocketAddr, control: Arc<Control>) {
    let mut back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (mut to_server, mut to_client) = (vec![0; 65_536], vec![0; 65_536]);
    let mut client = None;
    let mut waiting: VecDeque<(Instant, bool, Vec<u8>)> = VecDeque::new();
    loop {
        let due = waiting.front().map(|(at, ..)| *at);
        let (up, datagram) = tokio::select! {
            Ok((length, from)) = front.recv_from(&mut to_server) => {
                client = Some(from);
                (true, to_server[..length].to_vec())
            }
            Ok((length, _)) = back.recv_from(&mut to_client) => {
                (false, to_client[..length].to_vec())
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let Some((_, up, datagram)) = waiting.pop_front() else { continue };
                send(&front, &back, server, client, up, &datagram).await;
                continue;
            }
            () = control.forget.notified() => {
                back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                continue;
            }
            else => continue,
        };
        let widest = control.widest.load(Relaxed);
        if control.dead.load(Relaxed)
            || fastrand::u64(..1_000_000) < control.loss.load(Relaxed)
            || (widest > 0 && datagram.len() as u64 > widest)
        {
            continue;
        }
        let delay = control.delay.load(Relaxed);
        if delay == 0 {
            send(&front, &back, server, client, up, &datagram).await;
        } else {
            waiting.push_back((Instant::now() + Duration::from_micros(delay), up, datagram));
        }
    }
}

async fn send(
    front: &UdpSocket,
    back: &UdpSocket,
    server: SocketAddr,
    client: Option<SocketAddr>,
    up: bool,
    datagram: &[u8],
) {
    // What the system does not take is lost, as on any network.
    let _ = match (up, client) {
        (true, _) => back.send_to(datagram, server).await,
        (false, Some(client)) => front.send_to(datagram, client).await,
        (false, None) => Ok(0),
    };
}
