//! Two nodes that share a seed: one echoes what the other says.
//!
//! `cargo run -p stt --example two_nodes`; it fails unless the echo comes as it should.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Duration};

use stt::{Mode, Node, SharedSeed};

const SHARED_SEED: &str = "shared_secret_32bytes_minimum!";
const GREETING: &[u8] = b"Hello from client!";
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Node::builder(SharedSeed::from_text_async(SHARED_SEED).await?)
        .node_seed(b"server_seed_32bytes_minimum!")
        .host("127.0.0.1")
        .start(Mode::Server)
        .await?;
    println!("Server started: {:.16}...", server.node_id().to_string());
    let port = server.local_addr().port();
    let echo = tokio::spawn(run_server(server.clone()));

    let echoed = run_client(port).await;

    server.stop_within(Duration::from_secs(1)).await;
    echo.await?;
    echoed?;
    println!("OK: the echo came back, byte for byte");
    Ok(())
}

/// Echoes until the node stops.
async fn run_server(server: Node) {
    while let Some(packet) = server.receive().await {
        println!("Server received: b'{}'", packet.data.escape_ascii());
        let answer = [b"ECHO: ", &packet.data[..]].concat();
        let report = server.send_to_sessions(&[packet.session_id], answer).await;
        for (session, error) in report.failed {
            println!("No echo to {session}: {error}");
        }
    }
}

async fn run_client(port: u16) -> Result<(), Box<dyn Error>> {
    let client = Node::builder(SharedSeed::from_text_async(SHARED_SEED).await?)
        .node_seed(b"client_seed_32bytes_minimum!")
        .start(Mode::Client)
        .await?;
    println!("Client started: {:.16}...", client.node_id().to_string());

    let session = client.connect_udp("localhost", port).await?;
    println!("Connected! Session: {}", session.id());

    let report = client.send_to_sessions(&[session.id()], GREETING).await;
    if let Some((_, error)) = report.failed.into_iter().next() {
        return Err(error.into());
    }
    let packet =
        tokio::time::timeout(PATIENCE, client.receive()).await.map_err(|_| "no echo came")?;
    let packet = packet.ok_or("the client stopped before the echo came")?;
    println!("Client received: b'{}'", packet.data.escape_ascii());
    if packet.session_id != session.id() || packet.data != [b"ECHO: ", GREETING].concat() {
        return Err("what came back is not the echo".into());
    }
    client.stop_within(Duration::from_secs(1)).await;
    Ok(())
}
