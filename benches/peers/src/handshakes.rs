//! Sessions set up per second, one after the other and many at once.
//!
//! STT authenticates both sides and returns after the responder's confirmation; quinn has a
//! certificate for the server alone and returns when the client is done.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use quinn::{ClientConfig, Endpoint, VarInt};
use stt::{Mode, Node};
use tokio::{runtime::Handle, task::JoinSet};

use crate::{
    How, Result,
    compare::{Contender, Metric, Target, alternate},
    process::Spent,
    quinn_peer,
    report::Report,
    stage::{Peer, Threads, play},
    stt_peer,
};

pub fn run(how: How, report: &mut Report) -> Result<()> {
    let cases = [
        ("handshakes, one after the other", 1, how.amount(500, 150)),
        ("handshakes, 64 at once", 64, how.amount(1_500, 400)),
    ];
    for (title, at_once, count) in cases {
        let rate = move |[seconds, processor]: [f64; 2]| {
            vec![count as f64 / seconds, processor / count as f64 * 1e6]
        };
        let contenders = vec![
            Contender::new(Peer::Stt, "stt", move || {
                play(Threads::Shared, move |on| stt(on, at_once, count)).map(rate)
            }),
            Contender::new(Peer::Quinn, "quinn", move || {
                play(Threads::Shared, move |on| quinn(on, at_once, count)).map(rate)
            }),
        ];
        let metrics = vec![
            Metric::new("handshakes", "/s", Some(Target::RatioAtLeast(1.0))),
            Metric::new("processor time of both ends", "us/handshake", None),
        ];
        report.add(&alternate(how, title, metrics, contenders)?);
    }
    Ok(())
}

/// Runs `one` `count` times, `at_once` of them at any time, and returns the seconds on the clock and
/// of processor time.
async fn repeat<F>(
    at_once: usize,
    count: usize,
    one: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> Result<[f64; 2]>
where
    F: Future<Output = Result<()>> + Send,
{
    let begun = Arc::new(AtomicUsize::new(0));
    let spent = Spent::nothing()?;
    let mut workers = JoinSet::new();
    for _ in 0..at_once {
        let (one, begun) = (one.clone(), Arc::clone(&begun));
        workers.spawn(async move {
            while begun.fetch_add(1, Relaxed) < count {
                one().await?;
            }
            Result::Ok(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    spent.seconds()
}

async fn stt(on: Handle, at_once: usize, count: usize) -> Result<[f64; 2]> {
    let server = stt_peer::node(&on, stt_peer::Terms::default(), Mode::Server).await?;
    let here = Handle::current();
    let client = stt_peer::node(&here, stt_peer::Terms::default(), Mode::Client).await?;
    let address = server.local_addr();
    async fn one(client: Node, address: SocketAddr) -> Result<()> {
        stt_peer::connect(&client, address).await?.abort("");
        Ok(())
    }
    let ours = client.clone();
    let seconds = repeat(at_once, count, move || one(ours.clone(), address)).await?;
    client.stop_within(std::time::Duration::ZERO).await;
    server.stop_within(std::time::Duration::ZERO).await;
    Ok(seconds)
}

async fn quinn(on: Handle, at_once: usize, count: usize) -> Result<[f64; 2]> {
    let terms = quinn_peer::Terms::default();
    let server = quinn_peer::server(&on, terms).await?;
    let address = server.local_addr()?;
    let accepting = server.clone();
    let accepted = on.spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    connection.closed().await;
                }
            });
        }
    });
    let client = quinn_peer::endpoint(terms, None)?;
    let config = quinn_peer::client_config(terms)?;
    async fn one(client: Endpoint, config: ClientConfig, address: SocketAddr) -> Result<()> {
        let connection = client.connect_with(config, address, "localhost")?.await?;
        connection.close(VarInt::from_u32(0), b"");
        Ok(())
    }
    let ours = client.clone();
    let seconds =
        repeat(at_once, count, move || one(ours.clone(), config.clone(), address)).await?;
    client.close(VarInt::from_u32(0), b"");
    server.close(VarInt::from_u32(0), b"");
    accepted.await?;
    Ok(seconds)
}
