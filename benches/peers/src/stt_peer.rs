//! Our side of every comparison, through the public interface alone.

use std::{net::SocketAddr, time::Duration};

use stt::{ConnectOptions, Mode, Node, NodeBuilder, Session, SharedSeed};
use tokio::runtime::Handle;

use crate::{Result, websocket_peer};

/// What is set apart from the defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// Bound of the path MTU.
    pub max_mtu: Option<u16>,
    /// Over a WebSocket.
    pub websocket: bool,
}

/// Two nodes and one session between them.
pub struct Pair {
    pub client: Session,
    pub server: Session,
    pub client_node: Node,
    pub server_node: Node,
}

/// A seed that only the processes of this run know.
pub fn seed() -> SharedSeed {
    SharedSeed::from_key(stc::Key::from_bytes([0x5e; 32]))
}

pub fn builder(terms: Terms) -> Result<NodeBuilder> {
    // All clients have one address here, and the peer has no such limit.
    let builder = Node::builder(seed()).host("127.0.0.1").handshakes_per_second(u32::MAX);
    Ok(match terms.max_mtu {
        Some(bytes) => builder.max_mtu(bytes),
        None => builder,
    })
}

/// Starts a node in the runtime of `on`.
pub async fn node(on: &Handle, terms: Terms, mode: Mode) -> Result<Node> {
    let builder = builder(terms)?;
    Ok(on.spawn(builder.start(mode)).await??)
}

pub async fn connect(node: &Node, to: SocketAddr) -> Result<Session> {
    connect_to(node, &to.to_string()).await
}

/// To an address with a scheme.
pub async fn connect_to(node: &Node, to: &str) -> Result<Session> {
    Ok(node.connect_with(to, &ConnectOptions::new().timeout(Duration::from_secs(30))).await?)
}

/// A client here, a server in the runtime of `on`, and a session.
pub async fn pair(on: &Handle, terms: Terms) -> Result<Pair> {
    let builder = builder(terms)?;
    let builder = if terms.websocket { builder.websocket(websocket_peer::ANY) } else { builder };
    let server_node = on.spawn(builder.start(Mode::Server)).await??;
    let client_node = node(&Handle::current(), terms, Mode::Client).await?;
    let address = match server_node.websocket_addr() {
        Some(address) => format!("ws://{address}"),
        None => format!("udp://{}", server_node.local_addr()),
    };
    let client = connect_to(&client_node, &address).await?;
    if client.suite() != stc::aead::Suite::Aes256Gcm {
        return Err("the processor has no AES, so the ciphers would differ".into());
    }
    let server = loop {
        match server_node.session(client.id()) {
            Some(session) => break session,
            None => tokio::task::yield_now().await,
        }
    };
    Ok(Pair { client, server, client_node, server_node })
}

impl Pair {
    /// Ends both sides.
    pub async fn stop(self) {
        self.client_node.stop_within(Duration::from_secs(1)).await;
        self.server_node.stop_within(Duration::from_secs(1)).await;
    }
}
