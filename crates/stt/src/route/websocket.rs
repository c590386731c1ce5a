//! Listening, dialling, and moving datagrams in and out of WebSockets.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        handshake::{client::Request, derive_accept_key},
        http::{HeaderValue, header::COOKIE as COOKIE_HEADER},
        protocol::{Role, WebSocketConfig},
    },
};

use super::{
    Place, Table, Tls, TlsError,
    http::{self, Head},
    table::Entry,
};
use crate::limits::{DoorLimits, Doorkeeper};

/// Clients that have not sent their request yet: of one address a quarter, and so many new ones a
/// second. Each has 10 s, and 1 s where there are too many.
const REQUESTS: DoorLimits = DoorLimits {
    per_second: match NonZeroU64::new(256) {
        Some(number) => number,
        None => NonZeroU64::MIN,
    },
    max_half_open: 256,
};
/// Peers over WebSockets at once.
const MAX_PEERS: usize = 16_384;
/// Largest message: a datagram has at most 64 KiB.
const MAX_MESSAGE: usize = 1 << 16;
/// Read buffer of one WebSocket: the library's own default, 128 KiB, would be most of what an idle
/// session costs.
const READ_BUFFER: usize = 4 << 10;
/// Datagrams written between two flushes.
const BATCH: usize = 32;

/// A listener; dropping it ends it and its connections.
pub(crate) struct Listener {
    address: SocketAddr,
    task: AbortHandle,
}

impl Listener {
    /// Listens at `address` for peers whose knock `admit` lets in, from where they are. To others it is a web server
    /// that has no such page.
    pub(crate) fn start(
        address: SocketAddr,
        table: Arc<Table>,
        idle: Duration,
        admit: impl Fn(&[u8], IpAddr) -> bool + Send + Sync + 'static,
        turned_away: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let listening = listen(listener, table, idle, Arc::new(admit), turned_away);
        let task = tokio::spawn(listening).abort_handle();
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Admit = Arc<dyn Fn(&[u8], IpAddr) -> bool + Send + Sync>;

async fn listen(
    listener: TcpListener,
    table: Arc<Table>,
    idle: Duration,
    admit: Admit,
    turned_away: impl Fn(),
) {
    let pending = Arc::new(Doorkeeper::new(REQUESTS));
    // Ends with this task, and its connections with it.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, from)) = accepted else {
            // Out of file descriptors, most likely: others may be closed meanwhile.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(mut begun) = pending.begin(Some(from.ip())) else {
            turned_away();
            continue;
        };
        let (table, admit) = (Arc::clone(&table), Arc::clone(&admit));
        connections.spawn(async move {
            let expired = begun.expired();
            let upgraded = tokio::select! {
                upgraded = upgrade(stream, from.ip(), &table, &admit) => upgraded,
                () = expired => return,
            };
            drop(begun);
            if let Ok(Some(socket)) = upgraded {
                let ends = ends(socket.get_ref());
                carry(socket, table.add(ends), idle).await;
            }
        });
    }
}

/// Reads a request and answers it. `None` if it was not a peer's.
async fn upgrade(
    mut stream: TcpStream,
    from: IpAddr,
    table: &Table,
    admit: &Admit,
) -> io::Result<Option<WebSocketStream<TcpStream>>> {
    stream.set_nodelay(true)?;
    let mut head: Vec<u8> = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        // What begins like no method, a greeting of TLS for one, is answered at once.
        let no_http = head.first().is_some_and(|first| !first.is_ascii_uppercase());
        if no_http || head.len() >= http::MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            stream.write_all(http::BAD_REQUEST.as_bytes()).await?;
            return Ok(None);
        }
    };
    let rest = head.get(end.saturating_add(4)..).unwrap_or_default();
    let answer = match http::read(head.get(..end).unwrap_or_default()) {
        // Nothing follows an upgrade before it was answered.
        Head::Upgrade(upgrade)
            if rest.is_empty() && table.len() < MAX_PEERS && admit(&upgrade.knock, from) =>
        {
            let accept = derive_accept_key(upgrade.key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await?;
            let socket =
                WebSocketStream::from_raw_socket(stream, Role::Server, Some(config())).await;
            return Ok(Some(socket));
        }
        Head::Malformed => http::BAD_REQUEST,
        Head::Upgrade(_) | Head::Other => http::NOT_FOUND,
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// Why no WebSocket was opened.
pub(crate) enum DialError {
    /// The server's certificate does not verify.
    Certificate(String),
    /// Anything else, in words.
    Failed(String),
}

impl DialError {
    /// What happened.
    pub(super) fn into_words(self) -> String {
        match self {
            Self::Certificate(why) | Self::Failed(why) => why,
        }
    }

    fn from(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Opens a WebSocket to `place`, inside of `tls` if there is any, with `knock` in the request, and
/// returns the peer's stand-in. It lives until nothing came for `idle`.
pub(crate) async fn dial(
    place: &Place,
    tls: Option<&Tls>,
    knock: &[u8],
    table: &Arc<Table>,
    idle: Duration,
) -> Result<SocketAddr, DialError> {
    let stream =
        TcpStream::connect((place.host.as_str(), place.port)).await.map_err(DialError::from)?;
    stream.set_nodelay(true).map_err(DialError::from)?;
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let mut request = format!("{scheme}://{place}{}", place.path)
        .into_client_request()
        .map_err(DialError::from)?;
    let cookie = format!("{}={}", http::COOKIE, http::to_hex(knock));
    let cookie = HeaderValue::from_str(&cookie).map_err(DialError::from)?;
    request.headers_mut().insert(COOKIE_HEADER, cookie);
    let ends = ends(&stream);
    match tls {
        None => open(request, stream, table, ends, idle).await,
        Some(tls) => {
            let stream = tls.connect(&place.host, stream).await.map_err(|error| match error {
                TlsError::Certificate(why) => DialError::Certificate(why),
                TlsError::Other(why) => DialError::Failed(why),
            })?;
            open(request, stream, table, ends, idle).await
        }
    }
}

async fn open<S>(
    request: Request,
    stream: S,
    table: &Arc<Table>,
    ends: Option<(SocketAddr, SocketAddr)>,
    idle: Duration,
) -> Result<SocketAddr, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (socket, _) =
        client_async_with_config(request, stream, Some(config())).await.map_err(DialError::from)?;
    let entry = table.add(ends);
    let stand_in = entry.stand_in;
    tokio::spawn(carry(socket, entry, idle));
    Ok(stand_in)
}

/// This node's end of a connection, and the other one.
fn ends(stream: &TcpStream) -> Option<(SocketAddr, SocketAddr)> {
    Some((stream.local_addr().ok()?, stream.peer_addr().ok()?))
}

/// Small buffers, and no message larger than a datagram.
fn config() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = READ_BUFFER;
    config.write_buffer_size = 0;
    config.max_write_buffer_size = 4 * MAX_MESSAGE;
    config.max_message_size = Some(MAX_MESSAGE);
    config.max_frame_size = Some(MAX_MESSAGE);
    config
}

/// Moves datagrams both ways until the WebSocket ends or nothing came for `idle`.
///
/// Reading waits while the engine has no room, writing while the peer takes nothing; neither waits
/// for the other.
async fn carry<S>(socket: WebSocketStream<S>, mut entry: Entry, idle: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut source) = socket.split();
    let (_, empty) = tokio::sync::mpsc::channel(1);
    let mut queue = std::mem::replace(&mut entry.queue, empty);
    let writing = async {
        let mut batch: Vec<Bytes> = Vec::new();
        while queue.recv_many(&mut batch, BATCH).await > 0 {
            for datagram in batch.drain(..) {
                let bytes = datagram.len();
                let fed = sink.feed(Message::Binary(datagram)).await;
                entry.sent(bytes);
                if fed.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        while let Ok(Some(Ok(message))) = timeout(idle, source.next()).await {
            match message {
                Message::Binary(datagram) => {
                    if !entry.received(datagram).await {
                        return;
                    }
                }
                Message::Ping(_) | Message::Pong(_) => {}
                _ => return,
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}
