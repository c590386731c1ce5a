//! The peer of our WebSocket routes: tokio-tungstenite with its default settings, in TLS by rustls
//! with the cipher of STT, or plain.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls::pki_types::ServerName};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite::Message};

use crate::{Result, process::Spent, quinn_peer};

/// Any port of this machine.
pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A WebSocket without TLS.
pub type Plain = WebSocketStream<TcpStream>;

/// Accepts WebSockets and keeps them, until the process ends.
pub async fn hold() -> Result<SocketAddr> {
    let listener = TcpListener::bind(ANY).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut socket) = accept_async(stream).await {
                    while socket.next().await.is_some_and(|message| message.is_ok()) {}
                }
            });
        }
    });
    Ok(address)
}

/// A WebSocket that is read, as every user of one has to.
pub async fn plain(to: SocketAddr) -> Result<Plain> {
    let stream = TcpStream::connect(to).await?;
    let (mut socket, _) = client_async(format!("ws://{to}/"), stream).await?;
    socket.send(Message::Binary(Bytes::from_static(b"hello"))).await?;
    // As long as nothing comes, reading once leaves the buffers as a reader would have them.
    let waiting = std::future::poll_fn(|cx| {
        let _ = socket.poll_next_unpin(cx);
        std::task::Poll::Ready(())
    });
    waiting.await;
    Ok(socket)
}

/// Bytes from a client to a server in messages of `block` bytes, until the server says that it has
/// all: seconds on the clock, and of processor time.
pub async fn bulk(on: Handle, total: usize, block: usize) -> Result<[f64; 2]> {
    let listener = TcpListener::bind(ANY).await?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(Arc::new(quinn_peer::tls_server()?));
    let receiving = on.spawn(async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut socket = accept_async(acceptor.accept(stream).await?).await?;
        let mut got = 0;
        while got < total {
            let message = socket.next().await.ok_or("it ended early")??;
            got += message.len();
        }
        socket.send(Message::Binary(Bytes::from_static(b"done"))).await?;
        Result::Ok(())
    });
    let connector = TlsConnector::from(Arc::new(quinn_peer::tls_client()?));
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
    let (mut socket, _) = client_async("wss://localhost/", stream).await?;
    let piece = Bytes::from(vec![0x5a; block]);
    let spent = Spent::nothing()?;
    let mut left = total;
    while left > 0 {
        let len = left.min(block);
        socket.feed(Message::Binary(piece.slice(..len))).await?;
        left -= len;
    }
    socket.flush().await?;
    let answer = socket.next().await.ok_or("it ended early")??;
    let seconds = spent.seconds()?;
    if answer.into_data() != b"done"[..] {
        return Err("not everything arrived".into());
    }
    receiving.await??;
    Ok(seconds)
}
