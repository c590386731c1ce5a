//! A path that a test can cut.
#![allow(clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{net::UdpSocket, task::AbortHandle};

/// Carries the datagrams of one client to a node and back, until it is cut.
pub(crate) struct Relay {
    address: SocketAddr,
    /// Datagrams that still get through.
    left: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Relay {
    pub(crate) async fn to(node: SocketAddr) -> Self {
        Self::short_lived(node, usize::MAX).await
    }

    /// One that cuts itself after so many datagrams.
    pub(crate) async fn short_lived(node: SocketAddr, datagrams: usize) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, left) = (front.local_addr().unwrap(), Arc::new(AtomicUsize::new(datagrams)));
        let count = Arc::clone(&left);
        let passes =
            move || count.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        let carry = async move {
            let (mut there, mut here) = (vec![0; 1 << 16], vec![0; 1 << 16]);
            let mut client = None;
            loop {
                tokio::select! {
                    Ok((len, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        if passes() {
                            let _ = back.send_to(&there[..len], node).await;
                        }
                    }
                    Ok((len, _)) = back.recv_from(&mut here) => {
                        if let (Some(client), true) = (client, passes()) {
                            let _ = front.send_to(&here[..len], client).await;
                        }
                    }
                }
            }
        };
        Self { address, left, task: tokio::spawn(carry).abort_handle() }
    }

    /// Where the client connects to.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing gets through, in either direction.
    pub(crate) fn cut(&self) {
        self.left.store(0, Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
