//! A path that a test can cut.
#![allow(clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::{net::UdpSocket, task::AbortHandle};

/// Carries the datagrams of one client to a node and back, until it is cut.
pub(crate) struct Relay {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Relay {
    pub(crate) async fn to(node: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, cut) = (front.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let is_cut = Arc::clone(&cut);
        let carry = async move {
            let (mut there, mut here) = (vec![0; 1 << 16], vec![0; 1 << 16]);
            let mut client = None;
            loop {
                tokio::select! {
                    Ok((len, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        if !is_cut.load(Relaxed) {
                            let _ = back.send_to(&there[..len], node).await;
                        }
                    }
                    Ok((len, _)) = back.recv_from(&mut here) => {
                        if let (Some(client), false) = (client, is_cut.load(Relaxed)) {
                            let _ = front.send_to(&here[..len], client).await;
                        }
                    }
                }
            }
        };
        Self { address, cut, task: tokio::spawn(carry).abort_handle() }
    }

    /// Where the client connects to.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing gets through, in either direction.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
