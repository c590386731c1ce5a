//! Bulk between two nodes of one process, the same loop as in `bench.py`: raw bytes are written in
//! pieces of 1 MiB and read in pieces of at most 1 MiB. Argument: MiB. Prints MiB/s.

use std::{error::Error, time::Instant};

use stt::{Mode, Node, SharedSeed};

const PIECE: usize = 1 << 20;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    tokio::runtime::Runtime::new()?.block_on(bulk())
}

async fn bulk() -> Outcome {
    let mebibytes: usize = std::env::args().nth(1).ok_or("how many MiB?")?.parse()?;
    let seed = SharedSeed::from_key(stc::Key::generate()?);
    let server = Node::builder(seed.clone()).host("127.0.0.1").start(Mode::Server).await?;
    let client = Node::builder(seed).host("127.0.0.1").start(Mode::Client).await?;
    let ours = client.connect(&server.local_addr().to_string()).await?;
    let theirs = server.accept().await.ok_or("the server stopped")?;
    let mut sender = ours.get_stream(1)?.into_raw();
    let mut receiver = theirs.get_stream(1)?.into_raw();
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        let piece = vec![0_u8; PIECE];
        for _ in 0..mebibytes {
            // As from Python: each piece is copied once, since its owner may go on using it.
            sender.write_chunk(piece.clone().into()).await?;
        }
        sender.close().await?;
        Outcome::Ok(())
    });
    let mut left = mebibytes * PIECE;
    while let Some(piece) = receiver.read_chunk(PIECE).await? {
        left -= std::hint::black_box(piece.to_vec()).len();
    }
    sending.await??;
    assert_eq!(left, 0, "bytes are missing");
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let rate = mebibytes as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.1}");
    Ok(())
}
