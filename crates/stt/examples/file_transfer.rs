//! A file sent chunk by chunk with its progress, and compared at the other end.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use std::io::{Read, Write};

const CHUNK: usize = 1 << 20;
const SIZE: usize = 24 << 20;

#[tokio::main]
async fn main() -> Outcome {
    let (_client, _server, ours, theirs) = common::pair().await?;
    let mut source = tempfile::NamedTempFile::new()?;
    let block: Vec<u8> = (0..=255).cycle().take(CHUNK).collect();
    for _ in 0..SIZE / CHUNK {
        source.write_all(&block)?;
    }

    let receiving = tokio::spawn(async move {
        let mut target = tempfile::NamedTempFile::new()?;
        let stream = theirs.accept_stream().await?;
        while let Some(chunk) = stream.receive().await? {
            target.write_all(&chunk)?;
        }
        Outcome::Ok(target)
    });

    let stream = ours.open_stream()?;
    let mut file = source.reopen()?;
    let (mut sent, mut shown) = (0, 0);
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        (&mut file).take(u64::try_from(CHUNK)?).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        sent += chunk.len();
        stream.send(chunk).await?;
        if sent * 4 / SIZE > shown {
            shown = sent * 4 / SIZE;
            println!("progress: {} %", 25 * shown);
        }
    }
    // Returns when the peer's machine has all of it.
    stream.close().await?;

    let target = receiving.await??;
    assert_eq!(std::fs::read(target.path())?, std::fs::read(source.path())?);
    println!("{sent} bytes arrived as they were");
    Ok(())
}
