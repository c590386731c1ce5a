//! Work to be counted in instructions, which don't depend on how busy the machine is: run under
//! valgrind with two lengths, what differs is the cost of what was done in between.
//!
//! `strangers N KIND`: a node gets N datagrams from a stranger, of noise, of first packets of QUIC
//! version 1 (`initial`), of recorded first flights (`recorded`), or, for comparison, none: they go
//! to a socket that nobody reads. `bulk N`: N MiB over one stream with an MTU of 1,452.
//!
//! `benches/instructions.sh` runs it and does the sums.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark may fail by panicking, and prints"
)]

use std::{net::UdpSocket, time::Duration};

use bytes::Bytes;
use stc::Key;
use stt::{Mode, Node, NodeBuilder, SharedSeed};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["strangers", count, kind] => runtime.block_on(strangers(count.parse().unwrap(), kind)),
        ["bulk", mib] => runtime.block_on(bulk(mib.parse().unwrap())),
        // All benchmarks of the crate are run together sometimes; alone this one says nothing.
        _ => println!("for benches/instructions.sh: strangers N KIND, or bulk N"),
    }
}

fn builder() -> NodeBuilder {
    Node::builder(SharedSeed::from_key(Key::from_bytes([1; 32]))).host("127.0.0.1")
}

/// A datagram of this kind; `fill` makes each another one.
fn datagram(kind: &str, fill: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..1200_u16).map(|at| at.to_le_bytes()[0].wrapping_mul(fill)).collect();
    if kind == "initial" {
        bytes[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 20]);
    }
    bytes
}

async fn strangers(count: u64, kind: &str) {
    let node = builder().start(Mode::Server).await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = if kind == "none" { sink.local_addr().unwrap() } else { node.local_addr() };
    stranger.connect(to).unwrap();
    let recorded =
        if kind == "recorded" { Some(first_flight(&node, &stranger).await) } else { None };
    let before = node.stats().udp_transport.datagrams_received;
    let mut sent = 0;
    while sent < count {
        for _ in 0..32.min(count - sent) {
            let fill = sent.to_le_bytes()[0];
            let datagram = recorded.clone().unwrap_or_else(|| datagram(kind, fill));
            // The sink may be full.
            let _ = stranger.send(&datagram);
            sent += 1;
        }
        while kind != "none" && node.stats().udp_transport.datagrams_received - before < sent {
            tokio::task::yield_now().await;
        }
    }
    let stats = node.stats().udp_transport;
    println!(
        "sent {sent}, unknown {}, replayed {}, answered {}",
        stats.dropped_unknown, stats.dropped_replayed, stats.datagrams_sent
    );
}

/// Makes a session with the node through a socket of the stranger's, who records its beginning.
async fn first_flight(node: &Node, stranger: &UdpSocket) -> Vec<u8> {
    let outside = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = outside.local_addr().unwrap().to_string();
    let inside = tokio::net::UdpSocket::from_std({
        let socket = stranger.try_clone().unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    })
    .unwrap();
    let member = builder().start(Mode::Client).await.unwrap();
    let relay = async {
        let (mut first, mut client) = (None, None);
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                Ok((length, from)) = outside.recv_from(&mut up) => {
                    client = Some(from);
                    first.get_or_insert_with(|| up[..length].to_vec());
                    let _ = inside.send(&up[..length]).await;
                }
                Ok(length) = inside.recv(&mut down) => {
                    if let Some(client) = client {
                        let _ = outside.send_to(&down[..length], client).await;
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(500)), if first.is_some() => {
                    return first.unwrap();
                }
            }
        }
    };
    let join = async {
        let session = member.connect(&address).await.unwrap();
        session.close("recorded").await;
        member.stop_within(Duration::from_secs(1)).await;
    };
    let (first, ()) = tokio::join!(relay, join);
    let _ = node;
    first
}

async fn bulk(mib: usize) {
    let small = || builder().max_mtu(1_452);
    let server = small().start(Mode::Server).await.unwrap();
    let client = small().start(Mode::Client).await.unwrap();
    let ours = client.connect(&server.local_addr().to_string()).await.unwrap();
    let theirs = server.accept().await.unwrap();
    let mut out = ours.get_stream(1).unwrap().into_raw();
    let mut into = theirs.get_stream(1).unwrap().into_raw();
    let piece = Bytes::from(vec![7; 1 << 16]);
    let send = async {
        for _ in 0..mib * 16 {
            out.write_chunk(piece.clone()).await.unwrap();
        }
        out.close().await.unwrap();
    };
    let receive = async {
        let mut got = 0;
        while let Some(chunk) = into.read_chunk(usize::MAX).await.unwrap() {
            got += chunk.len();
        }
        assert_eq!(got, mib << 20);
    };
    tokio::join!(send, receive);
    let datagrams = |node: &Node| node.stats().udp_transport.datagrams_sent;
    println!("datagrams {}", datagrams(&client) + datagrams(&server));
}
