//! The loops of `bench.py` in Rust: `bulk MIB`, `messages COUNT`, `pubsub COUNT`, `content MIB`,
//! `streams COUNT`, each between two nodes of one process. Prints MiB/s, or messages a second.

mod loops;

use std::{error::Error, future::Future, time::Duration};

use stt::{Mode, Node, SharedSeed};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// No loop waits for ever.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().ok_or("what?")?;
    let count: usize = arguments.next().ok_or("how many?")?.parse()?;
    let rate = tokio::runtime::Runtime::new()?.block_on(async {
        match what.as_str() {
            "bulk" => limited(loops::bulk(count)).await,
            "messages" => limited(loops::messages(count)).await,
            "pubsub" => limited(loops::pubsub(count)).await,
            "content" => limited(loops::content(count)).await,
            "streams" => limited(loops::streams(count)).await,
            _ => Err(format!("there is no {what}").into()),
        }
    })?;
    println!("{rate:.1}");
    Ok(())
}

async fn limited(work: impl Future<Output = Outcome<f64>>) -> Outcome<f64> {
    tokio::time::timeout(PATIENCE, work).await?
}

/// A node that accepts, and one that has nothing yet.
pub(crate) async fn nodes() -> Outcome<(Node, Node)> {
    let seed = SharedSeed::from_key(stc::Key::generate()?);
    let server = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
    let client = Node::builder(seed).host("127.0.0.1").start(Mode::Server).await?;
    Ok((server, client))
}

/// So many each second.
pub(crate) fn rate(count: usize, begun: std::time::Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let count = count as f64;
    count / begun.elapsed().as_secs_f64()
}
