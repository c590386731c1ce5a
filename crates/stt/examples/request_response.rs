//! Request and response: a small server that answers requests, one stream each.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
#[tokio::main]
async fn main() -> Outcome {
    let (_client, _server, ours, theirs) = common::pair().await?;
    let serving = tokio::spawn(async move {
        while let Ok(stream) = theirs.accept_stream().await {
            tokio::spawn(async move {
                if let Some(request) = stream.receive().await? {
                    let answer = [b"you said: ", &request[..]].concat();
                    stream.send(&answer).await?;
                }
                stream.close().await
            });
        }
    });

    let mut asking = tokio::task::JoinSet::new();
    for number in 0..50 {
        let session = ours.clone();
        asking.spawn(async move {
            let stream = session.open_stream()?;
            let request = format!("GET /data/{number}");
            stream.send(request.as_bytes()).await?;
            stream.close().await?;
            let response = stream.receive().await?.ok_or("no response")?;
            assert_eq!(response, format!("you said: {request}"));
            Outcome::Ok(())
        });
    }
    let mut answered = 0;
    while let Some(done) = asking.join_next().await {
        done??;
        answered += 1;
    }
    println!("{answered} requests at once, each answered on its own stream");
    ours.close("done").await;
    serving.await?;
    Ok(())
}
