//! A server that tells all who are connected what one of them said, and how many got it.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use std::time::Duration;

use common::Outcome;
use stt::{Mode, Node};

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

#[tokio::main]
async fn main() -> Outcome {
    tokio::time::timeout(Duration::from_secs(45), run()).await?
}

async fn run() -> Outcome {
    let seed = common::seed()?;
    let server = common::node(&seed, Mode::Server).await?;
    let mut clients = Vec::new();
    for name in NAMES {
        let client = common::node(&seed, Mode::Client).await?;
        let (session, _) = common::connect(&client, &server).await?;
        clients.push((name, client, session));
    }
    let serving = tokio::spawn(serve(server.clone()));

    for (name, client, session) in &clients {
        let line = format!("{name} says hello");
        let report = client.send_to_sessions(&[session.id()], line).await;
        if let Some((_, error)) = report.failed.into_iter().next() {
            return Err(error.into());
        }
    }
    // Everybody hears everybody, the speaker too, in the order in which the server passed it on.
    let mut told: Option<Vec<Vec<u8>>> = None;
    for (name, client, _) in &clients {
        let mut heard = Vec::new();
        while heard.len() < NAMES.len() {
            let packet = client.receive().await.ok_or("the client stopped")?;
            heard.push(packet.data.to_vec());
        }
        println!("  {name} heard {} lines", heard.len());
        let first = told.get_or_insert_with(|| heard.clone());
        assert_eq!(*first, heard, "{name} heard something else");
    }
    server.stop_within(Duration::from_secs(1)).await;
    let copies = serving.await?;
    assert_eq!(copies, NAMES.len() * NAMES.len());
    println!("{} lines, each to {} clients: {copies} copies", NAMES.len(), NAMES.len());
    Ok(())
}

/// Passes on what anybody says until the node stops, and counts the copies.
async fn serve(server: Node) -> usize {
    let mut copies = 0;
    while let Some(packet) = server.receive().await {
        let report = server.send_to_all(packet.data).await;
        for (session, error) in &report.failed {
            println!("  not to {session}: {error}");
        }
        copies += report.sent;
    }
    copies
}
