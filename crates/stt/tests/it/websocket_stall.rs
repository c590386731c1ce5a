//! A WebSocket peer that stops taking bytes holds up itself, and nobody else.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{net::SocketAddr, time::Duration};

use crate::common::{builder, other_end, seed};
use bytes::Bytes;
use stt::Mode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Carries one connection to `inner`, and nothing more towards the client once `stalled` says so.
async fn relay(inner: SocketAddr, mut stalled: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(inner).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let there = tokio::io::copy(&mut from_client, &mut to_server);
        let back = async {
            let mut buffer = vec![0; 16 << 10];
            loop {
                let _ = stalled.wait_for(|stalled| !stalled).await;
                let len = from_server.read(&mut buffer).await?;
                to_client.write_all(&buffer[..len]).await?;
                if len == 0 {
                    return std::io::Result::Ok(());
                }
            }
        };
        let _ = tokio::join!(there, back);
    });
    address
}

#[tokio::test]
async fn a_stalled_websocket_peer_bounds_its_own_memory_and_others_go_on() {
    const PIECE: usize = 64 << 10;
    let seed = seed();
    let server = builder(&seed).websocket(ANY).start(Mode::Server).await.unwrap();
    let inner = server.websocket_addr().unwrap();
    let (stall, stalled) = watch::channel(false);
    let outer = relay(inner, stalled).await;
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    let slow = client.connect(&format!("ws://{outer}")).await.unwrap();
    let to_slow = other_end(&server, &slow).await.open_stream().unwrap();
    let brisk = client.connect(&format!("ws://{inner}")).await.unwrap();
    let to_brisk = other_end(&server, &brisk).await.open_stream().unwrap();
    assert_eq!(server.stats().websocket_connections, 2);
    stall.send_replace(true);

    let piece = Bytes::from(vec![7; PIECE]);
    let mut taken = 0;
    // Longer than the queue, the credit and everything in between could hold.
    for _ in 0..200 {
        taken += usize::from(to_slow.try_send(&piece).is_ok());
        to_brisk.send(piece.clone()).await.unwrap();
        let there = brisk.get_stream(to_brisk.id()).unwrap();
        assert_eq!(there.receive().await.unwrap().unwrap().len(), PIECE);
    }
    // One queue of a stream (1 MiB), and the credit of its peer (1 MiB).
    assert!((16..=34).contains(&taken), "{taken} pieces");
    assert_eq!(slow.close_reason(), None);

    stall.send_replace(false);
    let there = slow.get_stream(to_slow.id()).unwrap();
    let all = tokio::time::timeout(Duration::from_secs(30), async {
        for _ in 0..taken {
            assert_eq!(there.receive().await.unwrap().unwrap().len(), PIECE);
        }
    });
    all.await.unwrap();
}
