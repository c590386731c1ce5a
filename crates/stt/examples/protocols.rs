//! Two protocols over one session: each has numbers of its own, and an unknown one is refused.
//!
//! With a file that holds a seed it is a server until its input ends: it echoes, and asks everybody
//! who connects four questions.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use stt::{Coded, Mode, Node, ProtocolError, ProtocolHandler, Session, SharedSeed};
use tokio::task::{JoinSet, spawn_blocking};

const ECHO: &str = "example.echo/1";
const COUNT: &str = "example.count/1";
const NO: &str = "example.no/1";
const QUESTION: &str = "example.question/1";

#[tokio::main]
async fn main() -> Outcome {
    match std::env::args_os().nth(1) {
        Some(path) => serve(&SharedSeed::from_file(path).await?).await,
        None => show().await,
    }
}

/// What a node answers to, as long as these live.
fn handle(node: &Node) -> Result<[ProtocolHandler; 3], ProtocolError> {
    let echo = node.handle_protocol(ECHO, |_, stream| async move {
        while let Ok(Some(message)) = stream.receive().await {
            if stream.send(message).await.is_err() {
                return;
            }
        }
    })?;
    // One answer to the whole: how many messages there were.
    let count = node.handle_protocol(COUNT, |_, stream| async move {
        let mut messages = 0_u32;
        while let Ok(Some(_)) = stream.receive().await {
            messages += 1;
        }
        let _ = stream.send(&messages.to_be_bytes()).await;
    })?;
    let no = node.handle_protocol(NO, |_, stream| async move { stream.reset(0x123) })?;
    Ok([echo, count, no])
}

async fn show() -> Outcome {
    let (_client, server, ours, _theirs) = common::pair().await?;
    let _handlers = handle(&server)?;
    let (echo, count) = (ours.open_protocol(ECHO)?, ours.open_protocol(COUNT)?);
    assert_eq!((echo.id(), count.id()), (1, 1), "each label has numbers of its own");
    for number in 0..100_u32 {
        count.send(&number.to_be_bytes()).await?;
        echo.send(&number.to_be_bytes()).await?;
        assert_eq!(echo.receive().await?.as_deref(), Some(&number.to_be_bytes()[..]));
    }
    count.close().await?;
    assert_eq!(count.receive().await?.as_deref(), Some(&100_u32.to_be_bytes()[..]));
    let refused = match ours.open_protocol("example.nobody/1")?.receive().await {
        Err(error) => error,
        Ok(message) => return Err(format!("nobody handles it, and yet: {message:?}").into()),
    };
    assert!(matches!(refused, ProtocolError::Unknown { .. }));
    println!("100 messages echoed, 100 counted, and a third protocol refused: {refused}");
    Ok(())
}

async fn serve(seed: &SharedSeed) -> Outcome {
    let node = common::node(seed, Mode::Server).await?;
    let _handlers = handle(&node)?;
    println!("listening {} {}", node.local_addr(), node.node_id());
    let mut input = spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut input => return Ok(()),
            Some(session) = node.accept() => drop(asking.spawn(ask(session))),
            Some(_) = asking.join_next() => {}
        }
    }
}

/// One after the other, so that the lines have an order.
async fn ask(session: Session) {
    for _ in 0..4 {
        let answer = async {
            let stream = session.open_protocol(QUESTION)?;
            stream.send(b"who are you?").await?;
            stream.receive().await
        };
        match answer.await {
            Ok(Some(answer)) => println!("answer {}", answer.escape_ascii()),
            Ok(None) => println!("silence"),
            Err(error) => {
                println!("{}: {error} ({})", error.code(), error.hint().unwrap_or("no hint"));
            }
        }
    }
}
