//! What the examples share: two nodes on this machine that hold one seed, and a session.
#![allow(dead_code, reason = "each example uses a part of it")]

use std::{error::Error, time::Duration};

use stt::{Mode, Node, Session, SharedSeed};

/// Any failure ends an example.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A node on the loopback interface.
pub(crate) async fn node(seed: &SharedSeed, mode: Mode) -> Outcome<Node> {
    Ok(Node::builder(seed.clone()).host("127.0.0.1").start(mode).await?)
}

/// A fresh random seed.
pub(crate) fn seed() -> Outcome<SharedSeed> {
    Ok(SharedSeed::from_key(stc::Key::generate()?))
}

/// Connects `from` to `to`, and gives the session as each of them sees it.
pub(crate) async fn connect(from: &Node, to: &Node) -> Outcome<(Session, Session)> {
    let ours = from.connect(to.local_addr()).await?;
    let known = async {
        loop {
            if let Some(theirs) = to.session(ours.id()) {
                return theirs;
            }
            tokio::task::yield_now().await;
        }
    };
    let theirs = tokio::time::timeout(Duration::from_secs(30), known).await?;
    Ok((ours, theirs))
}

/// Two nodes and the two ends of their session: client, server, client's, server's.
pub(crate) async fn pair() -> Outcome<(Node, Node, Session, Session)> {
    let seed = seed()?;
    let server = node(&seed, Mode::Server).await?;
    let client = node(&seed, Mode::Client).await?;
    let (ours, theirs) = connect(&client, &server).await?;
    Ok((client, server, ours, theirs))
}
