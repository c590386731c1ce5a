//! Sessions that do the same over STT and over stock QUIC, as somebody on the path sees them.

use std::{net::Ipv4Addr, path::Path};

use stt::{Mode, Node, SharedSeed};

use crate::{Result, relay::Relay, stock};

const SESSIONS: usize = 20;
const MESSAGES: usize = 20;
const BULK: usize = 500_000;

/// Writes `stt.pcap` and `quic.pcap` into `folder`.
pub async fn record(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let ours = of_stt(&folder.join("stt.pcap")).await?;
    let stock = of_stock(&folder.join("quic.pcap")).await?;
    println!("recorded {ours} datagrams of STT and {stock} of stock QUIC");
    Ok(())
}

async fn of_stt(path: &Path) -> Result<usize> {
    let seed = SharedSeed::from_key(stc::Key::generate()?);
    let builder = || Node::builder(seed.clone()).host("127.0.0.1");
    let server = builder().start(Mode::Server).await?;
    let client = builder().start(Mode::Client).await?;
    let relay = Relay::before(server.local_addr()).await?;
    for _ in 0..SESSIONS {
        let session = client.connect(&relay.address.to_string()).await?;
        let theirs = server.accept().await.ok_or("the server stopped")?;
        let (out, into) = (session.get_stream(1)?, theirs.get_stream(1)?);
        for _ in 0..MESSAGES {
            out.send(&[7; 100]).await?;
            let message = into.receive().await?.ok_or("a message")?;
            into.send(&message).await?;
            out.receive().await?;
        }
        let (sent, received) = tokio::join!(out.send(&[0; BULK]), into.receive());
        sent?;
        received?;
        session.close("done").await;
        theirs.closed().await;
    }
    relay.write(path)
}

async fn of_stock(path: &Path) -> Result<usize> {
    let (server_config, client_config) = stock::configs()?;
    let server = quinn::Endpoint::server(server_config, (Ipv4Addr::LOCALHOST, 0).into())?;
    let client = stock::client()?;
    let relay = Relay::before(server.local_addr()?).await?;
    for _ in 0..SESSIONS {
        let connecting = client.connect_with(client_config.clone(), relay.address, "localhost")?;
        let accept =
            async { server.accept().await.ok_or("the server stopped")?.await.map_err(Into::into) };
        let (session, theirs): (_, Result<quinn::Connection>) = tokio::join!(connecting, accept);
        let (session, theirs) = (session?, theirs?);
        for length in std::iter::repeat_n(100, MESSAGES).chain([BULK]) {
            let mut out = session.open_uni().await?;
            out.write_all(&vec![0; length.min(100)]).await?;
            let mut into = theirs.accept_uni().await?;
            let write = async {
                out.write_all(&vec![0; length - length.min(100)]).await?;
                out.finish()?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            };
            let (written, read) = tokio::join!(write, into.read_to_end(length));
            written?;
            read?;
        }
        session.close(0_u32.into(), b"done");
        theirs.closed().await;
    }
    relay.write(path)
}
