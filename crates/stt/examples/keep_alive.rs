//! Watching sessions: signs of life, the round trip, and the reason of every end, whether it was said
//! or has to be concluded from silence.
//!
//! `cargo run --example keep_alive`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    time::{Duration, Instant},
};

use common::Outcome;
use stt::{Admission, Mode, Node, Session, SharedSeed};
use tokio::{sync::mpsc, task::JoinSet};

/// Short ones, so that the example ends soon. A node's defaults are 30 and 90 s.
const HEARTBEAT: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_secs(1);

/// What became of one watched session.
struct Ended {
    name: &'static str,
    reason: &'static str,
    text: String,
    /// Pings that were answered, and the last round trip.
    answered: u32,
    round_trip: Duration,
    lived: Duration,
}

/// Pings a session every heartbeat until it ends.
async fn watch(name: &'static str, session: Session) -> Ended {
    let (start, mut answered, mut round_trip) = (Instant::now(), 0, Duration::ZERO);
    let pinging = async {
        loop {
            let asked = Instant::now();
            if session.ping().await.is_err() {
                break;
            }
            (answered, round_trip) = (answered + 1, asked.elapsed());
            tokio::time::sleep(HEARTBEAT).await;
        }
        std::future::pending::<Infallible>().await
    };
    let reason = tokio::select! {
        reason = session.closed() => reason,
        never = pinging => match never {},
    };
    let (text, lived) = (reason.to_string(), start.elapsed());
    Ended { name, reason: reason.as_str(), text, answered, round_trip, lived }
}

async fn node(seed: &SharedSeed, mode: Mode) -> Outcome<Node> {
    let builder = Node::builder(seed.clone()).host("127.0.0.1");
    Ok(builder.heartbeat(HEARTBEAT).idle_timeout(SILENCE).start(mode).await?)
}

#[tokio::main]
async fn main() -> Outcome {
    let seed = common::seed()?;
    let watcher = node(&seed, Mode::Server).await?;
    let (told, mut reasons) = mpsc::unbounded_channel();
    let _told = watcher.on_session_closed(move |_, reason| {
        // Nobody listens any more once the example is over.
        let _ = told.send(reason.as_str());
    })?;

    let mut peers = Vec::new();
    let mut watching = JoinSet::new();
    for name in ["closes", "stops", "is denied"] {
        let peer = node(&seed, Mode::Client).await?;
        let (_, theirs) = common::connect(&peer, &watcher).await?;
        peers.push(peer);
        watching.spawn(watch(name, theirs));
    }
    watching.spawn(watch("vanishes", vanishing(&seed, &watcher)?));
    // Four sessions live, and then end in four ways. The last one's peer is gone already, with its
    // thread and its socket: nobody says so.
    tokio::time::sleep(2 * HEARTBEAT).await;
    if let [closes, stops, denied] = peers.as_slice() {
        for session in closes.sessions() {
            session.close("thank you").await;
        }
        stops.stop_within(Duration::from_secs(1)).await;
        watcher.set_admission(Admission::everyone().deny(denied.node_id()));
    }

    let mut seen = BTreeSet::new();
    while let Some(ended) = watching.join_next().await {
        let Ended { name, reason, text, answered, round_trip, lived } = ended?;
        println!(
            "the peer that {name:<9} : {reason:<8} ({text}); {answered} pings answered, the last in \
             {} us; lived {} ms",
            round_trip.as_micros(),
            lived.as_millis()
        );
        seen.insert(reason);
    }
    if seen != BTreeSet::from(["closed", "refused", "shutdown", "timeout"]) {
        return Err(format!("not the reasons that were expected: {seen:?}").into());
    }
    let mut reported = Vec::new();
    for _ in 0..4 {
        reported.extend(reasons.recv().await);
    }
    println!(
        "proved: every end was noticed with its reason, also by the node's handler: {reported:?}"
    );
    Ok(())
}

/// A peer whose whole runtime is thrown away in the middle of a session: the watcher's end of it.
fn vanishing(seed: &SharedSeed, watcher: &Node) -> Outcome<Session> {
    let (seed, watcher) = (seed.clone(), watcher.clone());
    let thread = std::thread::spawn(move || -> Outcome<Session> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (node, theirs) = runtime.block_on(async {
            let node = node(&seed, Mode::Client).await?;
            // Both ends know the session before one of them is gone.
            let (_, theirs) = common::connect(&node, &watcher).await?;
            Outcome::Ok((node, theirs))
        })?;
        // Without this, dropping the node would say goodbye.
        std::mem::forget(node);
        runtime.shutdown_background();
        Ok(theirs)
    });
    thread.join().map_err(|_| "the peer panicked")?
}
