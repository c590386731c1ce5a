//! A stream that finds the priority of each message itself: what is new goes before what is sent
//! again, and what somebody asked for before what nobody did.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use stt::{ContentId, Priority, Stream, StreamOptions, priority::PriorityReport};

#[tokio::main]
async fn main() -> Outcome {
    let (_client, _server, ours, theirs) = common::pair().await?;
    let stream = ours.open_stream_with(&StreamOptions::new().id(1).adaptive_priority())?;
    let (news, rumour) = (b"the news of today".as_slice(), b"a rumour".as_slice());

    let first = sent(&stream, "news", news).await?;
    let again = sent(&stream, "the same again", news).await?;
    assert!(again.priority < first.priority && again.uniqueness < first.uniqueness);

    // Somebody read it just now, which outweighs a part of that.
    ours.content_accessed(&ContentId::of(news));
    let wanted = sent(&stream, "again, and asked for", news).await?;
    assert!(wanted.priority > again.priority && wanted.recency > 0.9);
    let other = sent(&stream, "something new", rumour).await?;
    assert!(other.priority > again.priority);

    // What one sets by hand stays as it is.
    let fixed = ours.open_stream_with(&StreamOptions::new().id(2).priority(Priority::HIGHEST))?;
    fixed.send(news).await?;
    assert_eq!((fixed.priority(), fixed.priority_report()), (Priority::HIGHEST, None));

    let reading = theirs.get_stream(1)?;
    for expected in [news, news, news, rumour] {
        assert_eq!(reading.receive().await?.as_deref(), Some(expected));
    }
    println!("4 messages, priorities {} to {}", again.priority.get(), first.priority.get());
    Ok(())
}

async fn sent(stream: &Stream, what: &str, message: &[u8]) -> Outcome<PriorityReport> {
    stream.send(message).await?;
    let report = stream.priority_report().ok_or("the stream is not adaptive")?;
    println!(
        "  {what}: {} (unique {:.2}, recent {:.2}, congested {:.2})",
        report.priority.get(),
        report.uniqueness,
        report.recency,
        report.congestion
    );
    Ok(report)
}
