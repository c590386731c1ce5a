//! A session that survives what carries it: it is cut while messages flow, and each of them arrives
//! once and in order all the same.
//!
//! `cargo run --example resumable_session`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use std::time::{Duration, Instant};

use common::Outcome;
use stt::{
    Mode,
    resume::{Continuity, ResumeOptions, ResumeState},
};

const MESSAGES: u32 = 5_000;

#[tokio::main]
async fn main() -> Outcome {
    tokio::time::timeout(Duration::from_secs(60), run()).await?
}

async fn run() -> Outcome {
    let seed = common::seed()?;
    let server = common::node(&seed, Mode::Server).await?;
    let client = common::node(&seed, Mode::Client).await?;
    let there = Continuity::new(&server, ResumeOptions::default())?;
    let here = Continuity::new(&client, ResumeOptions::default())?;
    let ours = here.connect(&server.local_addr().to_string(), server.node_id()).await?;
    let theirs = there.accept().await.ok_or("the server was stopped")?;

    let sending = {
        let ours = ours.clone();
        tokio::spawn(async move {
            for number in 0..MESSAGES {
                // Sending does not notice whether anybody is there.
                ours.send(number.to_be_bytes().to_vec()).await?;
            }
            ours.close().await
        })
    };
    let mut states = ours.state();
    let watching = tokio::spawn(async move {
        let (mut cuts, mut since) = (0, Instant::now());
        while states.changed().await.is_ok() {
            match &*states.borrow_and_update() {
                ResumeState::Suspended => (cuts, since) = (cuts + 1, Instant::now()),
                ResumeState::Connected => println!("  resumed after {:?}", since.elapsed()),
                ResumeState::Ended(_) => break,
                _ => {}
            }
        }
        cuts
    });

    let mut expected = 0_u32;
    while let Some(message) = theirs.receive().await? {
        assert_eq!(message.data, expected.to_be_bytes()[..], "lost, doubled or out of order");
        expected += 1;
        theirs.commit(message.position)?;
        if expected % 1_000 == 500
            && let Some(carrier) = theirs.session()
        {
            carrier.abort("somebody pulled the plug");
        }
    }
    assert_eq!(expected, MESSAGES);
    // The other direction ends as well: closing waits until the peer has received that.
    let (closed, end) = tokio::join!(theirs.close(), ours.receive());
    closed?;
    assert!(end?.is_none());
    sending.await??;
    println!("{}", ours.ended().await);
    println!("{MESSAGES} messages, each once and in order, over {} cuts", watching.await?);
    Ok(())
}
