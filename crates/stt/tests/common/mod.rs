//! What the tests over real sockets share.
#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod relay;

use std::sync::Arc;

pub(crate) use relay::Relay;
use stt::{
    Mode, Node, NodeBuilder, ProtocolHandler, ProtocolStream, Session, SharedSeed, transfer,
};
use tokio::sync::{Mutex, mpsc};

/// A random seed, which needs no stretch.
pub(crate) fn seed() -> SharedSeed {
    SharedSeed::from_key(stc::Key::generate().unwrap())
}

/// Settings of a node on the loopback interface.
pub(crate) fn builder(seed: &SharedSeed) -> NodeBuilder {
    Node::builder(seed.clone()).host("127.0.0.1")
}

/// A server and a client of one seed.
pub(crate) async fn nodes() -> (Node, Node) {
    let seed = seed();
    let server = builder(&seed).start(Mode::Server).await.unwrap();
    let client = builder(&seed).start(Mode::Client).await.unwrap();
    (server, client)
}

/// Two nodes with a session, as each of them sees it: server, client, server's, client's.
pub(crate) async fn session() -> (Node, Node, Session, Session) {
    let (server, client) = nodes().await;
    let ours = connect(&client, &server).await;
    let theirs = other_end(&server, &ours).await;
    (server, client, theirs, ours)
}

/// Connects `from` to `to`.
pub(crate) async fn connect(from: &Node, to: &Node) -> Session {
    from.connect(&to.local_addr().to_string()).await.unwrap()
}

/// The same session at `node`, which may learn of it a moment later.
pub(crate) async fn other_end(node: &Node, session: &Session) -> Session {
    loop {
        if let Some(session) = node.session(session.id()) {
            return session;
        }
        tokio::task::yield_now().await;
    }
}

/// The transfers that are offered to a node, one by one.
#[derive(Clone)]
pub(crate) struct Inbox {
    _handler: Arc<ProtocolHandler>,
    offered: Arc<Mutex<mpsc::UnboundedReceiver<ProtocolStream>>>,
}

impl Inbox {
    pub(crate) fn of(node: &Node) -> Self {
        let (offer, offered) = mpsc::unbounded_channel();
        let handler = node.handle_protocol(transfer::LABEL, move |_, stream| {
            let _ = offer.send(stream);
            std::future::ready(())
        });
        Self { _handler: Arc::new(handler.unwrap()), offered: Arc::new(Mutex::new(offered)) }
    }

    /// The next one.
    pub(crate) async fn next(&self) -> ProtocolStream {
        self.offered.lock().await.recv().await.unwrap()
    }
}
