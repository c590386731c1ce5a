//! Both ends of one stream send and receive at the same time.
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

mod common;

use common::Outcome;
use stt::Stream;

const MESSAGES: u32 = 5_000;

async fn send_loop(stream: Stream, sign: u8) -> Outcome {
    for number in 0..MESSAGES {
        let mut message = vec![sign; 100];
        message.extend(number.to_be_bytes());
        stream.send(&message).await?;
    }
    Ok(stream.close().await?)
}

async fn receive_loop(stream: Stream, sign: u8) -> Outcome<u32> {
    let mut received = 0_u32;
    while let Some(message) = stream.receive().await? {
        assert_eq!(message.first(), Some(&sign));
        assert!(message.ends_with(&received.to_be_bytes()), "message {received} is out of order");
        received += 1;
    }
    Ok(received)
}

#[tokio::main]
async fn main() -> Outcome {
    let (_client, _server, ours, theirs) = common::pair().await?;
    let (here, there) = (ours.get_stream(1)?, theirs.get_stream(1)?);
    let ((), (), from_there, from_here) = tokio::try_join!(
        send_loop(here.clone(), b'A'),
        send_loop(there.clone(), b'B'),
        receive_loop(here, b'B'),
        receive_loop(there, b'A'),
    )?;
    assert_eq!((from_there, from_here), (MESSAGES, MESSAGES));
    println!("{MESSAGES} messages each way at the same time on one stream, all in order");
    Ok(())
}
