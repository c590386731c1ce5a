//! Somebody on the path who forwards everything and keeps a copy.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{net::UdpSocket, sync::Notify};

/// A forwarding socket in front of a node.
pub(super) struct Relay {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The socket towards the node: the client's address, as the node sees it.
    inside: Arc<tokio::sync::Mutex<Arc<UdpSocket>>>,
    moved: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

/// One datagram.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) to_node: bool,
    pub(super) bytes: Vec<u8>,
}

impl Relay {
    /// Stands in front of `node`, for one client at a time.
    pub(super) async fn before(node: SocketAddr) -> Self {
        let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let inside = Arc::new(tokio::sync::Mutex::new(inside));
        let moved = Arc::new(Notify::new());
        let (sockets, moves) = (Arc::clone(&inside), Arc::clone(&moved));
        let address = outside.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
            let mut client = None;
            loop {
                let inside = Arc::clone(&*sockets.lock().await);
                tokio::select! {
                    () = moves.notified() => {}
                    Ok((length, from)) = outside.recv_from(&mut up) => {
                        client = Some(from);
                        let bytes = up[..length].to_vec();
                        // The receiver may be gone: its port is closed then.
                        let _ = inside.send_to(&bytes, node).await;
                        kept.lock().unwrap().push(Seen { to_node: true, bytes });
                    }
                    Ok((length, _)) = inside.recv_from(&mut down) => {
                        let bytes = down[..length].to_vec();
                        if let Some(client) = client {
                            let _ = outside.send_to(&bytes, client).await;
                        }
                        kept.lock().unwrap().push(Seen { to_node: false, bytes });
                    }
                }
            }
        });
        Self { address, seen, inside, moved, task }
    }

    /// From now on the client comes from another address.
    pub(super) async fn move_client(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        *self.inside.lock().await = Arc::new(socket);
        self.moved.notify_one();
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
