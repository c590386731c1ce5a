//! Round trips of a small message on a stream that is open already.

use std::time::Instant;

use tokio::runtime::Handle;

use crate::{
    How, Result,
    compare::{Contender, Metric, Target, alternate, quantile},
    quinn_peer,
    report::Report,
    stage::{Peer, Threads, play},
    stt_peer,
};

const LEN: usize = 64;

pub fn run(how: How, report: &mut Report) -> Result<()> {
    let count = how.amount(10_000, 2_000);
    let targets = [Some(Target::RatioAtMost(1.0)), Some(Target::AtMost(25.0))];
    let stages = [
        (Threads::Shared, "64-byte echo, one multi-thread runtime", targets[0]),
        (Threads::Each, "64-byte echo, a current-thread runtime for each end", targets[1]),
    ];
    for (threads, title, target) in stages {
        let metrics = vec![
            Metric::new("p50", "us", target),
            Metric::new("p99", "us", Some(Target::RatioAtMost(1.0))),
        ];
        let stt = move || play(threads, move |on| stt(on, count));
        let quinn = move || play(threads, move |on| quinn(on, count));
        let contenders = vec![
            Contender::new(Peer::Stt, "stt", stt),
            Contender::new(Peer::Quinn, "quinn", quinn),
        ];
        report.add(&alternate(how, title, metrics, contenders)?);
    }
    Ok(())
}

/// Times, in microseconds, of round trips of which the first tenth warms up.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn add(&mut self, since: Instant) {
        self.0.push(since.elapsed().as_secs_f64() * 1e6);
    }

    fn quantiles(mut self) -> Vec<f64> {
        self.0.drain(..self.0.len() / 10);
        self.0.sort_by(f64::total_cmp);
        vec![quantile(&self.0, 0.5), quantile(&self.0, 0.99)]
    }
}

async fn stt(on: Handle, count: usize) -> Result<Vec<f64>> {
    let pair = stt_peer::pair(&on, stt_peer::Terms::default()).await?;
    let server = pair.server.clone();
    let echo = on.spawn(async move {
        let stream = server.accept_stream().await?;
        while let Some(message) = stream.receive().await? {
            stream.send(&message).await?;
        }
        Result::Ok(())
    });
    let stream = pair.client.open_stream()?;
    let mut times = Times::default();
    for _ in 0..count {
        let start = Instant::now();
        stream.send(&[7; LEN]).await?;
        let back = stream.receive().await?;
        times.add(start);
        if back.map(|message| message.len()) != Some(LEN) {
            return Err("the echo is not what was sent".into());
        }
    }
    stream.close().await?;
    echo.await??;
    pair.stop().await;
    Ok(times.quantiles())
}

async fn quinn(on: Handle, count: usize) -> Result<Vec<f64>> {
    let pair = quinn_peer::pair(&on, quinn_peer::Terms::default()).await?;
    let server = pair.server.clone();
    let echo = on.spawn(async move {
        let (mut sender, mut receiver) = server.accept_bi().await?;
        let mut message = [0; LEN];
        while receiver.read_exact(&mut message).await.is_ok() {
            sender.write_all(&message).await?;
        }
        Result::Ok(())
    });
    let (mut sender, mut receiver) = pair.client.open_bi().await?;
    let mut times = Times::default();
    let mut back = [0; LEN];
    for _ in 0..count {
        let start = Instant::now();
        sender.write_all(&[7; LEN]).await?;
        receiver.read_exact(&mut back).await?;
        times.add(start);
    }
    sender.finish()?;
    echo.await??;
    pair.stop().await;
    Ok(times.quantiles())
}
