//! What goes over the wire beside the bytes of the application.

use std::time::Duration;

use quinn::Connection;
use stt::Session;
use tokio::runtime::Handle;

use crate::{
    How, Result,
    compare::{Contender, Metric, alternate},
    quinn_peer,
    report::Report,
    stage::{Peer, Threads, play},
    stt_peer,
};

const LEN: usize = 100;
/// Silence after which both sides have said all that belongs to a handshake.
const SETTLE: Duration = Duration::from_millis(200);
/// Between two messages, so that each goes alone.
const PACE: Duration = Duration::from_millis(2);

pub fn run(how: How, report: &mut Report) -> Result<()> {
    let spaced = how.amount(400, 100);
    let metrics = vec![
        Metric::new("handshake", "bytes", None),
        Metric::new("handshake", "datagrams", None),
        Metric::new("message alone", "bytes more", None),
        Metric::new("with acknowledgements", "bytes more", None),
        Metric::new("message alone", "datagrams", None),
    ];
    let contenders = vec![
        Contender::new(Peer::Stt, "stt", move || play(Threads::Shared, move |on| stt(on, spaced))),
        Contender::new(Peer::Quinn, "quinn", move || {
            play(Threads::Shared, move |on| quinn(on, spaced))
        }),
    ];
    let title = "on the wire, both directions, no MTU probes, without IP and UDP headers";
    report.add(&alternate(how, title, metrics, contenders)?);
    Ok(())
}

/// Bytes and datagrams that one side sent.
#[derive(Clone, Copy)]
struct Sent {
    bytes: u64,
    datagrams: u64,
}

impl Sent {
    fn by_session(session: &Session) -> Self {
        let stats = session.stats();
        Self { bytes: stats.bytes_sent, datagrams: stats.datagrams_sent }
    }

    fn by_connection(connection: &Connection) -> Self {
        let stats = connection.stats().udp_tx;
        Self { bytes: stats.bytes, datagrams: stats.datagrams }
    }
}

/// The figures from what client and server had sent after the handshake and at the end.
fn figures(count: usize, before: [Sent; 2], after: [Sent; 2]) -> Vec<f64> {
    let payload = (count * LEN) as f64;
    let per_message = |bytes: u64| (bytes as f64 - payload) / count as f64;
    let client = after[0].bytes - before[0].bytes;
    let server = after[1].bytes - before[1].bytes;
    vec![
        (before[0].bytes + before[1].bytes) as f64,
        (before[0].datagrams + before[1].datagrams) as f64,
        per_message(client),
        per_message(client + server),
        (after[0].datagrams - before[0].datagrams) as f64 / count as f64,
    ]
}

async fn stt(on: Handle, count: usize) -> Result<Vec<f64>> {
    let pair =
        stt_peer::pair(&on, stt_peer::Terms { max_mtu: Some(1_200), ..Default::default() }).await?;
    tokio::time::sleep(SETTLE).await;
    let sent = || [Sent::by_session(&pair.client), Sent::by_session(&pair.server)];
    let before = sent();
    let server = pair.server.clone();
    let receiving = on.spawn(async move {
        let stream = server.accept_stream().await?;
        for _ in 0..count {
            stream.receive().await?;
        }
        Result::Ok(())
    });
    let stream = pair.client.open_stream()?;
    for _ in 0..count {
        stream.send(&[7; LEN]).await?;
        tokio::time::sleep(PACE).await;
    }
    receiving.await??;
    tokio::time::sleep(SETTLE).await;
    let figures = figures(count, before, sent());
    pair.stop().await;
    Ok(figures)
}

async fn quinn(on: Handle, count: usize) -> Result<Vec<f64>> {
    let pair =
        quinn_peer::pair(&on, quinn_peer::Terms { fixed_mtu: true, ..Default::default() }).await?;
    tokio::time::sleep(SETTLE).await;
    let sent = || [Sent::by_connection(&pair.client), Sent::by_connection(&pair.server)];
    let before = sent();
    let server = pair.server.clone();
    let receiving = on.spawn(async move {
        let mut stream = server.accept_uni().await?;
        for _ in 0..count {
            stream.read_exact(&mut [0; LEN + 2]).await?;
        }
        Result::Ok(())
    });
    let mut stream = pair.client.open_uni().await?;
    for _ in 0..count {
        // As in `messages`: a length and the message.
        stream.write_all(&[7; LEN + 2]).await?;
        tokio::time::sleep(PACE).await;
    }
    receiving.await??;
    tokio::time::sleep(SETTLE).await;
    let figures = figures(count, before, sent());
    pair.stop().await;
    Ok(figures)
}
