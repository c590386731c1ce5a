//! The loops. Whatever Python copies is copied here, too: its owner may go on using it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use stt_streams::{StreamConfig, StreamManager, SttConnector, SttTransport};
use stt_swarm::{ContentDistribution, RetrieveOptions, Swarm, SwarmOptions, TopicEvent};

use crate::{Outcome, nodes, rate};

const PIECE: usize = 1 << 20;
/// Bytes of a small message.
const SMALL: usize = 100;
/// Small messages that are handed over at once.
const BATCH: usize = 100;

/// Raw bytes, written in pieces of 1 MiB and read in pieces of at most 1 MiB.
pub(crate) async fn bulk(mebibytes: usize) -> Outcome<f64> {
    let (server, client) = nodes().await?;
    let ours = client.connect(&server.local_addr().to_string()).await?;
    let theirs = server.accept().await.ok_or("the server stopped")?;
    let mut sender = ours.get_stream(1)?.into_raw();
    let mut receiver = theirs.get_stream(1)?.into_raw();
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        let piece = vec![0_u8; PIECE];
        for _ in 0..mebibytes {
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
    Ok(rate(mebibytes, begun))
}

/// Small messages over a stream of a session.
pub(crate) async fn messages(count: usize) -> Outcome<f64> {
    let (server, client) = nodes().await?;
    let ours = client.connect(&server.local_addr().to_string()).await?;
    let theirs = server.accept().await.ok_or("the server stopped")?;
    let (sender, receiver) = (ours.get_stream(1)?, theirs.get_stream(1)?);
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            sender.send(Bytes::copy_from_slice(&[7; SMALL])).await?;
        }
        sender.close().await?;
        Outcome::Ok(())
    });
    let mut came = 0;
    while let Some(message) = receiver.receive().await? {
        came += usize::from(std::hint::black_box(message.to_vec()).len() == SMALL);
    }
    sending.await??;
    assert_eq!(came, count, "messages are missing");
    Ok(rate(count, begun))
}

/// Small messages to a topic, a batch at a time.
pub(crate) async fn pubsub(count: usize) -> Outcome<f64> {
    let (server, client) = nodes().await?;
    let here = Swarm::start(&server, &SwarmOptions::default())?;
    let there = Swarm::start(&client, &SwarmOptions::default())?;
    there.dht().bootstrap(&[server.local_addr().to_string()]).await?;
    let mut subscription = there.pubsub().subscribe("bench").await?;
    let topic = here.pubsub();
    topic.publish_within("bench", "ready", Duration::from_secs(60)).await?;
    subscription.next().await.ok_or("the swarm stopped")?;
    let begun = Instant::now();
    for _ in 0..count / BATCH {
        for _ in 0..BATCH {
            let message = Bytes::copy_from_slice(&[7; SMALL]);
            topic.publish_within("bench", message, Duration::ZERO).await?;
        }
        let mut came = 0;
        while came < BATCH {
            match subscription.next().await.ok_or("the swarm stopped")? {
                TopicEvent::Message(message) => {
                    std::hint::black_box(message.data.to_vec());
                    came += 1;
                }
                TopicEvent::Gap { missed } => return Err(format!("{missed} are missing").into()),
                _ => {}
            }
        }
    }
    Ok(rate(count / BATCH * BATCH, begun))
}

/// A content of so many MiB, fetched from a member.
pub(crate) async fn content(mebibytes: usize) -> Outcome<f64> {
    let (server, client) = nodes().await?;
    let (here, there) = (ContentDistribution::new(&server)?, ContentDistribution::new(&client)?);
    let _session = client.connect(&server.local_addr().to_string()).await?;
    let id = here.publish_content(vec![7_u8; mebibytes * PIECE]).await?;
    let options = RetrieveOptions::new().max_size(1 << 40);
    let begun = Instant::now();
    let bytes = there.retrieve_content(id, &options).await?;
    assert_eq!(std::hint::black_box(bytes.to_vec()).len(), mebibytes * PIECE);
    Ok(rate(mebibytes, begun))
}

/// Small messages over a managed stream, in batches.
pub(crate) async fn streams(count: usize) -> Outcome<f64> {
    let (server, client) = nodes().await?;
    let config = StreamConfig::new();
    let (ours, theirs) = (StreamManager::new(config.clone())?, StreamManager::new(config)?);
    let connector = SttConnector::new(client.clone(), server.local_addr().to_string());
    let sender = ours.connect_stream("bench", connector)?;
    sender.send_message(Bytes::from_static(b"first")).await?;
    let session = server.accept().await.ok_or("the server stopped")?;
    let transport = SttTransport::new(session.accept_stream().await?);
    let receiver = theirs.accept_under("", transport).await?.ok_or("no stream")?;
    receiver.receive().await?;
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        for _ in 0..count / BATCH {
            let batch: Vec<_> = (0..BATCH).map(|_| Bytes::copy_from_slice(&[7; SMALL])).collect();
            sender.send_batch(&batch).await?;
        }
        Outcome::Ok(sender)
    });
    let (mut came, count) = (0, count / BATCH * BATCH);
    while came < count {
        for message in receiver.stream().receive_many(BATCH).await? {
            came += usize::from(std::hint::black_box(message.to_vec()).len() == SMALL);
        }
    }
    let measured = rate(count, begun);
    drop(sending.await??);
    Ok(measured)
}
