//! Messages of 100 bytes on one stream, each received as a message of its own.
//!
//! QUIC has no messages, so on quinn's side a length of two bytes goes before each. It is measured
//! with batches made by hand, as fast programs do, and with one write for each message.

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use tokio::runtime::Handle;

use crate::{
    How, Result,
    compare::{Contender, Metric, Target, alternate},
    process::Spent,
    quinn_peer,
    report::Report,
    stage::{Peer, Threads, play},
    stt_peer,
};

const LEN: usize = 100;
/// Bytes that a hand-made batch gathers.
const BATCH: usize = 32 << 10;

pub fn run(how: How, report: &mut Report) -> Result<()> {
    let count = how.amount(2_000_000, 300_000);
    let one_by_one = count / 4;
    let figures = move |count: usize, [seconds, processor]: [f64; 2]| {
        vec![count as f64 / seconds, processor / count as f64 * 1e9]
    };
    let contenders = vec![
        Contender::new(Peer::Stt, "stt, send per message", || {
            let seconds = play(Threads::Shared, move |on| stt(on, count))?;
            Ok(figures(count, seconds))
        }),
        Contender::new(Peer::Quinn, "quinn, hand-made batches", || {
            let seconds = play(Threads::Shared, move |on| quinn(on, count, true))?;
            Ok(figures(count, seconds))
        }),
        Contender::new(Peer::Quinn, "quinn, write per message", || {
            let seconds = play(Threads::Shared, move |on| quinn(on, one_by_one, false))?;
            Ok(figures(one_by_one, seconds))
        }),
    ];
    let metrics = vec![
        Metric::new("messages", "/s", Some(Target::RatioAtLeast(1.0))),
        Metric::new("processor time of both ends", "ns/message", None),
    ];
    report.add(&alternate(how, "100-byte messages, one stream", metrics, contenders)?);
    Ok(())
}

async fn stt(on: Handle, count: usize) -> Result<[f64; 2]> {
    let pair = stt_peer::pair(&on, stt_peer::Terms::default()).await?;
    let server = pair.server.clone();
    let receiving = on.spawn(async move {
        let stream = server.accept_stream().await?;
        for at in 0..count {
            let message = stream.receive().await?.ok_or("the stream ended early")?;
            check(&message, at)?;
        }
        stream.send(b"done").await?;
        Result::Ok(())
    });
    let stream = pair.client.open_stream()?;
    let spent = Spent::nothing()?;
    for at in 0..count {
        stream.send(&message(at)).await?;
    }
    stream.receive().await?.ok_or("no answer")?;
    let seconds = spent.seconds()?;
    receiving.await??;
    pair.stop().await;
    Ok(seconds)
}

async fn quinn(on: Handle, count: usize, batched: bool) -> Result<[f64; 2]> {
    let pair = quinn_peer::pair(&on, quinn_peer::Terms::default()).await?;
    let server = pair.server.clone();
    let receiving = on.spawn(async move {
        let (mut answer, stream) = server.accept_bi().await?;
        let mut messages = Messages::new(stream);
        for at in 0..count {
            check(&messages.next().await?, at)?;
        }
        answer.write_all(b"done").await?;
        Result::Ok(answer)
    });
    let (mut stream, mut answer) = pair.client.open_bi().await?;
    let spent = Spent::nothing()?;
    if batched {
        send_batched(&mut stream, count).await?;
    } else {
        let mut framed = [0; LEN + 2];
        for at in 0..count {
            framed[..2].copy_from_slice(&u16::try_from(LEN)?.to_be_bytes());
            framed[2..].copy_from_slice(&message(at));
            stream.write_all(&framed).await?;
        }
    }
    answer.read_exact(&mut [0; 4]).await?;
    let seconds = spent.seconds()?;
    receiving.await??;
    pair.stop().await;
    Ok(seconds)
}

async fn send_batched(stream: &mut SendStream, count: usize) -> Result<()> {
    let mut batch = BytesMut::with_capacity(BATCH + LEN + 2);
    for at in 0..count {
        batch.put_u16(u16::try_from(LEN)?);
        batch.put_slice(&message(at));
        if batch.len() >= BATCH {
            stream.write_chunk(batch.split().freeze()).await?;
            batch.reserve(BATCH + LEN + 2);
        }
    }
    Ok(stream.write_chunk(batch.freeze()).await?)
}

/// A message that shows its number.
fn message(at: usize) -> [u8; LEN] {
    let mut message = [0x33; LEN];
    message[..8].copy_from_slice(&at.to_be_bytes());
    message
}

fn check(message: &[u8], at: usize) -> Result<()> {
    if message.len() == LEN && message[..8] == at.to_be_bytes() {
        return Ok(());
    }
    Err(format!("message {at} is not what was sent").into())
}

/// Cuts a QUIC stream into messages, each a slice of what arrived or put together from two.
struct Messages {
    stream: RecvStream,
    pieces: Vec<Bytes>,
    /// Of the last read, those not used up yet.
    at: usize,
    filled: usize,
}

impl Messages {
    fn new(stream: RecvStream) -> Self {
        Self { stream, pieces: vec![Bytes::new(); 64], at: 0, filled: 0 }
    }

    async fn next(&mut self) -> Result<Bytes> {
        let head = self.take(2).await?;
        let len = usize::from(u16::from_be_bytes([head[0], head[1]]));
        self.take(len).await
    }

    async fn take(&mut self, len: usize) -> Result<Bytes> {
        self.fill().await?;
        if self.pieces[self.at].len() >= len {
            return Ok(self.pieces[self.at].split_to(len));
        }
        let mut whole = BytesMut::with_capacity(len);
        while whole.len() < len {
            self.fill().await?;
            let piece = &mut self.pieces[self.at];
            whole.put(piece.split_to(piece.len().min(len - whole.len())));
        }
        Ok(whole.freeze())
    }

    /// Makes sure that the piece at hand has bytes left.
    async fn fill(&mut self) -> Result<()> {
        while self.at >= self.filled || self.pieces[self.at].is_empty() {
            if self.at + 1 < self.filled {
                self.at += 1;
                continue;
            }
            let read = self.stream.read_chunks(&mut self.pieces).await?;
            self.filled = read.ok_or("the stream ended early")?;
            self.at = 0;
        }
        Ok(())
    }
}
