//! Two nodes that share a seed: one echoes what the other says.
//!
//! `cargo run --example two_nodes`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Duration};

use stt::{Mode, Node, SharedSeed};

const SHARED_SEED: &[u8] = b"shared_secret_32bytes_minimum!";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Node::builder(SharedSeed::from_bytes(SHARED_SEED)?)
        .node_seed(b"server_seed_32bytes_minimum!")
        .host("127.0.0.1")
        .start(Mode::Server)
        .await?;
    println!("Server started: {:.16}...", server.node_id().to_string());
    let port = server.local_addr().port();
    let echo = tokio::spawn(run_server(server.clone()));

    run_client(port).await?;

    server.stop(Duration::from_secs(1)).await;
    echo.await?;
    Ok(())
}

/// Echoes until the node stops.
async fn run_server(server: Node) {
    while let Some(packet) = server.receive().await {
        println!("Server received: b'{}'", packet.data.escape_ascii());
        let answer = [b"ECHO: ", &packet.data[..]].concat();
        let report = server.send_to_sessions(&[packet.session_id], answer, 0).await;
        for (session, error) in report.failed {
            println!("No echo to {session}: {error}");
        }
    }
}

async fn run_client(port: u16) -> Result<(), Box<dyn Error>> {
    let client = Node::builder(SharedSeed::from_bytes(SHARED_SEED)?)
        .node_seed(b"client_seed_32bytes_minimum!")
        .start(Mode::Client)
        .await?;
    println!("Client started: {:.16}...", client.node_id().to_string());

    let session = client.connect_udp("localhost", port).await?;
    println!("Connected! Session: {}", session.id());

    let report = client.send_to_sessions(&[session.id()], &b"Hello from client!"[..], 0).await;
    if let Some((_, error)) = report.failed.into_iter().next() {
        return Err(error.into());
    }
    if let Some(packet) = client.receive().await {
        println!("Client received: b'{}'", packet.data.escape_ascii());
    }
    client.stop(Duration::from_secs(1)).await;
    Ok(())
}
