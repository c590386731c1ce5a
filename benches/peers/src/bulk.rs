//! Bytes over one stream, from the first write until the receiver says that it has them all.

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::{
    How, Result,
    compare::{Contender, Metric, Target, alternate},
    process::Spent,
    quinn_peer,
    report::Report,
    stage::{Peer, Threads, play},
    stt_peer, tcp_peer,
};

pub const MIB: usize = 1 << 20;
/// Handed to the transport at once.
pub const BLOCK: usize = 256 << 10;
/// What quinn tries by default.
const EQUAL_MTU: u16 = 1_452;

pub fn run(how: How, report: &mut Report) -> Result<()> {
    let total = how.amount(512, 96) * MIB;
    let metrics = |target| {
        vec![
            Metric::new("throughput", "MiB/s", Some(Target::RatioAtLeast(target))),
            Metric::new("processor time", "s/GiB", None),
        ]
    };
    let stt = |terms| move || measured(total, move |handle| stt(handle, terms, total));
    let quinn = |terms| move || measured(total, move |handle| quinn(handle, terms, total));

    let defaults = vec![
        Contender::new(Peer::Stt, "stt", stt(stt_peer::Terms::default())),
        Contender::new(Peer::Quinn, "quinn", quinn(quinn_peer::Terms::default())),
    ];
    report.add(&alternate(how, "bulk, one stream, defaults", metrics(4.0), defaults)?);

    let tcp = vec![
        Contender::new(Peer::Stt, "stt", stt(stt_peer::Terms::default())),
        Contender::new(Peer::Quinn, "TCP + rustls", move || {
            measured(total, move |handle| tcp_peer::bulk(handle, total, BLOCK))
        }),
    ];
    report.add(&alternate(how, "bulk, one stream, beside TLS over TCP", metrics(1.2), tcp)?);

    let equal_stt = stt_peer::Terms { max_mtu: Some(EQUAL_MTU), ..Default::default() };
    let equal_quinn = quinn_peer::Terms { equal_windows: true, ..Default::default() };
    let equal = vec![
        Contender::new(Peer::Stt, "stt", stt(equal_stt)),
        Contender::new(Peer::Quinn, "quinn", quinn(equal_quinn)),
    ];
    let title = "bulk, one stream, MTU 1,452, windows and socket buffers alike";
    report.add(&alternate(how, title, metrics(1.0), equal)?);
    Ok(())
}

/// Throughput and processor time of one transfer.
pub fn measured<F>(total: usize, transfer: impl FnOnce(Handle) -> F) -> Result<Vec<f64>>
where
    F: Future<Output = Result<[f64; 2]>> + Send + 'static,
{
    let [seconds, processor] = play(Threads::Shared, transfer)?;
    let mib = total as f64 / MIB as f64;
    Ok(vec![mib / seconds, processor / mib * 1024.0])
}

pub async fn stt(on: Handle, terms: stt_peer::Terms, total: usize) -> Result<[f64; 2]> {
    let pair = stt_peer::pair(&on, terms).await?;
    let server = pair.server.clone();
    let receiving = on.spawn(async move {
        let mut stream = server.accept_stream().await?.into_raw();
        let mut got = 0;
        while let Some(bytes) = stream.read_chunk(usize::MAX).await? {
            got += bytes.len();
        }
        stream.write_chunk(Bytes::from_static(b"done")).await?;
        stream.close().await?;
        Result::Ok(got)
    });
    let block = Bytes::from(vec![0x5a; BLOCK]);
    let spent = Spent::nothing()?;
    let mut stream = pair.client.open_stream()?.into_raw();
    let mut left = total;
    while left > 0 {
        let len = left.min(BLOCK);
        stream.write_chunk(block.slice(..len)).await?;
        left -= len;
    }
    // Waits for the acknowledgement of everything, while the receiver answers.
    let (closed, answer) = {
        let writing = stream.stream().clone();
        tokio::join!(async move { writing.close().await }, stream.read_chunk(16))
    };
    closed?;
    let seconds = spent.seconds()?;
    if answer?.as_deref() != Some(&b"done"[..]) || receiving.await?? != total {
        return Err("not everything arrived".into());
    }
    pair.stop().await;
    Ok(seconds)
}

async fn quinn(on: Handle, terms: quinn_peer::Terms, total: usize) -> Result<[f64; 2]> {
    let pair = quinn_peer::pair(&on, terms).await?;
    let server = pair.server.clone();
    let receiving = on.spawn(async move {
        let mut stream = server.accept_uni().await?;
        let mut pieces = vec![Bytes::new(); 64];
        let mut got = 0;
        while let Some(count) = stream.read_chunks(&mut pieces).await? {
            got += pieces[..count].iter().map(Bytes::len).sum::<usize>();
        }
        let mut answer = server.open_uni().await?;
        answer.write_all(b"done").await?;
        answer.finish()?;
        // Kept until the client has it, or dropping the connection would cut it off.
        let _ = answer.stopped().await;
        Result::Ok(got)
    });
    let block = Bytes::from(vec![0x5a; BLOCK]);
    let spent = Spent::nothing()?;
    let mut stream = pair.client.open_uni().await?;
    let mut left = total;
    while left > 0 {
        let len = left.min(BLOCK);
        stream.write_chunk(block.slice(..len)).await?;
        left -= len;
    }
    stream.finish()?;
    let mut answer = pair.client.accept_uni().await?;
    let answer = answer.read_to_end(16).await?;
    let seconds = spent.seconds()?;
    let got = receiving.await??;
    if answer != b"done" || got != total {
        return Err("not everything arrived".into());
    }
    pair.stop().await;
    Ok(seconds)
}
