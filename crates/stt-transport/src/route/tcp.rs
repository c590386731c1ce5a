//! Where streams of bytes come from: TCP, or what a simulation has in its place.

use std::{future::Future, io, net::SocketAddr, pin::Pin};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};

/// A stream of bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// A stream, and whose it is.
pub struct Stream {
    /// What is read and written.
    pub bytes: Box<dyn ByteStream>,
    /// This node's end and the other one.
    pub ends: Option<(SocketAddr, SocketAddr)>,
}

/// What takes a while.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens streams.
pub trait Network: Send + Sync {
    /// One to `host`.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Soon<'a, io::Result<Stream>>;

    /// Those that others open to `at`, and where that is with the port that it got.
    fn listen(&self, at: SocketAddr) -> io::Result<(SocketAddr, Box<dyn Accept>)>;
}

/// Waits for streams that others open.
pub trait Accept: Send {
    /// The next one, and where it comes from. May be dropped while it waits.
    fn accept(&mut self) -> Soon<'_, io::Result<(Stream, SocketAddr)>>;
}

/// The operating system's TCP.
pub(crate) struct Tcp;

impl Network for Tcp {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Soon<'a, io::Result<Stream>> {
        Box::pin(async move { opened(TcpStream::connect((host, port)).await?) })
    }

    fn listen(&self, at: SocketAddr) -> io::Result<(SocketAddr, Box<dyn Accept>)> {
        let listener = std::net::TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok((listener.local_addr()?, Box::new(listener)))
    }
}

impl Accept for TcpListener {
    fn accept(&mut self) -> Soon<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = Self::accept(self).await?;
            Ok((opened(stream)?, from))
        })
    }
}

fn opened(stream: TcpStream) -> io::Result<Stream> {
    // What is written is whole datagrams: nothing to wait for.
    stream.set_nodelay(true)?;
    let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?))).ok();
    Ok(Stream { bytes: Box::new(stream), ends })
}
