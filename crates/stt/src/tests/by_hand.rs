//! A node against a peer whose streams are written by hand.

use bytes::Bytes;

use super::*;
use crate::{Coded, Mode, Node, Session, session::code};

/// A node's session with a peer that has a connection and nothing above it.
async fn peer() -> (Node, Session, Endpoint, Established) {
    let bob = endpoint(seed(1));
    let node = Node::builder(seed(1)).start(Mode::Client).await.unwrap();
    let port = bob.local_addr().port();
    let (session, peer) = tokio::join!(node.connect_udp("127.0.0.1", port), async {
        bob.accept().await.unwrap().finish(|_| Ok(())).await
    });
    (node, session.unwrap(), bob, peer.unwrap().0)
}

/// A peer of the first version takes the header of a labelled stream for a malformed one.
#[tokio::test]
async fn a_peer_of_the_first_version_knows_no_protocols() {
    let (_node, session, _bob, peer) = peer().await;
    let stream = session.open_protocol("chat/1").unwrap();
    let mut header = peer.connection.accept_uni().await.unwrap();
    let chunk = header.read_chunk(100).await.unwrap().unwrap();
    assert_eq!(&chunk.bytes[..], b"\x04\x06chat/1\x01");
    header.stop(code::HEADER);
    let error = stream.receive().await.unwrap_err();
    assert_eq!(
        (error.code(), error.hint()),
        ("protocol.unsupported", Some("update the other side"))
    );
    let error = loop {
        if let Err(error) = stream.send(b"hello").await {
            break error;
        }
    };
    assert_eq!(error.code(), "protocol.unsupported");
    assert_eq!(stream.close().await.unwrap_err().code(), "protocol.unsupported");
}

#[tokio::test]
async fn headers_of_protocols_that_lie_are_refused() {
    let (node, session, _bob, peer) = peer().await;
    let _guard = node.handle_protocol("x", |_, stream| async move {
        while stream.receive().await.is_ok_and(|message| message.is_some()) {}
    });
    let long = [&[4, 65][..], &[b'a'; 65], &[2]].concat();
    let unknown = u64::from(code::UNKNOWN_LABEL);
    for (header, stopped) in [
        (&b"\x04\x00\x02"[..], 1),
        (&long, 1),
        (b"\x04\x01x\xc0\x00\x00\x01\x00\x00\x00\x00", 1),
        (b"\x04\x01y\x02", unknown),
        // A number of the other side that is no stream of it.
        (b"\x04\x01x\x01", u64::from(code::DROPPED)),
    ] {
        let mut stream = peer.connection.open_uni().await.unwrap();
        stream.write_chunk(Bytes::copy_from_slice(header)).await.unwrap();
        let told = stream.stopped().await.unwrap();
        assert_eq!(told, Some(stopped), "{header:?}");
    }
    // One that is cut has nobody left to be told.
    let mut stream = peer.connection.open_uni().await.unwrap();
    stream.write_chunk(Bytes::from_static(b"\x04\x02x")).await.unwrap();
    stream.finish();
    stream.stopped().await.unwrap();
    // The same number twice at once.
    let mut first = peer.connection.open_uni().await.unwrap();
    first.write_chunk(Bytes::from_static(b"\x04\x01x\x02\x01a")).await.unwrap();
    let mut second = peer.connection.open_uni().await.unwrap();
    second.write_chunk(Bytes::from_static(b"\x04\x01x\x02\x01b")).await.unwrap();
    let refused = tokio::select! {
        told = first.stopped() => told,
        told = second.stopped() => told,
    };
    assert_eq!(refused.unwrap(), Some(u64::from(code::HEADER)));
    assert!(session.close_reason().is_none());
}
