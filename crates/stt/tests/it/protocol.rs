//! Streams of protocols, over real nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use crate::common;
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use stt::{Coded, Node, NodeBuilder, ProtocolError, ProtocolHandler, ProtocolStream, StreamError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

/// Answers each message with the label and the message, and ends when the peer does.
fn echo(node: &Node, label: &str) -> ProtocolHandler {
    node.handle_protocol(label, |_, stream| async move {
        while let Ok(Some(message)) = stream.receive().await {
            let answer = [&stream.label()[..], b":", &message].concat();
            if stream.send(&answer).await.is_err() {
                return;
            }
        }
    })
    .unwrap()
}

/// Hands each stream of the label to the test.
fn catch(node: &Node, label: &str) -> (ProtocolHandler, mpsc::UnboundedReceiver<ProtocolStream>) {
    let (caught, catching) = mpsc::unbounded_channel();
    let guard = node.handle_protocol(label, move |_, stream| {
        let _ = caught.send(stream);
        std::future::ready(())
    });
    (guard.unwrap(), catching)
}

#[tokio::test]
async fn many_labels_at_once_do_not_meet() {
    let (server, _client, _, session) = common::session().await;
    let labels: Vec<_> = (0..20).map(|number| format!("label/{number}")).collect();
    let _guards: Vec<_> = labels.iter().map(|label| echo(&server, label)).collect();
    let mut talks = tokio::task::JoinSet::new();
    for label in labels {
        let session = session.clone();
        talks.spawn(async move {
            for number in [1u32, 3, 5] {
                let stream = session.open_protocol(&label).unwrap();
                // Each label has numbers of its own.
                assert_eq!(stream.id(), number);
                for message in 0..20 {
                    stream.send(format!("{number} {message}").as_bytes()).await.unwrap();
                    let answer = stream.receive().await.unwrap().unwrap();
                    assert_eq!(answer, format!("{label}:{number} {message}"));
                }
                stream.close().await.unwrap();
                assert_eq!(stream.receive().await.unwrap(), None);
            }
        });
    }
    talks.join_all().await;
}

#[tokio::test]
async fn both_sides_open_and_the_acceptor_may_speak_first() {
    let (server, client, theirs, ours) = common::session().await;
    let (_guard, mut at_server) = catch(&server, "x");
    let (_guard, mut at_client) = catch(&client, "x");
    let from_client = ours.open_protocol("x").unwrap();
    let from_server = theirs.open_protocol("x").unwrap();
    assert_eq!((from_client.id(), from_server.id()), (1, 2));
    let met = at_server.recv().await.unwrap();
    met.send(b"hello").await.unwrap();
    assert_eq!(from_client.receive().await.unwrap().unwrap(), "hello");
    let met = at_client.recv().await.unwrap();
    met.send(b"hello").await.unwrap();
    assert_eq!(from_server.receive().await.unwrap().unwrap(), "hello");
    assert_eq!(met.session().id(), ours.id());
}

#[tokio::test]
async fn a_message_and_then_raw_bytes() {
    let (server, _client, _, session) = common::session().await;
    let _guard = server
        .handle_protocol("bulk/1", |_, mut stream| async move {
            let head = stream.receive().await.unwrap().unwrap();
            assert_eq!(head, "offer");
            stream.send(b"go").await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
            stream.shutdown().await.unwrap();
        })
        .unwrap();
    let stream = session.open_protocol("bulk/1").unwrap();
    stream.send(b"offer").await.unwrap();
    assert_eq!(stream.receive().await.unwrap().unwrap(), "go");
    let (mut sender, mut receiver) = stream.into_split();
    let data: Vec<u8> = (0..3_000_000u32).map(|at| at.to_le_bytes()[1]).collect();
    let sent = data.clone();
    let sending = tokio::spawn(async move {
        sender.write_all(&sent).await.unwrap();
        sender.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    receiver.read_to_end(&mut back).await.unwrap();
    assert!(back == data);
    sending.await.unwrap();
}

#[tokio::test]
async fn an_unknown_label_is_refused_whoever_waits() {
    let (server, _client, _, session) = common::session().await;
    let unknown = ProtocolError::Unknown { label: "nobody\\xff".into() };
    // Who only listens hears of it, too.
    let stream = session.open_protocol(b"nobody\xff").unwrap();
    assert_eq!(stream.receive().await.unwrap_err(), unknown);
    assert_eq!(stream.close().await.unwrap_err(), unknown);
    assert_eq!(unknown.code(), "protocol.unknown");
    let mut stream = session.open_protocol(b"nobody\xff").unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    // A guard that is dropped ends it, too.
    let guard = echo(&server, "echo");
    let stream = session.open_protocol("echo").unwrap();
    stream.send(b"a").await.unwrap();
    assert_eq!(stream.receive().await.unwrap().unwrap(), "echo:a");
    drop(guard);
    let late = session.open_protocol("echo").unwrap();
    assert!(matches!(late.receive().await, Err(ProtocolError::Unknown { .. })));
    stream.send(b"b").await.unwrap();
    assert_eq!(stream.receive().await.unwrap().unwrap(), "echo:b");
}

#[tokio::test]
async fn labels_have_bounds_and_one_handler() {
    let (server, _client, _, session) = common::session().await;
    for len in [0, 65] {
        let error = session.open_protocol(vec![b'a'; len]).unwrap_err();
        assert_eq!(error, ProtocolError::Label { len });
        let handler = |_, _| std::future::ready(());
        assert_eq!(server.handle_protocol(vec![b'a'; len], handler).unwrap_err(), error);
    }
    let longest = "a".repeat(64);
    let _guard = echo(&server, &longest);
    let handler = |_, _| std::future::ready(());
    let taken = server.handle_protocol(&longest, handler).unwrap_err();
    assert_eq!(taken, ProtocolError::Taken { label: longest.clone() });
    let stream = session.open_protocol(&longest).unwrap();
    stream.send(b"b").await.unwrap();
    assert_eq!(stream.receive().await.unwrap().unwrap(), format!("{longest}:b"));
}

#[tokio::test]
async fn they_come_neither_out_of_accept_stream_nor_of_the_nodes_receive() {
    let (server, _client, theirs, session) = common::session().await;
    let (_guard, mut caught) = catch(&server, "x");
    let stream = session.open_protocol("x").unwrap();
    stream.send(b"labelled").await.unwrap();
    let met = caught.recv().await.unwrap();
    // The same number without a label is another stream.
    session.get_stream(stream.id()).unwrap().send(b"plain").await.unwrap();
    let packet = server.receive().await.unwrap();
    assert_eq!((packet.stream_id, &packet.data[..]), (stream.id(), &b"plain"[..]));
    let plain = theirs.accept_stream().await.unwrap();
    assert_eq!(plain.id(), stream.id());
    assert_eq!(met.receive().await.unwrap().unwrap(), "labelled");
}

#[tokio::test]
async fn a_dropped_stream_is_finished_and_stopped() {
    let (server, _client, _, session) = common::session().await;
    let (_guard, mut caught) = catch(&server, "x");
    let ours = session.open_protocol("x").unwrap();
    ours.send(b"last").await.unwrap();
    let theirs = caught.recv().await.unwrap();
    drop(ours);
    assert_eq!(theirs.receive().await.unwrap().unwrap(), "last");
    assert_eq!(theirs.receive().await.unwrap(), None);
    let error = loop {
        if let Err(error) = theirs.send(&[0; 1_000]).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(error, ProtocolError::Stream(StreamError::Reset { code: 6, .. })), "{error}");
}

#[tokio::test]
async fn an_acceptor_that_says_nothing_ends_it_and_one_that_gives_up_says_so() {
    let (server, _client, _, session) = common::session().await;
    let (_guard, mut caught) = catch(&server, "x");
    let ours = session.open_protocol("x").unwrap();
    drop(caught.recv().await.unwrap());
    assert_eq!(ours.receive().await.unwrap(), None);
    let ours = session.open_protocol("x").unwrap();
    caught.recv().await.unwrap().reset(0x123);
    let error = ours.receive().await.unwrap_err();
    assert!(matches!(error, ProtocolError::Stream(StreamError::Reset { code: 0x123, .. })));
    let _panics = server.handle_protocol("panics", |_, stream| async move {
        stream.send(b"half of").await.unwrap();
        panic!("on purpose")
    });
    let ours = session.open_protocol("panics").unwrap();
    let error = loop {
        // The half may have been there before.
        match ours.receive().await {
            Ok(half) => assert_eq!(half.unwrap(), "half of"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ProtocolError::Stream(StreamError::Reset { code: 0x100, .. })));
}

#[tokio::test]
async fn one_that_is_given_up_at_once_ends_for_both() {
    let (server, _client, _, session) = common::session().await;
    let _resets = server.handle_protocol("x", |_, stream| async move {
        let (sender, receiver) = stream.into_split();
        // The reset overtakes the header, and the direction that comes in stays open.
        sender.reset(0x123);
        while receiver.receive().await.is_ok_and(|message| message.is_some()) {}
    });
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let asked = session.open_protocol("x").unwrap();
        let (sender, receiver) = session.open_protocol("x").unwrap().into_split();
        all.spawn(async move {
            let error = asked.receive().await.unwrap_err();
            assert_eq!(error.code(), "stream.reset");
            // So does one whose peer may never hear of it.
            sender.reset(0x123);
            assert_eq!(receiver.receive().await.unwrap_err().code(), "stream.reset");
        });
    }
    all.join_all().await;
}

async fn small(max_streams: usize) -> (Node, Node, stt::Session) {
    let seed = common::seed();
    let limited = |builder: NodeBuilder| builder.max_streams(max_streams);
    let server = limited(common::builder(&seed)).start(stt::Mode::Server).await.unwrap();
    let client = common::builder(&seed).start(stt::Mode::Client).await.unwrap();
    let session = common::connect(&client, &server).await;
    (server, client, session)
}

#[tokio::test]
async fn a_label_has_its_share_and_a_dropped_stream_frees_its_place() {
    let (server, _client, session) = small(8).await;
    let (_x, mut caught) = catch(&server, "x");
    let _y = echo(&server, "y");
    let mut held = Vec::new();
    for _ in 0..4 {
        let ours = session.open_protocol("x").unwrap();
        held.push((ours, caught.recv().await.unwrap()));
    }
    let refused = session.open_protocol("x").unwrap();
    let error = refused.receive().await.unwrap_err();
    assert_eq!(error, ProtocolError::TooMany { label: "x".into() });
    // Other labels, and streams without one, have their places.
    let other = session.open_protocol("y").unwrap();
    other.send(b"b").await.unwrap();
    assert_eq!(other.receive().await.unwrap().unwrap(), "y:b");
    drop(held);
    // The peer learns of it a moment later.
    loop {
        let again = session.open_protocol("x").unwrap();
        tokio::select! {
            met = caught.recv() => {
                met.unwrap().send(b"here").await.unwrap();
                assert_eq!(again.receive().await.unwrap().unwrap(), "here");
                return;
            }
            refused = again.receive() => assert!(refused.is_err()),
        }
    }
}

#[tokio::test]
async fn thousands_of_streams_one_after_the_other() {
    let (server, _client, session) = small(8).await;
    let _guard = echo(&server, "x");
    for number in 0..2_000u32 {
        let stream = session.open_protocol("x").unwrap();
        stream.send(&number.to_le_bytes()).await.unwrap();
        // The place of the one before may not be free yet.
        match stream.receive().await {
            Ok(answer) => assert_eq!(answer.unwrap()[2..], number.to_le_bytes()),
            Err(error) => assert_eq!(error.code(), "protocol.too_many"),
        }
    }
}

#[tokio::test]
async fn who_does_not_read_is_not_sent_more_than_its_window() {
    let (server, _client, _, session) = common::session().await;
    let (_guard, mut caught) = catch(&server, "x");
    let stream = session.open_protocol("x").unwrap();
    let theirs = caught.recv().await.unwrap();
    let sending = tokio::spawn(async move {
        for _ in 0..100 {
            stream.send(Bytes::from(vec![7; 100_000])).await.unwrap();
        }
        stream.close().await.unwrap();
    });
    tokio::task::yield_now().await;
    assert!(!sending.is_finished());
    let mut count = 0;
    while let Some(message) = theirs.receive().await.unwrap() {
        assert_eq!(message.len(), 100_000);
        count += 1;
    }
    assert_eq!(count, 100);
    sending.await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_session_ends_them_and_a_stopped_node_lets_go_of_its_handlers() {
    let (server, client, _, session) = common::session().await;
    let (_guard, mut caught) = catch(&server, "x");
    let ours = session.open_protocol("x").unwrap();
    let theirs = caught.recv().await.unwrap();
    let witness = Arc::new(());
    let (held, weak) = (Arc::clone(&witness), Arc::downgrade(&witness));
    let node = server.clone();
    // A cycle: the handler holds its node.
    let _cycle = server.handle_protocol("cycle", move |_, _| {
        let _ = (&node, &held);
        std::future::ready(())
    });
    drop(witness);
    assert!(weak.upgrade().is_some());
    server.stop_within(Duration::from_secs(5)).await;
    assert!(weak.upgrade().is_none());
    assert_eq!(ours.receive().await.unwrap_or(None), None);
    let error = theirs.send(b"late").await.unwrap_err();
    assert!(matches!(error, ProtocolError::Stream(_)));
    client.stop_within(Duration::ZERO).await;
    let error = session.open_protocol("x").unwrap_err();
    assert_eq!(error.code(), "stream.session_ended");
}
