//! The peer that most people have: TLS by rustls over TCP, with the cipher of STT.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls::pki_types::ServerName};

use crate::{Result, process::Spent, quinn_peer, websocket_peer::ANY};

/// Bytes from a client to a server in blocks, until the server says that it has all: seconds on the
/// clock, and of processor time.
pub async fn bulk(on: Handle, total: usize, block: usize) -> Result<[f64; 2]> {
    let listener = TcpListener::bind(ANY).await?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(Arc::new(quinn_peer::tls_server()?));
    let receiving = on.spawn(async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut stream = acceptor.accept(stream).await?;
        let (mut got, mut buffer) = (0, vec![0; block]);
        while got < total {
            match stream.read(&mut buffer).await? {
                0 => return Err("it ended early".into()),
                count => got += count,
            }
        }
        stream.write_all(b"done").await?;
        stream.flush().await?;
        Result::Ok(())
    });
    let connector = TlsConnector::from(Arc::new(quinn_peer::tls_client()?));
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
    let piece = vec![0x5a; block];
    let spent = Spent::nothing()?;
    let mut left = total;
    while left > 0 {
        let len = left.min(block);
        stream.write_all(&piece[..len]).await?;
        left -= len;
    }
    stream.flush().await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    let seconds = spent.seconds()?;
    if &answer != b"done" {
        return Err("not everything arrived".into());
    }
    receiving.await??;
    Ok(seconds)
}
