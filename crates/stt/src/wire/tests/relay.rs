//! Somebody on the path who forwards everything and keeps a copy.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::net::UdpSocket;

/// A forwarding socket in front of a node.
pub(super) struct Relay {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
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
        let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = outside.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
            let mut client = None;
            loop {
                tokio::select! {
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
        Self { address, seen, task }
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
