//! Listening for WebSockets, and dialling them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, BytesMut};
use stc::Cause;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::{AbortHandle, JoinSet},
};
use tungstenite::{
    client::IntoClientRequest,
    handshake::{
        client::{Response, generate_request},
        derive_accept_key,
        machine::TryParse,
    },
    http::{HeaderValue, header::COOKIE as COOKIE_HEADER},
};

use super::{
    HostPort, Table, Tls, TlsError, Web,
    http::{self, Head},
    mapped_addrs::Entry,
    tcp::{Accept, ByteStream, Network, Stream},
    websocket_io::{Role, carry},
    websocket_upgrade,
};
use crate::limits::{HalfOpenGuard, HandshakeLimiter, HandshakeLimits};

/// Clients that have not sent their request yet: of one address a quarter, and so many new ones a
/// second. Each has 10 s, and 1 s where there are too many.
const REQUESTS: HandshakeLimits = HandshakeLimits {
    per_second: match NonZeroU64::new(256) {
        Some(number) => number,
        None => NonZeroU64::MIN,
    },
    max_half_open: 256,
};
/// How long a stranger may go on sending what nobody reads, after the answer.
const LINGER: Duration = Duration::from_secs(2);
/// How long opening a WebSocket may take, with TCP and TLS: as long as a listener gives.
const PATIENCE: Duration = Duration::from_secs(10);

/// What members' WebSockets may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebSocketLimits {
    /// WebSockets that listeners and dialling opened, in all.
    pub(crate) max: usize,
    /// Those without a session: how many of one address begin a second, and how many there are.
    pub(crate) idle: HandshakeLimits,
}

/// A listener; dropping it ends it and its connections.
pub(crate) struct Listener {
    address: SocketAddr,
    task: AbortHandle,
}

impl Listener {
    /// Listens at `address` for peers whose knock `admit` lets in, from where they are. To others it
    /// is a web server that has no such page.
    pub(crate) fn start(
        network: &dyn Network,
        address: SocketAddr,
        table: Arc<Table>,
        idle: Duration,
        limits: WebSocketLimits,
        admit: impl Fn(&[u8], IpAddr) -> bool + Send + Sync + 'static,
        turned_away: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (address, listener) = network.listen(address)?;
        let idlers = Arc::new(HandshakeLimiter::new(limits.idle));
        let doors = Doors { table, idlers, admit: Arc::new(admit), max: limits.max };
        let listening = listen(listener, doors, idle, turned_away);
        let task = tokio::spawn(listening).abort_handle();
        Ok(Self { address, task })
    }

    /// Takes nobody in any more; returns when the port is free, at most after `patience`.
    pub(crate) async fn close(&self, patience: Duration) {
        self.task.abort();
        let over = async {
            while !self.task.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // A task that does not end is one that the runtime has no time for.
        let _ = tokio::time::timeout(patience, over).await;
    }

    /// Where it listens, or did.
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

/// Who decides over an upgrade.
#[derive(Clone)]
struct Doors {
    table: Arc<Table>,
    /// WebSockets without a session.
    idlers: Arc<HandshakeLimiter>,
    admit: Admit,
    max: usize,
}

/// A WebSocket that was let in.
struct Upgraded {
    stream: Stream,
    entry: Entry,
    /// Until a session uses it.
    idler: HalfOpenGuard,
}

async fn listen(
    mut listener: Box<dyn Accept>,
    doors: Doors,
    idle: Duration,
    turned_away: impl Fn(),
) {
    let pending = Arc::new(HandshakeLimiter::new(REQUESTS));
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
        let doors = doors.clone();
        connections.spawn(async move {
            let expired = begun.expired();
            let upgraded = tokio::select! {
                upgraded = upgrade(stream, from.ip(), &doors) => upgraded,
                () = expired => return,
            };
            drop(begun);
            if let Ok(Some(Upgraded { stream, entry, mut idler })) = upgraded {
                let owned = entry.owned();
                let expired = idler.expired();
                let carried = carry(stream.bytes, Role::Server, BytesMut::new(), entry, idle);
                tokio::pin!(carried);
                tokio::select! {
                    biased;
                    () = owned => drop(idler),
                    () = &mut carried => return,
                    // No session came of it in the time of a handshake.
                    () = expired => return,
                }
                carried.await;
            }
        });
    }
}

/// Reads a request and answers it. `None` if it was not a peer's.
async fn upgrade(mut stream: Stream, from: IpAddr, doors: &Doors) -> io::Result<Option<Upgraded>> {
    let bytes = &mut stream.bytes;
    let mut head: Vec<u8> = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        // What begins like no method, a greeting of TLS for one, is answered at once.
        let no_http = head.first().is_some_and(|first| !first.is_ascii_uppercase());
        if no_http || head.len() >= http::MAX_HEAD || bytes.read_buf(&mut head).await? == 0 {
            return refuse(bytes, http::BAD_REQUEST).await;
        }
    };
    let rest = head.get(end.saturating_add(4)..).unwrap_or_default();
    match http::read(head.get(..end).unwrap_or_default()) {
        // Nothing follows an upgrade before it was answered.
        Head::Upgrade(upgrade) if rest.is_empty() && (doors.admit)(&upgrade.knock, from) => {
            // A place first: of many at once only as many get one as there are.
            let entry = doors.table.add_within(doors.max, stream.ends, Role::Server);
            let idler = doors.idlers.begin_at(Some(from), true).ok();
            let (Some(entry), Some(idler)) = (entry, idler) else {
                return refuse(bytes, http::NOT_FOUND).await;
            };
            let accept = derive_accept_key(upgrade.key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            bytes.write_all(answer.as_bytes()).await?;
            Ok(Some(Upgraded { stream, entry, idler }))
        }
        Head::Malformed => refuse(bytes, http::BAD_REQUEST).await,
        Head::Upgrade(_) | Head::Other => refuse(bytes, http::NOT_FOUND).await,
        Head::Bodiless => refuse(bytes, http::not_found_head()).await,
    }
}

/// Answers a stranger.
///
/// What a client still sends, the body of a form for one, is read for a while and thrown away: a
/// connection that is closed over unread bytes is reset, and the client might never see the answer
/// (RFC 9112, section 9.6).
async fn refuse(stream: &mut Box<dyn ByteStream>, answer: &str) -> io::Result<Option<Upgraded>> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    let draining = async { while stream.read(&mut unread).await.is_ok_and(|len| len > 0) {} };
    // Who goes on for longer has had its answer.
    let _ = tokio::time::timeout(LINGER, draining).await;
    Ok(None)
}

/// Why no WebSocket was opened.
pub enum DialError {
    /// The server's certificate does not verify.
    Certificate(Cause),
    /// The path or the connection broke, or nothing was heard: another connection may get through.
    Broken(Cause),
    /// This machine has no route to the server.
    NoRoute(Cause),
    /// Anything else, in words.
    Failed(Cause),
}

impl DialError {
    /// What happened.
    pub(super) fn into_cause(self) -> Cause {
        match self {
            Self::Certificate(why) | Self::Broken(why) | Self::NoRoute(why) | Self::Failed(why) => {
                why
            }
        }
    }

    fn failed(error: impl Into<Cause>) -> Self {
        Self::Failed(error.into())
    }

    fn broken(error: impl Into<Cause>) -> Self {
        Self::Broken(error.into())
    }

    /// Why there is no TCP connection. That the path is away is nothing for good; that nobody listens,
    /// that there is no such name, or no route from here, is.
    fn connecting(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::NetworkUnreachable => Self::NoRoute(error.into()),
            Kind::HostUnreachable
            | Kind::NetworkDown
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::TimedOut => Self::broken(error),
            _ => Self::failed(error),
        }
    }
}

/// Opens WebSockets.
pub(crate) struct Dialler {
    pub(crate) network: Arc<dyn Network>,
    pub(crate) tls: Tls,
    pub(crate) table: Arc<Table>,
    /// How long a WebSocket lives through which nothing comes.
    pub(crate) idle: Duration,
}

impl Dialler {
    /// Opens a WebSocket with `knock` in the request, and returns the peer's stand-in. A server that
    /// takes longer than 10 s is given up.
    pub(crate) async fn dial(&self, web: &Web, knock: &[u8]) -> Result<SocketAddr, DialError> {
        let opened = tokio::time::timeout(PATIENCE, self.open(web, knock)).await;
        opened.unwrap_or_else(|_| {
            Err(DialError::Broken(Cause::text(format!(
                "no answer within {} s",
                PATIENCE.as_secs()
            ))))
        })
    }

    async fn open(&self, web: &Web, knock: &[u8]) -> Result<SocketAddr, DialError> {
        let Web { place, secure } = web;
        let stream = self.network.connect(&place.host, place.port).await;
        let Stream { mut bytes, ends } = stream.map_err(DialError::connecting)?;
        if *secure {
            let tls = self.tls.connect(&place.host, bytes).await.map_err(|error| match error {
                TlsError::Certificate(why) => DialError::Certificate(why),
                TlsError::Broken(why) => DialError::Broken(why),
                TlsError::Other(why) => DialError::Failed(why),
            })?;
            bytes = Box::new(tls);
        }
        let ahead = ask(&mut bytes, place, *secure, knock).await?;
        let entry = self.table.add(ends, Role::Client);
        let stand_in = entry.stand_in;
        tokio::spawn(carry(bytes, Role::Client, ahead, entry, self.idle));
        Ok(stand_in)
    }
}

/// Asks for an upgrade, and returns what came after the answer.
async fn ask(
    stream: &mut Box<dyn ByteStream>,
    place: &HostPort,
    secure: bool,
    knock: &[u8],
) -> Result<BytesMut, DialError> {
    let scheme = if secure { "wss" } else { "ws" };
    let url = format!("{scheme}://{place}{}", place.path);
    let mut request = url.into_client_request().map_err(DialError::failed)?;
    let cookie = format!("{}={}", http::COOKIE, http::to_hex(knock));
    let cookie = HeaderValue::from_str(&cookie).map_err(DialError::failed)?;
    request.headers_mut().insert(COOKIE_HEADER, cookie);
    let (request, key) = generate_request(request).map_err(DialError::failed)?;
    stream.write_all(&request).await.map_err(DialError::broken)?;
    stream.flush().await.map_err(DialError::broken)?;

    let mut read = BytesMut::new();
    let (length, response) = loop {
        if let Some(parsed) = Response::try_parse(&read).map_err(DialError::failed)? {
            break parsed;
        }
        if read.len() > http::MAX_HEAD {
            return Err(DialError::Failed(Cause::text("no answer of a web server")));
        }
        if stream.read_buf(&mut read).await.map_err(DialError::broken)? == 0 {
            return Err(DialError::Broken(Cause::text("the connection ended without an answer")));
        }
    };
    websocket_upgrade::check(&response, &key).map_err(DialError::failed)?;
    read.advance(length);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::route::{Roots, Soon};

    /// Every host takes connections, and answers with these bytes, or nothing at all.
    struct Server(Option<String>);

    impl Network for Server {
        fn connect<'a>(&'a self, _: &'a str, _: u16) -> Soon<'a, io::Result<Stream>> {
            Box::pin(async {
                let (ours, mut theirs) = tokio::io::duplex(64 << 10);
                let answer = self.0.clone();
                tokio::spawn(async move {
                    let Some(answer) = answer else { return std::future::pending().await };
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        theirs.read_buf(&mut request).await.unwrap();
                    }
                    let request = String::from_utf8(request).unwrap();
                    let key = request.split_once("Sec-WebSocket-Key: ").unwrap().1;
                    let accept = derive_accept_key(key.split_once("\r\n").unwrap().0.as_bytes());
                    let answer = answer.replace("{accept}", &accept);
                    theirs.write_all(answer.as_bytes()).await.unwrap();
                    theirs.shutdown().await.unwrap();
                });
                Ok(Stream { bytes: Box::new(ours), ends: None })
            })
        }

        fn listen(&self, _: SocketAddr) -> io::Result<(SocketAddr, Box<dyn Accept>)> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// What dialling such a server gives: the error, if any, and how long it took.
    async fn dialled(answer: Option<&str>) -> (Option<String>, Duration) {
        let (table, _taken) = Table::new(false);
        let (network, tls) =
            (Arc::new(Server(answer.map(str::to_owned))), Tls::new(Roots::default()));
        let dialler = Dialler { network, tls, table, idle: Duration::from_secs(65) };
        let place = HostPort { host: "10.0.0.1".into(), port: 80, path: "/".into() };
        let before = Instant::now();
        let dialled = dialler.dial(&Web { place, secure: false }, &[7; 20]).await;
        assert_eq!(dialler.table.len(), usize::from(dialled.is_ok()));
        (dialled.err().map(|error| error.into_cause().to_string()), before.elapsed())
    }

    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_something_else_is_left_at_once() {
        let long = format!("HTTP/1.1 101 X\r\nX: {}", "x".repeat(http::MAX_HEAD * 2));
        for (answer, words) in [
            (String::new(), "ended without an answer"),
            (ANSWER.replace("\r\n\r\n", ""), "ended without an answer"),
            (long, "no answer of a web server"),
            ("SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned(), "HTTP"),
            (ANSWER.replace("1.1", "1.0"), "HTTP"),
            (ANSWER.replace("101", "302"), "302"),
            (ANSWER.replace("websocket", "h2c"), "does not speak WebSocket"),
            (ANSWER.replace("Connection: Upgrade", "Connection: close"), "does not upgrade"),
            (ANSWER.replace("{accept}", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "Sec-WebSocket-Accept"),
            (
                ANSWER.replace("{accept}", "{accept}\r\nSec-WebSocket-Extensions: x"),
                "extension that nobody asked for",
            ),
            (
                ANSWER.replace("{accept}", "{accept}\r\nSec-WebSocket-Protocol: x"),
                "subprotocol that nobody asked for",
            ),
        ] {
            let (error, took) = dialled(Some(&answer)).await;
            let error = error.unwrap_or_else(|| panic!("taken: {answer}"));
            assert!(error.contains(words), "{error}: {answer}");
            assert_eq!(took, Duration::ZERO);
        }
        assert_eq!(dialled(Some(ANSWER)).await.0, None);
        // What follows the answer at once is the WebSocket's.
        let frames = format!("{ANSWER}{}", "\u{a}".repeat(http::MAX_HEAD * 2));
        assert_eq!(dialled(Some(&frames)).await.0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_nothing_is_given_up() {
        let words = Some("no answer within 10 s".to_owned());
        assert_eq!(dialled(None).await, (words, PATIENCE));
    }

    /// A route may come back on the way to a host, but what is missing here is told at once.
    #[test]
    fn no_route_from_here_is_told_apart_from_a_path_that_is_away() {
        use io::ErrorKind as Kind;
        let of = |kind: Kind| DialError::connecting(kind.into());
        assert!(matches!(of(Kind::NetworkUnreachable), DialError::NoRoute(_)));
        assert!(matches!(of(Kind::HostUnreachable), DialError::Broken(_)));
        assert!(matches!(of(Kind::ConnectionRefused), DialError::Failed(_)));
    }
}
