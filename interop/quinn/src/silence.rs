//! A stock client in front of nodes of STT.

use std::time::{Duration, Instant};

use stt::{Mode, Node, SharedSeed};
use tokio::time::sleep;

use crate::{Result, relay::Relay, stock};

/// Attempts that are under way at once.
const BATCH: usize = 50;

/// Asks a server and a client-only node so many times each; then each makes a genuine session.
pub async fn run(attempts: usize) -> Result<()> {
    let seed = SharedSeed::from_key(stc::Key::generate()?);
    let node = async |mode| Node::builder(seed.clone()).host("127.0.0.1").start(mode).await;
    let (server, other) = (node(Mode::Server).await?, node(Mode::Server).await?);
    let client = node(Mode::Client).await?;
    for (name, asked) in [("a server", &server), ("a client-only node", &client)] {
        ask(name, asked, attempts).await?;
        let (from, to) = if asked.stats().server_mode { (&other, asked) } else { (asked, &other) };
        let session = from.connect(&to.local_addr().to_string()).await?;
        session.ping().await?;
        println!("  and a member has a session right afterwards");
    }
    Ok(())
}

async fn ask(name: &str, node: &Node, attempts: usize) -> Result<()> {
    let relay = Relay::before(node.local_addr()).await?;
    let (_, config) = stock::configs()?;
    let stock = stock::client()?;
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut begun = 0;
    while begun < attempts {
        let batch: Vec<_> = (begun..attempts.min(begun + BATCH))
            .map(|_| stock.connect_with(config.clone(), relay.address, "localhost"))
            .collect::<std::result::Result<_, _>>()?;
        begun += batch.len();
        // Each attempt is at least one datagram, which the node has read before the next ones come.
        while node.stats().udp_transport.datagrams_received < begun as u64 {
            if Instant::now() > deadline {
                return Err(format!("{name} reads no more").into());
            }
            sleep(Duration::from_micros(200)).await;
        }
    }
    // What would be answered is answered by now, or a moment later.
    sleep(Duration::from_millis(200)).await;
    let stats = node.stats().udp_transport;
    println!(
        "{name}: {begun} attempts of a stock QUIC client, {} datagrams, {} bytes back",
        relay.to_server(),
        relay.bytes_back()
    );
    if relay.bytes_back() > 0 || stats.datagrams_sent > 0 || stats.answers_withheld > 0 {
        return Err(format!("{name} answered: {stats:?}").into());
    }
    Ok(())
}
