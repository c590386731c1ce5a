//! Streams over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::time::Duration;

use crate::common::{self, connect, nodes, other_end, session};
use bytes::Bytes;
use stt::{Stream, StreamError, StreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn request_and_response_on_a_stream_that_both_sides_name() {
    let (_server, _client, theirs, ours) = session().await;
    let answering = tokio::spawn(async move {
        let stream = theirs.get_stream(1).unwrap();
        let request = stream.receive().await.unwrap().unwrap();
        stream.send([b"got ", &request[..]].concat()).await.unwrap();
        stream.close().await.unwrap();
    });
    let stream = ours.open_stream().unwrap();
    assert_eq!(stream.id(), 1);
    stream.send(b"GET /data").await.unwrap();
    assert_eq!(stream.receive().await.unwrap().unwrap(), &b"got GET /data"[..]);
    assert_eq!(stream.receive().await.unwrap(), None);
    stream.close().await.unwrap();
    assert_eq!(stream.send(b"more").await, Err(StreamError::Closed { id: 1 }));
    assert!(stream.is_closed());
    answering.await.unwrap();
}

#[tokio::test]
async fn each_side_picks_numbers_that_the_other_does_not() {
    let (_server, _client, theirs, ours) = session().await;
    let mut numbers = Vec::new();
    for _ in 0..3 {
        numbers.push(ours.open_stream().unwrap().id());
        numbers.push(theirs.open_stream().unwrap().id());
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn message_boundaries_are_kept() {
    let (_server, _client, theirs, ours) = session().await;
    let sending = ours.open_stream_with(&StreamOptions::new().id(42)).unwrap();
    let receiving = theirs.get_stream(42).unwrap();
    let lengths = [0, 1, 63, 64, 16_383, 16_384, 70_000, 3_000_000, 0, 5];
    let sender = tokio::spawn(async move {
        for len in lengths {
            sending.send(vec![u8::try_from(len % 251).unwrap(); len]).await.unwrap();
        }
        sending.close().await.unwrap();
    });
    for len in lengths {
        let message = receiving.receive().await.unwrap().unwrap();
        assert_eq!(message.len(), len);
        assert!(message.iter().all(|byte| usize::from(*byte) == len % 251));
    }
    assert_eq!(receiving.receive().await.unwrap(), None);
    sender.await.unwrap();
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let (_server, _client, theirs, ours) = session().await;
    async fn talk(stream: Stream) {
        let send = async {
            for count in 0..2_000u32 {
                stream.send(&count.to_be_bytes()).await.unwrap();
            }
        };
        let receive = async {
            for count in 0..2_000u32 {
                assert_eq!(stream.receive().await.unwrap().unwrap(), &count.to_be_bytes()[..]);
            }
        };
        tokio::join!(send, receive);
    }
    let (a, b) = (ours.get_stream(9).unwrap(), theirs.get_stream(9).unwrap());
    tokio::join!(talk(a), talk(b));
}

#[tokio::test]
async fn max_frame_size_is_kept_on_both_sides() {
    let (_server, _client, theirs, ours) = session().await;
    let small = ours.open_stream_with(&StreamOptions::new().id(1).max_frame_size(10)).unwrap();
    let error = StreamError::FrameTooLarge { len: 11, max: 10 };
    assert_eq!(small.send(&[0; 11]).await, Err(error.clone()));
    small.send(&[0; 10]).await.unwrap();
    assert_eq!(theirs.get_stream(1).unwrap().receive().await.unwrap().unwrap().len(), 10);

    let wide = ours.open_stream_with(&StreamOptions::new().id(3)).unwrap();
    wide.send(&[0; 11]).await.unwrap();
    let narrow = theirs.open_stream_with(&StreamOptions::new().id(3).max_frame_size(10)).unwrap();
    assert_eq!(narrow.receive().await, Err(error));
}

#[tokio::test]
async fn raw_bytes_flow_through_async_read_and_write() {
    let (_server, _client, theirs, ours) = session().await;
    let data: Vec<u8> = (0..5_000_000u32).map(|at| at.to_le_bytes()[1]).collect();
    let expected = data.clone();
    let writer = tokio::spawn(async move {
        let mut raw = ours.get_stream(5).unwrap().into_raw();
        raw.write_all(&data).await.unwrap();
        raw.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    let mut raw = theirs.accept_stream().await.unwrap().into_raw();
    assert_eq!(raw.id(), 5);
    raw.read_to_end(&mut got).await.unwrap();
    assert!(got == expected);
    writer.await.unwrap();
}

#[tokio::test]
async fn raw_bytes_are_read_and_written_in_tasks_of_their_own() {
    let (_server, _client, theirs, ours) = session().await;
    let reading = tokio::spawn(async move {
        let mut raw = theirs.accept_stream().await.unwrap().into_raw();
        let mut got = 0;
        while let Some(bytes) = raw.read_chunk(usize::MAX).await.unwrap() {
            got += bytes.len();
        }
        got
    });
    let writing = tokio::spawn(async move {
        let mut raw = ours.open_stream().unwrap().into_raw();
        raw.write_chunk(vec![1; 3_000_000].into()).await.unwrap();
        raw.close().await.unwrap();
    });
    writing.await.unwrap();
    assert_eq!(reading.await.unwrap(), 3_000_000);
}

#[tokio::test]
async fn messages_and_raw_bytes_are_not_mixed() {
    let (_server, _client, theirs, ours) = session().await;
    let stream = ours.get_stream(1).unwrap();
    stream.send(b"message").await.unwrap();
    let mut raw = theirs.get_stream(1).unwrap().into_raw();
    let error = raw.read_chunk(10).await.unwrap_err();
    assert_eq!(error, StreamError::Kind { id: 1, raw: false });
    let error = stream.clone().into_raw().write_chunk(Bytes::new()).await.unwrap_err();
    assert_eq!(error, StreamError::Kind { id: 1, raw: false });
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_itself_and_no_other() {
    let (_server, _client, theirs, ours) = session().await;
    let mut stuck = Vec::new();
    for id in 100..110 {
        let stream = ours.get_stream(id).unwrap();
        // More than the queue and the window take: each send waits in the end.
        let flood = tokio::spawn(async move {
            loop {
                stream.send(&[7; 100_000]).await.unwrap();
            }
        });
        stuck.push(flood);
    }
    let (a, b) = (ours.get_stream(1).unwrap(), theirs.get_stream(1).unwrap());
    for _ in 0..200 {
        a.send(&[1; 50_000]).await.unwrap();
        assert_eq!(b.receive().await.unwrap().unwrap().len(), 50_000);
    }
    // Once somebody reads, the stuck ones go on.
    let late = theirs.get_stream(100).unwrap();
    for _ in 0..100 {
        assert_eq!(late.receive().await.unwrap().unwrap().len(), 100_000);
    }
    for flood in stuck {
        assert!(!flood.is_finished());
        flood.abort();
    }
}

#[tokio::test]
async fn a_number_can_be_used_again_once_both_directions_are_over() {
    let (_server, _client, theirs, ours) = session().await;
    for round in 0..5u8 {
        let (a, b) = (ours.get_stream(8).unwrap(), theirs.get_stream(8).unwrap());
        a.send(&[round]).await.unwrap();
        assert_eq!(b.receive().await.unwrap().unwrap(), [round].as_slice());
        b.send(&[round]).await.unwrap();
        assert_eq!(a.receive().await.unwrap().unwrap(), [round].as_slice());
        let (closed, closed_too) = tokio::join!(a.close(), b.close());
        closed.unwrap();
        closed_too.unwrap();
        assert_eq!(a.receive().await.unwrap(), None);
        assert_eq!(b.receive().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_reset_reaches_the_other_side_with_its_code() {
    let (_server, _client, theirs, ours) = session().await;
    let stream = ours.get_stream(1).unwrap();
    stream.send(b"first").await.unwrap();
    let other = theirs.get_stream(1).unwrap();
    assert_eq!(other.receive().await.unwrap().unwrap(), &b"first"[..]);
    stream.reset(0x123);
    assert_eq!(other.receive().await, Err(StreamError::Reset { id: 1, code: 0x123 }));
}

#[tokio::test]
async fn what_arrived_before_the_end_is_still_received() {
    let (_server, _client, theirs, ours) = session().await;
    let stream = ours.get_stream(1).unwrap();
    for _ in 0..50 {
        stream.send(&[3; 1_000]).await.unwrap();
    }
    ours.close("bye").await;
    theirs.closed().await;
    let late = theirs.get_stream(1);
    assert!(matches!(late, Err(StreamError::SessionEnded(_))));
}

#[tokio::test]
async fn a_claimed_stream_keeps_what_arrived_when_the_session_ends() {
    let (_server, _client, theirs, ours) = session().await;
    let receiving = theirs.get_stream(1).unwrap();
    let stream = ours.get_stream(1).unwrap();
    for _ in 0..50 {
        stream.send(&[3; 1_000]).await.unwrap();
    }
    ours.close("bye").await;
    theirs.closed().await;
    for _ in 0..50 {
        assert_eq!(receiving.receive().await.unwrap().unwrap().len(), 1_000);
    }
    assert!(matches!(receiving.receive().await, Ok(None) | Err(StreamError::SessionEnded(_))));
}

#[tokio::test]
async fn small_messages_in_great_number_arrive_in_order() {
    let (_server, _client, theirs, ours) = session().await;
    let sender = tokio::spawn(async move {
        let stream = ours.get_stream(1).unwrap();
        for count in 0..200_000u32 {
            let mut message = [0; 100];
            message[..4].copy_from_slice(&count.to_be_bytes());
            stream.send(&message).await.unwrap();
        }
        stream.close().await.unwrap();
    });
    let stream = theirs.get_stream(1).unwrap();
    let mut count = 0u32;
    while let Some(message) = stream.receive().await.unwrap() {
        assert_eq!(message[..4], count.to_be_bytes());
        count += 1;
    }
    assert_eq!(count, 200_000);
    sender.await.unwrap();
    let received = stream.stats();
    assert_eq!((received.messages_received, received.bytes_received), (200_000, 20_000_000));
}

#[tokio::test]
async fn a_future_that_is_dropped_has_taken_nothing() {
    let (_server, _client, theirs, ours) = session().await;
    let receiving = theirs.get_stream(1).unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(10), receiving.receive()).await;
    ours.get_stream(1).unwrap().send(b"still here").await.unwrap();
    assert_eq!(receiving.receive().await.unwrap().unwrap(), &b"still here"[..]);
}

/// The reset overtakes everything, and the peer has to learn which stream it was.
#[tokio::test]
async fn a_reset_before_the_first_bytes_left_reaches_who_waits() {
    let (_server, _client, theirs, ours) = session().await;
    for (id, message) in [(41, Some(&b"never read"[..])), (43, None)] {
        let waiting = theirs.get_stream(id).unwrap();
        let stream = ours.get_stream(id).unwrap();
        if let Some(message) = message {
            stream.send(message).await.unwrap();
        }
        // Nobody else has run since.
        stream.reset(0x123);
        let told = tokio::time::timeout(Duration::from_secs(60), waiting.receive()).await;
        assert_eq!(told.unwrap(), Err(StreamError::Reset { id, code: 0x123 }));
    }
    // Who takes streams as they come hears of it, too.
    ours.get_stream(45).unwrap().reset(5);
    let accepted = theirs.accept_stream().await.unwrap();
    assert_eq!(accepted.id(), 45);
    assert_eq!(accepted.receive().await, Err(StreamError::Reset { id: 45, code: 5 }));
}

/// The peer has read everything and goes: its last acknowledgement comes with its last word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_to_its_end_counts_as_closed_when_the_peer_goes_at_once() {
    let (server, client) = nodes().await;
    for _ in 0..40 {
        let ours = connect(&client, &server).await;
        let theirs = other_end(&server, &ours).await;
        let (stream, other) = (ours.get_stream(1).unwrap(), theirs.get_stream(1).unwrap());
        stream.send(b"all there is").await.unwrap();
        let closing = tokio::spawn(async move { stream.close().await });
        assert!(other.receive().await.unwrap().is_some());
        assert_eq!(other.receive().await.unwrap(), None);
        theirs.abort("read it all");
        assert_eq!(closing.await.unwrap(), Ok(()));
    }
}

/// Many more than may be open at once, one after the other.
const MANY: u32 = 600;

#[tokio::test]
async fn streams_that_are_dropped_end_on_both_sides_and_make_room() {
    let (_server, _client, theirs, ours) = session().await;
    for number in 0..MANY {
        let here = ours.open_stream().unwrap();
        here.send(&number.to_be_bytes()).await.unwrap();
        let there = theirs.accept_stream().await.unwrap();
        assert_eq!(there.receive().await.unwrap().unwrap(), number.to_be_bytes()[..]);
        drop(there);
        assert_eq!(here.receive().await.unwrap(), None);
    }
}

#[tokio::test]
async fn streams_of_one_message_that_nobody_claims_make_room_too() {
    let (server, _client, _theirs, ours) = session().await;
    for number in 0..MANY {
        ours.open_stream().unwrap().send(&number.to_be_bytes()).await.unwrap();
        assert_eq!(server.receive().await.unwrap().data, number.to_be_bytes()[..]);
    }
    // One that said nothing leaves nothing.
    for _ in 0..MANY {
        ours.open_stream().unwrap();
    }
}

#[tokio::test]
async fn what_was_sent_before_the_drop_arrives_whoever_drops_it() {
    let (_server, _client, theirs, ours) = session().await;
    let here = ours.open_stream().unwrap();
    let other = here.clone();
    here.send(b"first").await.unwrap();
    drop(here);
    let there = theirs.accept_stream().await.unwrap();
    assert_eq!(there.receive().await.unwrap().unwrap(), "first");
    other.send(vec![7; 300_000]).await.unwrap();
    // Also where there is no runtime.
    std::thread::spawn(move || drop(other)).join().unwrap();
    assert_eq!(there.receive().await.unwrap().unwrap().len(), 300_000);
    assert_eq!(there.receive().await.unwrap(), None);

    let mut raw = ours.open_stream().unwrap().into_raw();
    raw.write_all(b"raw").await.unwrap();
    let mut there = theirs.accept_stream().await.unwrap().into_raw();
    let mut three = [0; 3];
    there.read_exact(&mut three).await.unwrap();
    drop(there);
    assert_eq!(raw.read(&mut three).await.unwrap(), 0, "the end, and not a message");
}

#[tokio::test]
async fn who_sends_to_a_stream_that_was_dropped_is_told() {
    let (_server, _client, theirs, ours) = session().await;
    let here = ours.open_stream().unwrap();
    here.send(b"read").await.unwrap();
    let there = theirs.accept_stream().await.unwrap();
    there.receive().await.unwrap();
    drop(there);
    let error = loop {
        if let Err(error) = here.send(&[0; 10_000]).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(error, StreamError::Reset { code: 0x06, .. }), "{error:?}");
}

#[tokio::test]
async fn a_stream_whose_holder_panics_is_reset() {
    let (_server, _client, theirs, ours) = session().await;
    let here = ours.open_stream().unwrap();
    here.send(b"half").await.unwrap();
    let there = theirs.accept_stream().await.unwrap();
    assert_eq!(there.receive().await.unwrap().unwrap(), "half");
    let panics = tokio::spawn(async move {
        let _held = here;
        panic!("on purpose");
    });
    assert!(panics.await.unwrap_err().is_panic());
    let error = there.receive().await.unwrap_err();
    assert!(matches!(error, StreamError::Reset { code: 0x100, .. }), "{error:?}");
}

#[tokio::test]
async fn a_stream_asked_for_by_number_is_kept_by_its_session() {
    let (_server, _client, theirs, ours) = session().await;
    for number in 0..3_u8 {
        ours.get_stream(7).unwrap().send(&[number]).await.unwrap();
    }
    for number in 0..3_u8 {
        let message = theirs.get_stream(7).unwrap().receive().await.unwrap();
        assert_eq!(message.unwrap(), [number][..]);
    }
}

#[tokio::test]
async fn what_arrives_is_a_stream_of_sessions_of_streams_of_messages() {
    use futures_util::{StreamExt, TryStreamExt};
    let seed = common::seed();
    let server = common::builder(&seed).start(stt::Mode::Server).await.unwrap();
    let client = common::builder(&seed).start(stt::Mode::Client).await.unwrap();
    let ours = common::connect(&client, &server).await;
    let mut sessions = std::pin::pin!(server.incoming());
    let theirs = sessions.next().await.unwrap();
    let here = ours.open_stream().unwrap();
    for text in ["a", "b"] {
        here.send(text).await.unwrap();
    }
    drop(here);
    let mut streams = std::pin::pin!(theirs.incoming_streams());
    let there = streams.next().await.unwrap();
    let all: Vec<_> = there.messages().try_collect().await.unwrap();
    assert_eq!(all, ["a", "b"]);
    ours.close("done").await;
    assert!(streams.next().await.is_none());
    server.stop().await;
    assert!(sessions.next().await.is_none());
}
