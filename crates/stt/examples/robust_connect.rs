//! Connecting to a peer that is not there yet, and again when it went away: tries that wait longer
//! each time, and give up only where trying again cannot help.
//!
//! `cargo run --example robust_connect`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use common::Outcome;
use stt::{
    Admission, CloseReason, Coded, ConnectError, ConnectOptions, Mode, Node, NodeId, Session,
    SharedSeed,
};

/// When to give up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How tries follow each other.
struct Backoff {
    /// The pause after the first failure; it doubles with each further one.
    first: Duration,
    /// The longest pause.
    most: Duration,
    /// When to give up.
    patience: Duration,
}

impl Backoff {
    /// The pause after `failures` of them: drawn between a half and the whole, so that peers which
    /// lost the same node do not come back all at once.
    fn pause(&self, failures: u32) -> Duration {
        let whole = self.first.saturating_mul(1 << failures.min(16)).min(self.most);
        whole.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
    }

    /// Connects to the node that has `id`, wherever it may answer.
    async fn connect(
        &self,
        node: &Node,
        address: &str,
        id: NodeId,
    ) -> Result<(Session, u32), ConnectError> {
        let (start, mut failures) = (Instant::now(), 0);
        loop {
            let error = match node
                .connect_with(
                    address,
                    &ConnectOptions::new().expect(id).timeout(Duration::from_millis(300)),
                )
                .await
            {
                Ok(session) => return Ok((session, failures)),
                Err(error) => error,
            };
            let pause = self.pause(failures);
            failures += 1;
            if !error.retry_helps() || start.elapsed() + pause > self.patience {
                return Err(error);
            }
            println!("  {} [{}]: again in {} ms", error, error.code(), pause.as_millis());
            tokio::time::sleep(pause).await;
        }
    }
}

/// A node that keeps its identity over restarts, at a port that it keeps too.
async fn server(seed: &SharedSeed, at: SocketAddr) -> Outcome<Node> {
    let builder = Node::builder(seed.clone()).node_seed([7; 32]).persistent_identity(true);
    let builder = builder.host(at.ip().to_string()).port(at.port());
    // The port may be in use for a moment more.
    let start = Instant::now();
    loop {
        match builder.clone().start(Mode::Server).await {
            Err(error) if error.code() == "node.port_in_use" && start.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            started => return Ok(started?),
        }
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let seed = common::seed()?;
    let client = common::node(&seed, Mode::Client).await?;
    let backoff = Backoff {
        first: Duration::from_millis(50),
        most: Duration::from_secs(2),
        patience: PATIENCE,
    };

    // Where and who: learned once, then the node is gone.
    let first = server(&seed, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let (at, id) = (first.local_addr(), first.node_id());
    first.stop_within(Duration::ZERO).await;
    drop(first);

    println!("1. The peer comes up while we try:");
    let coming = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        server(&seed, at).await
    };
    let address = at.to_string();
    let (connected, peer) = tokio::join!(backoff.connect(&client, &address, id), coming);
    let ((session, failures), peer) = (connected?, peer?);
    println!("  connected to {:.8} after {failures} failures", session.peer_node_id().to_string());
    if failures == 0 {
        return Err("it should not have been there at first".into());
    }

    println!("2. The peer restarts, and we come back by ourselves:");
    let restart = async {
        peer.stop_within(Duration::from_secs(1)).await;
        drop(peer);
        server(&seed, at).await
    };
    let back = async {
        let reason = session.closed().await;
        println!("  the session ended: {reason}");
        let again = backoff.connect(&client, &address, id).await;
        again.map(|(session, _)| (session, reason))
    };
    let (peer, back) = tokio::join!(restart, back);
    let (peer, (session, reason)) = (peer?, back?);
    session.ping().await?;
    println!("  connected again, to the same node: {}", session.peer_node_id() == id);
    if reason != (CloseReason::Shutdown { by_peer: true }) {
        return Err(format!("it ended otherwise: {reason}").into());
    }

    println!("3. The peer does not want us, which no try will change:");
    peer.set_admission(Admission::everyone().deny(client.node_id()));
    let start = Instant::now();
    match backoff.connect(&client, &address, id).await {
        Err(error) if !error.retry_helps() => println!("  {error} [{}]: given up", error.code()),
        other => return Err(format!("expected to be refused, got {other:?}").into()),
    }
    if start.elapsed() > backoff.patience {
        return Err("it should have given up at once".into());
    }
    println!("proved: connected late, came back after a restart, gave up when refused");
    Ok(())
}
