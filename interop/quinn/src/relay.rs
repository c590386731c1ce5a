//! Somebody on the path who forwards everything, counts it, and may keep a copy.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{net::UdpSocket, task::JoinHandle};

use crate::Result;

/// Most datagrams that are kept.
const KEPT: usize = 20_000;

/// A forwarding socket in front of a server, for one client at a time.
pub struct Relay {
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    to_server: AtomicU64,
    bytes_back: AtomicU64,
    kept: Mutex<Vec<(bool, Vec<u8>)>>,
}

impl Relay {
    pub async fn before(server: SocketAddr) -> Result<Self> {
        let outside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let inside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = outside.local_addr()?;
        let state = Arc::<State>::default();
        let seen = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
            let mut client = None;
            loop {
                tokio::select! {
                    Ok((length, from)) = outside.recv_from(&mut up) => {
                        client = Some(from);
                        // The server may be gone: its port is closed then.
                        let _ = inside.send_to(&up[..length], server).await;
                        seen.to_server.fetch_add(1, Relaxed);
                        seen.keep(true, &up[..length]);
                    }
                    Ok((length, _)) = inside.recv_from(&mut down) => {
                        if let Some(client) = client {
                            let _ = outside.send_to(&down[..length], client).await;
                        }
                        seen.bytes_back.fetch_add(length as u64, Relaxed);
                        seen.keep(false, &down[..length]);
                    }
                }
            }
        });
        Ok(Self { address, state, task })
    }

    /// Datagrams that went to the server.
    pub fn to_server(&self) -> u64 {
        self.state.to_server.load(Relaxed)
    }

    /// Bytes that came back from it.
    pub fn bytes_back(&self) -> u64 {
        self.state.bytes_back.load(Relaxed)
    }

    /// Writes what was kept as a capture file (libpcap 2.4, raw IPv4) and returns how many
    /// datagrams that are. The server has the port 443, where an analyser expects QUIC first.
    pub fn write(&self, path: &Path) -> Result<usize> {
        let mut out = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
            out.extend(word.to_le_bytes());
        }
        let kept = self.state.kept.lock().map_err(|_| "a relay that panicked")?;
        for (number, (to_server, payload)) in kept.iter().enumerate() {
            let packet = ipv4_udp(*to_server, payload)?;
            let time = u32::try_from(number)?;
            let length = u32::try_from(packet.len())?;
            for word in [1_700_000_000 + time / 1_000, time % 1_000 * 1_000, length, length] {
                out.extend(word.to_le_bytes());
            }
            out.extend(packet);
        }
        std::fs::File::create(path)?.write_all(&out)?;
        Ok(kept.len())
    }
}

impl State {
    fn keep(&self, to_server: bool, datagram: &[u8]) {
        if let Ok(mut kept) = self.kept.lock()
            && kept.len() < KEPT
        {
            kept.push((to_server, datagram.to_vec()));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The headers of RFC 791 and RFC 768 before a payload. Without a UDP checksum, which IPv4 allows.
fn ipv4_udp(to_server: bool, payload: &[u8]) -> Result<Vec<u8>> {
    let (client, server) = (([10, 0, 0, 2], 50_000_u16), ([10, 0, 0, 1], 443));
    let (from, to) = if to_server { (client, server) } else { (server, client) };
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(payload.len() + 28)?.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(from.0);
    packet.extend(to.0);
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16))?;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend(u16::try_from(payload.len() + 8)?.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    Ok(packet)
}
